"""``metfa-evaluate`` as users run it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from metfa.export.cli import main as export
from metfa.runtime.bundle.contract import Region
from metfa.runtime.bundle.directory import ONNX, Bundle, updating
from metfa.runtime.errors import BundleError, DataError
from metfa.runtime.files import sha256
from metfa.runtime.imaging.images import read_image
from metfa.training.cli.evaluate import main
from metfa.training.cli.train import main as train
from metfa.training.config import CONFIG
from metfa.training.data.decoding import digest
from metfa.training.data.split_record import SPLIT
from metfa.training.evaluation import bundle as bundle_evaluation
from metfa.training.evaluation import files as evaluation_files
from metfa.training.evaluation.held_out import read_held_out
from metfa.training.outcome import EVALUATION

from .conftest import LABELS, draw, write_classes

PICTURES = ("confusion", "reliability", "rejection", "embedding")
FILES = sorted(["scores.json", *(f"{name}.{suffix}" for name in PICTURES for suffix in ("png", "svg"))])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the folders ``A`` and ``B`` and a bundle that was trained on them and exported."""
    directory = tmp_path_factory.mktemp("made")
    write_classes(directory / "A", 8, brightness=230)
    write_classes(directory / "B", 8, brightness=120)
    small = ["--input-size", "28x28", "--steps", "12", "--images-per-class", "2", "--device", "cpu"]
    domains = ["--source", "A", "--target", "B", "--source-roi", "0,0,60,44", "--target-roi", "2,2,60,46"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        patch.setenv("XDG_CACHE_HOME", str(directory / "cache"))
        for command, arguments in ((train, [*domains, *small, "--bundle", "bundle"]), (export, ["bundle"])):
            result = CliRunner().invoke(command, arguments, catch_exceptions=False)
            assert result.exit_code == 0, result.output
    return directory


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, which is the current directory."""
    directory = shutil.copytree(made, tmp_path / "here")
    monkeypatch.chdir(directory)
    return directory


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["--bundle", "bundle", *map(str, arguments)])


def test_the_scores_are_those_that_training_measured(here: Path) -> None:
    """The exported model on the same held-out frames, in the same region, labels them as the trained network did."""
    trained = json.loads((here / "bundle" / EVALUATION).read_text())
    result = run("--data", "B", "--source", "A", "--backend", "cpu", "--output", "evaluations/B")
    assert result.exit_code == 0, result.output
    record = json.loads((here / "evaluations/B/scores.json").read_text())
    assert record["scores"] == trained["target"]
    assert record["split"] == "test"
    assert record["region"] == {"x": 2, "y": 2, "width": 60, "height": 46}
    assert record["artefact"] == ONNX
    assert record["artefact_sha256"] == sha256(here / "bundle" / ONNX)
    assert record["labels"] == list(record["classes"]) == sorted(LABELS)
    assert sum(each["images"] for each in record["calibration"]["bins"]) == record["scores"]["images"] == 6
    assert record["rejection"][0]["coverage"] == 1
    assert record["rejection"][0]["accuracy"] == record["scores"]["accuracy"]
    assert sorted(path.name for path in (here / "evaluations/B").iterdir()) == FILES
    assert "the test split: 6 images" in result.output
    (macro,) = (line for line in result.output.splitlines() if line.startswith("  macro "))
    assert macro.split()[-2:] == [f"{record['macro_auc']:.3f}", f"{record['scores']['f1']:.3f}"]
    for label in LABELS:
        of_class, interval = record["one_versus_rest"][label], record["one_versus_rest"][label]["sensitivity"]
        assert [of_class["images"], interval["value"]] == [
            record["classes"][label][name] for name in ("images", "recall")
        ]
        shown = f"{interval['value']:.3f} ({interval['lower']:.3f}–{interval['upper']:.3f})"
        assert re.search(rf"^  {label} +\d  {re.escape(shown)} ", result.output, re.MULTILINE)
    assert record["positive"] is None
    assert "in brackets: 95% confidence intervals. They take images to be independent" in result.output

    evaluation = bundle_evaluation.evaluate_bundle(Bundle.open(here / "bundle"), "A", backend="cpu")
    assert json.loads(json.dumps(evaluation.record.scores.confusion)) == trained["source_as_exported"]["confusion"]


def test_it_runs_without_pytorch_and_says_nothing_on_stderr(here: Path) -> None:
    code = (
        "import sys; from metfa.training.cli.evaluate import main; main(standalone_mode=False); "
        "assert 'torch' not in sys.modules"
    )
    command = [sys.executable, "-c", code, "--bundle", "bundle", "--data", str(here / "B" / ".." / "B")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert "the test split: 6 images" in result.stdout  # another name of the same folder is no other folder
    assert sorted(path.name for path in (here / "runs/evaluation").iterdir()) == FILES


def test_help_waits_for_nothing_heavy() -> None:
    heavy = {"numpy", "cv2", "matplotlib", "sklearn", "torch"}
    code = f"import metfa.training.cli.evaluate, sys\nprint(*sorted({heavy} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []


def test_which_images_and_which_part_of_them(here: Path) -> None:
    bundle = Bundle.open(here / "bundle")
    other = write_classes(here / "C", 3, brightness=200)
    split = here / "D"
    write_classes(split / "train", 4, brightness=200)
    write_classes(split / "test", 2, brightness=200, labels=LABELS[:1])
    source, target, whole, test = (read_held_out(bundle, str(data)) for data in (here / "A", "B/", other, split))
    assert [(each.split, len(each.store.labels)) for each in (source, target, whole, test)] == [
        ("test", 6),
        ("test", 6),
        ("all", 9),
        ("test", 2),
    ]
    assert source.region == Region(0, 0, 60, 44)
    assert target.region == whole.region == Region(2, 2, 60, 46)
    assert np.bincount(source.store.labels).tolist() == [2, 2, 2]
    assert read_held_out(bundle, "A", region=Region(0, 0, 40, 40)).region == Region(0, 0, 40, 40)


def test_one_image_of_one_class_is_enough_for_a_report_of_it(here: Path) -> None:
    write_classes(here / "C", 1, brightness=200, labels=LABELS[:1])
    result = run("--data", "C", "--output", "C-scores")
    assert result.exit_code == 0, result.output
    assert "no images of bars, ring: macro scores are of the other classes" in result.output
    record = json.loads((here / "C-scores/scores.json").read_text(), parse_constant=pytest.fail)
    assert record["classes"]["ring"] == {"images": 0, "f1": None, "precision": None, "recall": None}
    assert record["scores"]["recall"] == record["scores"]["accuracy"]
    assert record["macro_auc"] is None
    assert record["one_versus_rest"]["ring"]["sensitivity"] is None


def test_two_classes_are_reported_as_a_diagnostic_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clinical figures of the last class by name are those of the confusion matrix."""
    monkeypatch.chdir(tmp_path)
    labels = LABELS[:2]
    write_classes(tmp_path / "A", 8, brightness=230, labels=labels)
    write_classes(tmp_path / "C", 5, brightness=90, labels=labels)
    small = ["--input-size", "28x28", "--steps", "2", "--candidates", "1", "--device", "cpu", "--preset", "small"]
    trained = CliRunner().invoke(train, ["--source", "A", "--target", "A", *small, "--bundle", "bundle"])
    assert trained.exit_code == 0, trained.output
    assert CliRunner().invoke(export, ["bundle"]).exit_code == 0
    result = run("--data", "C", "--backend", "cpu", "--output", "scores")
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "scores/scores.json").read_text())
    negative, positive = record["labels"]
    assert record["positive"] == positive
    (true_negative, false_positive), (false_negative, true_positive) = record["scores"]["confusion"]
    test = record["one_versus_rest"][positive]
    for name, right, wrong in (
        ("sensitivity", true_positive, false_negative),
        ("specificity", true_negative, false_positive),
        ("positive_predictive_value", true_positive, false_positive),
        ("negative_predictive_value", true_negative, false_negative),
    ):
        assert (test[name] or {}).get("value") == (right / (right + wrong) if right + wrong else None)
    heading = f"as a test with {positive} positive and {negative} negative (50% of the images are {positive}):"
    lines = result.output.partition(heading)[2].splitlines()[1:6]
    assert [line.split()[0] for line in lines] == ["sensitivity", "specificity", "PPV", "NPV", "AUC"]
    assert lines[0].split()[1] == f"{test['sensitivity']['value']:.3f}"


def test_a_bundle_without_a_record_of_training_sees_every_image(here: Path) -> None:
    with updating(here / "bundle", keep=lambda name: name not in (CONFIG, SPLIT)):
        pass
    held_out = read_held_out(Bundle.open(here / "bundle"), "B")
    assert (held_out.split, held_out.seen, len(held_out.store.labels)) == ("all", 0, 24)


def test_what_was_trained_on_is_left_out_whatever_it_is_called_now(here: Path) -> None:
    """The target's pictures under other names, in another format, among others."""
    for number, path in enumerate(sorted((here / "B").rglob("*.png"))):
        folder = here / "C" / path.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(folder / f"{99 - number}.bmp"), read_image(path))
    for label in LABELS:
        assert cv2.imwrite(str(here / "C" / label / "new.png"), draw(label, 1000, 120))
    (here / "C" / LABELS[0] / "bad.png").write_bytes(b"")
    result = run("--data", "C", "--output", "C-scores")
    assert result.exit_code == 0, result.output
    assert "the test split: 9 images" in result.output
    assert "left out: 18 images that the bundle was trained or validated on" in result.output
    assert "skipped: 1 files" in result.output
    record = json.loads((here / "C-scores/scores.json").read_text())
    assert (record["seen"], record["skipped"], record["scores"]["images"]) == (18, 1, 9)


def test_images_that_were_all_trained_on_are_no_test(here: Path) -> None:
    bundle = Bundle.open(here / "bundle")
    record = np.load(bundle.directory / SPLIT)
    trained = {each.tobytes() for each in record["digest"][record["split"] == 0]}
    for path in (here / "B").rglob("*.png"):
        if digest(read_image(path)) not in trained:
            path.unlink()
    with pytest.raises(DataError, match=r"images in B to test on, received 16, all of which the bundle was trained on"):
        read_held_out(bundle, "B")


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", None], ids=["empty", "truncated", "another array"])
def test_a_damaged_record_of_the_split_is_refused(here: Path, content: bytes | None) -> None:
    with updating(here / "bundle", keep=lambda _: True) as stage:
        (stage / SPLIT).write_bytes(content or b"")
        if content is None:
            np.save(stage / SPLIT, np.zeros(3))
    with pytest.raises(BundleError, match=r"the record of a split in .*split\.npy, received .*; make the bundle again"):
        read_held_out(Bundle.open(here / "bundle"), "B")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"source": 1}', "\x00"])
def test_an_unusable_record_of_training_is_refused(here: Path, text: str) -> None:
    with updating(here / "bundle", keep=lambda _: True) as stage:
        (stage / CONFIG).write_text(text)
    with pytest.raises(BundleError, match=r"training\.json, received .*; make the bundle again with metfa-train"):
        read_held_out(Bundle.open(here / "bundle"), "B")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--data", "missing"],
            "received 'missing', which is not there; check the path",
        ),
        (["--data", "B/blob"], "expected one folder of images per class in B/blob, received images without"),
        (["--data", "B", "--source", "B/blob"], "expected one folder of images per class in B/blob"),
        (["--data", "strange"], "expected the classes of the model (bars, blob, ring) in strange, received heart;"),
        (["--data", "empty"], "expected images"),
        (["--data", "damaged"], "images in damaged that can be used, received none (damaged/blob/000.png: "),
        (["--data", "phantom:Z"], "phantom"),
        (["--data", "B", "--roi", "0,0,900,900"], "64x48 pixels, beyond which the region 0,0,900,900 reaches"),
        (["--data", "B", "--roi", "1,2"], "expected auto, full, contract or x,y,width,height"),
        (["--data", "B", "--precision", "fp16", "--backend", "cpu"], "expected model.fp16.onnx in the bundle"),
        (["--data", "B", "--backend", "tensorrt"], "expected a TensorRT engine in FP16"),
        (["--data", "B", "--output", "file/scores"], "expected to be able to write"),
        (["--data", "B", "--bundle", "nothing"], "expected a bundle in nothing, received no such directory"),
        (
            ["--data", "B", "--bundle", "trained"],
            "expected an exported model in the bundle trained, received one that was only trained; run metfa-export "
            "trained --fp16",
        ),
        (["--data", "B", "--bundle", "begun"], "go on with metfa-train --resume --bundle begun"),
        (["--data", "B", "--bundle", "cut"], "received a file that was changed or truncated since"),
        ([], "--data"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_and_leaves_no_file(here: Path, arguments: list[str], message: str) -> None:
    shutil.copytree("bundle", "trained")
    with updating(here / "trained", keep=lambda name: name not in (ONNX, "parity.json")):
        pass
    Path("begun/unfinished").mkdir(parents=True)
    Path("begun/unfinished/checkpoint.safetensors").write_bytes(b"begun")
    shutil.copytree("bundle", "cut")
    os.truncate(f"cut/{ONNX}", 1000)
    shutil.copytree("B/blob", "strange/heart")
    Path("damaged/blob").mkdir(parents=True)
    Path("damaged/blob/000.png").write_bytes(b"\x89PNG")
    Path("empty").mkdir()
    Path("file").write_text("no directory")
    before = sorted(here.rglob("*"))
    result = run(*arguments)
    assert result.exit_code in (1, 2)
    assert message in result.output
    *_, line = result.output.splitlines()
    assert line.startswith("Error: ")
    assert result.output.count("Error") == 1
    assert "Traceback" not in result.output
    assert sorted(here.rglob("*")) == before


def test_outputs_that_are_not_finite_are_no_scores(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from metfa.runtime.backends import Inference
    from metfa.runtime.backends.onnxruntime import OnnxRuntimeBackend

    def overflow(_: object, frames: np.ndarray) -> Inference:
        return Inference(np.full((len(frames), 3), np.inf, np.float32), np.zeros((len(frames), 2), np.float32))

    monkeypatch.setattr(OnnxRuntimeBackend, "infer", overflow)
    result = run("--data", "B", "--backend", "cpu")
    assert result.exit_code == 1
    assert "received NaN or infinity for 6 of 6 images of B; use --precision fp32" in result.output


def test_an_interrupted_evaluation_leaves_no_file(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(evaluation_files, "tsne", interrupted)
    result = run("--data", "B", "--backend", "cpu")
    assert result.exit_code == 130
    assert result.output.splitlines()[-1] == "Interrupted; the same command begins anew"
    assert not (here / "runs").exists()
