"""Two domains of one table, from the command to the bundle."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from metfa.runtime.bundle import records
from metfa.runtime.bundle.directory import Bundle
from metfa.runtime.errors import BundleError, DataError
from metfa.training.cli.train import main
from metfa.training.config import CONFIG, TrainingConfig
from metfa.training.data.pair import list_pair, read_pair
from metfa.training.data.store import UNLABELLED
from metfa.training.evaluation.held_out import read_held_out
from metfa.training.outcome import EVALUATION

from ..conftest import LABELS, make_config, write_classes

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two devices in one table."""
    rows = ["path,label,device"]
    for device, brightness in (("A", 230), ("B", 120)):
        write_classes(tmp_path / device, 8, brightness)
        rows += [
            f"{device}/{label}/{number:03}.png,{label},{device}" for label in sorted(LABELS) for number in range(8)
        ]
    (tmp_path / "manifest.csv").write_text("\n".join(rows))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(*arguments: str) -> str:
    small = [
        "--input-size",
        "28x28",
        "--preset",
        "small",
        "--steps",
        "4",
        "--images-per-class",
        "2",
        "--candidates",
        "2",
    ]
    result = CliRunner().invoke(main, [*small, "--threads", "1", "--device", "cpu", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_two_devices_of_one_table_become_the_bundle_that_their_folders_do(mixed: Path) -> None:
    names = [f"manifest.csv?device={device}" for device in ("A", "B")]
    output = train("--source", names[0], "--target", names[1], "--bundle", "of-table")
    assert "target manifest.csv?device=B: F1" in output
    train("--source", "A", "--target", "B", "--bundle", "of-folders")
    for file in ("model.safetensors", "reference.safetensors", EVALUATION):
        assert (mixed / "of-table" / file).read_bytes() == (mixed / "of-folders" / file).read_bytes()
    bundle = Bundle.open(mixed / "of-table")
    assert (bundle.contract.provenance.source, bundle.contract.provenance.target) == tuple(names)
    held_out = [read_held_out(bundle, name) for name in names]
    assert [(each.split, len(each.store.labels)) for each in held_out] == [("test", 6), ("test", 6)]


def test_a_target_with_some_labels_is_scored_on_them(mixed: Path) -> None:
    lines = (mixed / "manifest.csv").read_text().splitlines()
    for number, line in enumerate(lines):
        path, _, device = line.split(",")
        if device == "B" and number % 2:
            lines[number] = f"{path},,{device}"
    (mixed / "some.csv").write_text("\n".join(lines))
    output = train("--source", "some.csv?device=A", "--target", "some.csv?device=B", "--bundle", "bundle")
    pair = read_pair(read_config(mixed / "bundle"))
    assert pair.target.labels.count(None) == 12
    labelled = int((pair.frames("target", "test").labels != UNLABELLED).sum())
    assert 0 < labelled < 6
    assert f"on {labelled} frames" in output


def read_config(bundle: Path) -> TrainingConfig:
    return records.from_json(
        TrainingConfig, (bundle / CONFIG).read_text(), origin="bundle", remedy="train", error=BundleError
    )


@pytest.mark.parametrize(
    ("table", "arguments", "message"),
    [
        (
            "unlabelled row",
            ["--source", "edited.csv?device=A"],
            "a label for every image of edited.csv?device=A, or for none, received 1 of 24 without",
        ),
        (
            "unlabelled row",
            ["--source", "manifest.csv?device=B", "--target", "edited.csv?device=A", "--method", "fine-tuned"],
            "a label for every image of the target edited.csv?device=A for fine-tuned, received 1 of 24 without",
        ),
        ("all train", ["--source", "edited.csv?device=A"], "images in the test split of edited.csv?device=A, received"),
        ("all train", ["--source", "B", "--target", "edited.csv?device=A"], "images in the test split of edited.csv"),
    ],
)
def test_tables_that_do_not_do_are_refused_before_training(
    mixed: Path, table: str, arguments: list[str], message: str
) -> None:
    lines = (mixed / "manifest.csv").read_text().splitlines()
    if table == "unlabelled row":
        lines[1] = lines[1].replace("bars,A", ",A")
    else:
        lines = [f"{line},{'split' if number == 0 else 'train'}" for number, line in enumerate(lines)]
    (mixed / "edited.csv").write_text("\n".join(lines))
    given = {"--target": "manifest.csv?device=B", **dict(zip(arguments[::2], arguments[1::2], strict=True))}
    result = CliRunner().invoke(main, ["--device", "cpu", *(part for pair in given.items() for part in pair)])
    assert result.exit_code == 1
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (mixed / "runs").exists()


@pytest.mark.parametrize("form", ["table", "class folders"])
def test_classes_that_differ_are_told_with_a_remedy_that_works(mixed: Path, form: str) -> None:
    if form == "table":
        table = (mixed / "manifest.csv").read_text()
        (mixed / "other.csv").write_text(table.replace(",bars,B", ",bar,B"))
        source, target = "manifest.csv?device=A", "other.csv?device=B"
    else:
        (mixed / "B" / "bars").rename(mixed / "B" / "bar")
        source, target = "A", "B"
    with pytest.raises(DataError, match=r"received bar, .*; did you mean 'bars'\? rename .*: (\S+)$") as error:
        list_pair(replace(make_config(), source=source, target=target))
    cured = error.value.remedy.rpartition(" ")[2]
    pair = read_pair(replace(make_config(), source=source, target=cured))
    assert pair.target.classes == ()
    assert len(pair.target.labels) == 24


def test_what_was_skipped_is_told_where_a_run_stops(mixed: Path) -> None:
    for path in (mixed / "A" / "bars").iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"\(skipped: 8 no PNG, JPEG, BMP or TIFF, or a damaged one\); "):
        read_pair(replace(make_config(), source="A", target="B"))


@pytest.mark.parametrize(
    ("command", "target", "message"),
    [
        ("train", "manifest.csv?devise=B", "did you mean 'device'?"),
        ("train", "manifest.csv?device=B&label=rings", "did you mean 'ring'?"),
        ("tune", "manifest.csv?device=B&label=ring", "expected the source's classes"),
        ("tune", "B?labels=none", "did you mean 'label'?"),
    ],
)
def test_what_is_misspelt_is_told_before_pytorch_is_imported(
    mixed: Path, command: str, target: str, message: str
) -> None:
    script = f"""
import sys
sys.argv = ["metfa-{command}", "--source", "A", "--target", "{target}"]
from metfa.training.cli.{command} import main
try:
    main()
except SystemExit as end:
    assert end.code == 1 and "torch" not in sys.modules
"""
    result = subprocess.run([sys.executable, "-c", script], cwd=mixed, capture_output=True, text=True, check=True)
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
