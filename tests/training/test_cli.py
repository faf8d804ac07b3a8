"""``metfa-train`` as users run it."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from metfa.runtime.bundle import Bundle
from metfa.runtime.contract import Region
from metfa.training.cli.train import main
from metfa.training.fit import CHECKPOINT, METRICS, UNFINISHED
from metfa.training.train import EVALUATION
from metfa.training.weights import load_network, load_reference

from .conftest import LABELS, write_classes

SMALL = ["--input-size", "28x28", "--steps", "12", "--images-per-class", "2", "--device", "cpu"]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return tmp_path / "bundle"


def test_two_folders_become_a_bundle(source: Path, target: Path, bundle: Path) -> None:
    result = run("--source", source, "--target", target, "--bundle", bundle, *SMALL)
    assert result.exit_code == 0, result.output
    assert "target" in result.output

    opened = Bundle.open(bundle)
    assert opened.contract.labels == tuple(sorted(LABELS))
    assert opened.contract.provenance.method == "metfa-v"
    assert load_network(opened).config.embedding == opened.contract.embedding
    assert load_reference(opened).shape == (6, 1, 28, 28)
    steps = [json.loads(line) for line in opened.path(METRICS).read_text().splitlines()]
    assert [step["step"] for step in steps] == list(range(1, 13))
    assert steps[0].keys() - {"step"} == {"ce", "prior", "entropy", "metric", "reconstruction", "alignment"}
    assert json.loads(opened.path(EVALUATION).read_text())["target"]["images"] == 6
    assert not (bundle / UNFINISHED).exists()


def test_an_unlabelled_target_is_adapted_to_and_not_scored(source: Path, target: Path, bundle: Path) -> None:
    result = run("--source", source, "--target", target / LABELS[0], "--bundle", bundle, *SMALL)
    assert result.exit_code == 0, result.output
    assert "no labels, no scores" in result.output
    assert json.loads((bundle / EVALUATION).read_text())["target"] is None


@pytest.mark.parametrize("comes_split", [False, True], ids=["a folder of classes", "a folder with train and test"])
def test_shuffled_target_labels_change_no_bit_of_the_model(
    source: Path, target: Path, tmp_path: Path, comes_split: bool
) -> None:
    """The same pictures in other class folders: split, weights and metrics are the same; only the scores are not."""
    pictures = sorted(target.rglob("*.png"))
    true = [picture.parent.name for picture in pictures]
    shuffled = np.random.default_rng(0).permutation(true).tolist()
    for name, labels in (("true", true), ("shuffled", shuffled)):
        for number, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
            part = ("test" if number % 4 == 0 else "train") if comes_split else "."
            folder = tmp_path / name / part / label
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(picture, folder / f"{number:03}.png")
        result = run("--source", source, "--target", tmp_path / name, "--bundle", tmp_path / f"runs-{name}", *SMALL)
        assert result.exit_code == 0, result.output
    for file in ("model.safetensors", "reference.safetensors", METRICS):
        assert (tmp_path / "runs-true" / file).read_bytes() == (tmp_path / "runs-shuffled" / file).read_bytes()
    scores = [json.loads((tmp_path / f"runs-{name}" / EVALUATION).read_text()) for name in ("true", "shuffled")]
    assert scores[0]["source"] == scores[1]["source"]
    assert scores[0]["target"] != scores[1]["target"]


def test_a_run_that_failed_before_its_first_checkpoint_is_simply_begun_again(
    source: Path, target: Path, bundle: Path
) -> None:
    bad = source / LABELS[0] / "zzz.png"
    bad.write_bytes(b"no image")
    arguments = ("--source", source, "--target", target, "--bundle", bundle, *SMALL)
    assert run(*arguments).exit_code == 1
    bad.unlink()
    assert run(*arguments).exit_code == 0


def test_a_damaged_bundle_can_be_replaced(source: Path, target: Path, bundle: Path) -> None:
    bundle.mkdir()
    (bundle / "bundle.json").write_text("{")
    assert run("--source", source, "--target", target, "--bundle", bundle, *SMALL, "--overwrite").exit_code == 0
    assert Bundle.open(bundle).contract.labels == tuple(sorted(LABELS))


def test_the_contract_carries_the_targets_region(source: Path, target: Path, bundle: Path) -> None:
    regions = ("--source-roi", "0,0,60,40", "--target-roi", "2,3,50,40")
    assert run("--source", source, "--target", target, "--bundle", bundle, *SMALL, *regions).exit_code == 0
    assert Bundle.open(bundle).contract.input.region == Region(2, 3, 50, 40)


def test_a_terminated_run_is_resumed_to_the_same_bits(source: Path, target: Path, tmp_path: Path) -> None:
    common = ["--source", str(source), "--target", str(target), *SMALL, "--steps", "120"]
    bundles = [tmp_path / "whole", tmp_path / "cut"]
    whole = run(*common, "--bundle", bundles[0])
    assert whole.exit_code == 0, whole.output

    metfa_train = Path(sys.executable).with_name("metfa-train")
    command = [str(metfa_train), *common, "--bundle", str(bundles[1])]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        metrics = bundles[1] / UNFINISHED / METRICS
        while process.poll() is None and not (metrics.exists() and metrics.stat().st_size):
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate()
    assert process.returncode == 130, errors
    assert "metfa-train --resume" in errors
    assert (bundles[1] / UNFINISHED / CHECKPOINT).exists()

    begun_anew = run(*common, "--bundle", bundles[1])
    assert begun_anew.exit_code == 1
    assert "--resume to go on" in begun_anew.output
    resumed = run("--resume", "--bundle", bundles[1], "--device", "cpu")
    assert resumed.exit_code == 0, resumed.output
    for file in ("model.safetensors", METRICS):
        assert (bundles[0] / file).read_bytes() == (bundles[1] / file).read_bytes()


def test_a_finished_bundle_is_replaced_only_when_told(source: Path, target: Path, bundle: Path) -> None:
    arguments = ("--source", source, "--target", target, "--bundle", bundle, *SMALL)
    assert run(*arguments).exit_code == 0
    before = (bundle / "model.safetensors").read_bytes()
    refused = run(*arguments, "--seed", 1)
    assert refused.exit_code == 1
    assert "--overwrite to replace it" in refused.output
    assert (bundle / "model.safetensors").read_bytes() == before
    assert run(*arguments, "--seed", 1, "--overwrite").exit_code == 0
    assert (bundle / "model.safetensors").read_bytes() != before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--source", "missing"], "expected a folder of images or phantom:NAME, received 'missing'"),
        (["--source", "one"], "expected at least 2 class folders"),
        (["--source", "source/blob"], "received images without class folders"),
        (["--target", "other"], "expected the source's classes (bars, blob, ring)"),
        (["--source", "hollow"], "expected images"),
        (["--source", "damaged"], "004.png"),
        (["--source", "untrained"], "expected training images of every class"),
        (["--source", "dangling"], "expected to be able to read"),
        (["--target", "tiny"], "expected at least 2 training images"),
        (["--bundle", "file/bundle"], "expected to be able to write"),
        (["--resume"], "leave out --resume"),
        (["--input-size", "20x20"], "expected HEIGHTxWIDTH of at least 28x28"),
        (["--source-roi", "1,2,3"], "expected x,y,width,height"),
        (["--source-roi", "0,0,900,900"], "expected a region inside the frame of 64x48 pixels"),
        (["--device", "cuda:99"], "expected the device cuda:99"),
        (["--learning-rate", "1e30"], "expected finite terms"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_and_leaves_no_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: Path, target: Path, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_classes(tmp_path / "one", 4, 200, LABELS[:1])
    write_classes(tmp_path / "other", 4, 200, LABELS[:2])
    shutil.copytree(source, tmp_path / "hollow")
    (tmp_path / "hollow" / "zebra").mkdir()
    shutil.copytree(source, tmp_path / "damaged")
    (tmp_path / "damaged" / LABELS[0] / "004.png").write_bytes(b"\x89PNG")
    (tmp_path / "file").write_text("not a directory")
    write_classes(tmp_path / "untrained" / "train", 2, 200, LABELS[:2])
    write_classes(tmp_path / "untrained" / "test", 2, 200)
    shutil.copytree(source, tmp_path / "dangling")
    (tmp_path / "dangling" / LABELS[0] / "zzz.png").symlink_to("nowhere")
    (tmp_path / "tiny").mkdir()
    for path in (source / LABELS[0] / "000.png", source / LABELS[0] / "001.png"):
        shutil.copy(path, tmp_path / "tiny")
    defaults = {"--source": "source", "--target": "target", "--bundle": "bundle"}
    if "--resume" in arguments:
        defaults = {"--bundle": "bundle"}
    given = dict(zip(arguments[::2], arguments[1::2], strict=False))
    line = [part for pair in {**defaults, **given}.items() for part in pair]
    result = run(*(["--resume", *line] if "--resume" in arguments else [*SMALL, *line]))
    assert result.exit_code != 0
    assert message in result.output
    assert result.output.count("\n") == 1
    assert result.output.startswith("Error: ")
    assert "Traceback" not in result.output
    assert not (tmp_path / "bundle" / "bundle.json").exists()
