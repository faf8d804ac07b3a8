"""What the user, and the bundle, are told of the data: counts and reasons, no names of files or patients."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from tests.training.data.domains import domain, entry
from tests.training.data.media import Held, picture, varied

from metfa.training.cli.train import main
from metfa.training.data.decoding import digest
from metfa.training.data.listing import SPLITS
from metfa.training.data.report import DATA, count_groups, describe_groups
from metfa.training.data.split_record import SPLIT

if TYPE_CHECKING:
    from pathlib import Path

    from metfa.training.data.listing import Entry

COMMAND = "--source table.csv --target B --input-size 28x28 --preset small --steps 1 --candidates 1 --device cpu"
BUNDLE = ("--images-per-class", "2", "--bundle", "bundle")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source of two classes and six patients, with a bad file, and a target of which half are near-duplicates."""
    rows = ["path,label,patient"]
    for patient in range(6):
        for number in range(4):
            name = f"A/Jane Doe {patient}-{number}.png"
            rows.append(f"{name},{'ab'[number % 2]},Doe {patient}")
            write(tmp_path / name, picture(10 * patient + number))
    (tmp_path / "A" / "Jane Doe bad.png").write_bytes(b"")
    rows += ["A/Jane Doe bad.png,a,Doe 7", "A/Jane Doe gone.png,a,Doe 7"]
    (tmp_path / "table.csv").write_text("\n".join(rows))
    for number in range(10):
        write(tmp_path / "B" / f"Smith {number}.png", picture(1000 + number))
        write(tmp_path / "B" / f"Smith {number} again.png", varied(picture(1000 + number), number))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    assert cv2.imwrite(str(path), image)


def test_the_report_counts_images_and_groups_and_is_in_the_bundle_without_names(here: Path) -> None:
    result = CliRunner().invoke(main, [*COMMAND.split(), *BUNDLE])
    assert result.exit_code == 0, result.output
    record = json.loads((here / "bundle" / DATA).read_text())
    source, target = record["source"], record["target"]
    assert (source["groups"], source["divided"], source["recordings_divided"]) == ({"patient": 6}, 0, False)
    assert source["skipped"] == {"an empty file": 1, "No such file or directory": 1}
    assert {label: sum(count["images"] for count in parts.values()) for label, parts in source["classes"].items()} == {
        "a": 12,
        "b": 12,
    }
    for parts in source["classes"].values():
        assert sum(count["groups"] for count in parts.values()) == 6
        assert all(count["images"] == 2 * count["groups"] > 0 for count in parts.values())
    assert (target["groups"], target["skipped"]) == ({"near-duplicates": 10}, {})
    assert list(target["classes"]) == ["without label"]
    assert "source table.csv: 24 images of 6 groups: 6 patients\n" in result.stdout
    assert "target B: 20 images of 10 groups: 10 near-duplicate sets\n" in result.stdout
    assert "  skipped 1: an empty file\n    A/Jane Doe bad.png\n" in result.stdout
    for path in (here / "bundle").iterdir():
        assert not any(name in path.read_bytes() for name in (b"Doe", b"Smith")), path


@pytest.mark.parametrize("named", [True, False])
def test_a_labelled_domain_that_names_no_patient_is_warned_of(here: Path, named: bool) -> None:
    """Not the target, which has no labels, and so no scores that could be too good."""
    if not named:
        rows = [line.rpartition(",")[0] for line in (here / "table.csv").read_text().splitlines()]
        (here / "table.csv").write_text("\n".join(rows))
    result = CliRunner().invoke(main, [*COMMAND.split(), *BUNDLE])
    assert result.exit_code == 0, result.output
    assert result.output.count("no patient is named: held-out images may be of patients") == (not named)


def test_groups_are_counted_by_what_makes_them_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def again(seed: int, group: str | None = None) -> Entry:
        return entry(Held(f"{seed} again.png", (varied(picture(seed), 1),)), group=group)

    entries = [
        *(entry(seed, group="patient 1") for seed in range(3)),
        *(entry(seed, group="patient 2") for seed in range(10, 12)),
        entry(Held("cine.mp4", (picture(20), picture(21))), group="recording 3"),
        *(entry(30, group="patient 4"), again(30, "patient 5")),
        *(entry(40), again(40)),
        *(entry(seed) for seed in range(50, 54)),
    ]
    counted = count_groups(domain(entries))
    assert counted == {"patient": 2, "recording": 1, "joined": 1, "near-duplicates": 1, "single": 4}
    assert describe_groups(counted) == (
        "9 groups: 2 patients, 1 recording, 1 set of patients or recordings that share near-duplicates, "
        "1 near-duplicate set, 4 single images"
    )


def test_a_domain_whose_recording_is_divided_has_no_recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    frames = tuple(picture(seed) for seed in range(8))
    divided = domain([entry(Held("cine.mp4", frames), group="recording 1")]).divide(0, by_class=False)
    assert divided.divides_recordings
    assert describe_groups(count_groups(divided)) == "8 groups: 8 single images"


def test_the_record_of_the_split_is_that_of_the_report(here: Path) -> None:
    assert CliRunner().invoke(main, [*COMMAND.split(), *BUNDLE]).exit_code == 0
    record = np.load(here / "bundle" / SPLIT)
    counts = json.loads((here / "bundle" / DATA).read_text())
    for number, role in enumerate(("source", "target")):
        of_domain = record[record["domain"] == number]
        for index, part in enumerate(SPLITS):
            images = sum(parts[part]["images"] for parts in counts[role]["classes"].values())
            assert (of_domain["split"] == index).sum() == images
    known = {each.tobytes() for each in record["digest"]}
    assert known == {digest(np.asarray(cv2.imread(str(path), 0), np.uint8)) for path in pictures(here)}


def pictures(here: Path) -> list[Path]:
    return [path for path in (*here.glob("A/*.png"), *here.glob("B/*.png")) if path.stat().st_size]


def test_a_split_that_divides_groups_is_kept_and_reported(here: Path) -> None:
    lines = (here / "table.csv").read_text().splitlines()
    splits = ["split", *("train" if number % 4 else "test" for number in range(len(lines) - 1))]
    (here / "table.csv").write_text("\n".join(f"{line},{part}" for line, part in zip(lines, splits, strict=True)))
    result = CliRunner().invoke(main, [*COMMAND.split(), *BUNDLE])
    assert result.exit_code == 0, result.output
    assert json.loads((here / "bundle" / DATA).read_text())["source"]["divided"] == 6
    assert "6 of these groups in more than one split, as the data come split like this" in result.stdout


@pytest.fixture
def few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A split source of which one class lacks training, another validation, a third test images; a small target."""
    counts = {"a": (3, 2, 2), "b": (6, 0, 2), "c": (6, 2, 0)}
    for label, of_class in counts.items():
        for part, images in zip(SPLITS, of_class, strict=True):
            for number in range(images):
                seed = 100 * "abc".index(label) + 10 * SPLITS.index(part) + number
                path = tmp_path / "few" / part / label / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                write(path, picture(seed))
    for number in range(16):
        write(tmp_path / "B" / f"{number}.png", picture(2000 + number))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def warnings_of(source: str, images_per_class: int) -> list[str]:
    command = COMMAND.replace("table.csv", source).split()
    result = CliRunner().invoke(main, [*command, "--images-per-class", str(images_per_class), "--bundle", "bundle"])
    assert result.exit_code == 0, result.output
    before_training = result.stdout.partition("macro scores")[0]
    return [line.strip() for line in before_training.splitlines() if "warning" in line]


@pytest.mark.usefixtures("few")
def test_what_there_is_too_little_of_is_told_with_what_to_do() -> None:
    assert warnings_of("few", 5) == [
        "warning: fewer training images than the 5 of each class in a batch, which repeats them: a (3); "
        "add images, or give --images-per-class 3",
        "warning: no validation images, so that the choice of the model cannot tell of them: b; "
        "add some, or leave out what divides the images, to have them split",
        "warning: no test images, so that the scores cannot tell of them: c; "
        "add some, or leave out what divides the images, to have them split",
        "warning: 11 training frames, fewer than the 15 in a batch, which repeats them; "
        "add frames of the scanner, or give --images-per-class 3",
    ]


@pytest.mark.usefixtures("here")
def test_where_there_is_enough_nothing_is_said() -> None:
    assert warnings_of("table.csv", 2) == []


def test_where_no_smaller_batch_would_do_none_is_proposed(few: Path) -> None:
    for path in (few / "few" / "train" / "a").glob("[12].png"):
        path.unlink()
    assert warnings_of("few", 2)[0].endswith("which repeats them: a (1); add images")
