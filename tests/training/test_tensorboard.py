"""What TensorBoard reads of a run, read as its own library does."""

from __future__ import annotations

import json
import platform
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from google.protobuf import text_format
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.projector import ProjectorConfig

from metfa.runtime.bundle.directory import MANIFEST, UNFINISHED, Bundle
from metfa.training.class_embeddings import EMBEDDINGS
from metfa.training.cli.train import main
from metfa.training.curves.event_directory import EVENTS
from metfa.training.fit import Trainer
from metfa.training.metrics import METRICS
from metfa.training.outcome import EVALUATION

from .conftest import write_classes

_RUN = "--preset small --input-size 28x28 --images-per-class 2 --threads 1 --device cpu --precision fp32"
RUN = (*_RUN.split(), "--steps", "14", "--candidates", "2")
SHEET = "misclassified validation frames of the source"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def train(source: Path, target: Path | str, bundle: Path, *options: object) -> Path:
    """Train, and return where the event files of MetFA-VI are."""
    result = run("--source", source, "--target", target, "--bundle", bundle, *RUN, "--tensorboard", *options)
    assert result.exit_code == 0, result.output
    return bundle / EVENTS / "metfa-vi"


def events(directory: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(directory), size_guidance={"scalars": 0, "images": 0})
    accumulator.Reload()
    return accumulator


def curves(directory: Path) -> dict[str, list[tuple[int, float]]]:
    accumulator = events(directory)
    return {
        name: [(each.step, each.value) for each in accumulator.Scalars(name)] for name in accumulator.Tags()["scalars"]
    }


def sheets(directory: Path) -> list[tuple[int, bytes]]:
    return [(each.step, each.encoded_image_string) for each in events(directory).Images(SHEET)]


def single(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Return the points as float32, which event files hold."""
    return [(step, float(np.float32(value))) for step, value in points]


@pytest.fixture(scope="module")
def domains(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A source and a target."""
    folder = tmp_path_factory.mktemp("domains")
    return write_classes(folder / "source", 8, brightness=230), write_classes(folder / "target", 8, brightness=120)


@pytest.fixture
def source(domains: tuple[Path, Path]) -> Path:
    return domains[0]


@pytest.fixture
def target(domains: tuple[Path, Path]) -> Path:
    return domains[1]


@pytest.fixture(scope="module")
def written(domains: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the event files of MetFA-VI are in a bundle of these."""
    folder = tmp_path_factory.mktemp("written")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        return train(*domains, folder / "bundle")


def test_the_curves_are_those_of_the_bundle(written: Path) -> None:
    bundle = Bundle.open(written.parents[1])
    metrics = [json.loads(line) for line in bundle.read(METRICS).splitlines()]
    candidates = json.loads(bundle.read(EVALUATION))["candidates"]
    shown = curves(written)
    for name in {name for each in metrics for name in each} - {"step"}:
        points = [(each["step"], each[name]) for each in metrics if name in each]
        assert shown.pop(f"loss/{name}") == single(points)
    for name in candidates[0]["validators"]:
        points = [(each["step"], each["validators"][name]) for each in candidates]
        assert shown.pop(f"validators/{name}") == single(points)
    rates = dict(shown.pop("learning rate"))
    assert list(rates) == [8, 10, 14]
    assert rates[8] > rates[10] > rates[14] > 0
    assert not shown


def test_the_frames_that_are_labelled_wrongly_are_a_picture(written: Path) -> None:
    assert [step for step, _ in sheets(written)] == [8, 14]
    for _, content in sheets(written):
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        assert picture.shape[1] > 1000


def test_the_projector_finds_the_embeddings(written: Path) -> None:
    config = text_format.Parse((written / "projector_config.pbtxt").read_text(), ProjectorConfig())
    (embedding,) = config.embeddings
    points = np.loadtxt(written / embedding.tensor_path, delimiter="\t")
    heading, *rows = (written / embedding.metadata_path).read_text().splitlines()
    assert heading.split("\t") == ["domain", "class", "predicted"]
    assert len(rows) == len(points)
    assert {tuple(row.split("\t")[:2]) for row in rows} == {
        ("target", "unlabelled"),
        *(("source", label) for label in ("blob", "bars", "ring")),
    }


def test_a_run_comes_to_the_same_bits_without_and_replaces_the_curves_and_no_other_file(
    source: Path, target: Path, tmp_path: Path, written: Path
) -> None:
    bundle = Path(shutil.copytree(written.parents[1], tmp_path / "bundle"))
    before = (bundle / MANIFEST).read_bytes()  # the SHA-256 of every file
    (bundle / EVENTS / "metfa-vi" / "notes.txt").write_text("mine")
    (bundle / MANIFEST).write_text("{}")
    result = run("--source", source, "--target", target, "--bundle", bundle, *RUN, "--overwrite")
    assert result.exit_code == 0, result.output
    assert (bundle / MANIFEST).read_bytes() == before
    assert [path.name for path in (bundle / EVENTS).rglob("*") if path.is_file()] == ["notes.txt"]


def test_a_resumed_run_goes_on_where_its_checkpoint_was(
    source: Path, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: Path
) -> None:
    """A crash loses the steps after the checkpoint; they are taken again, and no point is there twice."""
    step = Trainer._train_step

    def crash(self: Trainer) -> None:
        if self.step == 5:
            self._record()
            self._save()
        if self.step == 12:
            self._record()
            raise MemoryError
        step(self)

    cut = tmp_path / "cut"
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_train_step", crash)
        result = run("--source", source, "--target", target, "--bundle", cut, *RUN, "--tensorboard")
        assert isinstance(result.exception, MemoryError)
    assert max(step for step, _ in curves(cut / EVENTS / "metfa-vi")["loss/ce"]) == 12
    result = run("--resume", "--bundle", cut, "--tensorboard", "--device", "cpu")
    assert result.exit_code == 0, result.output
    resumed, whole = curves(cut / EVENTS / "metfa-vi"), curves(written)
    for each in (resumed, whole):
        each.pop("learning rate")  # a point for each time that steps are recorded
    assert resumed == whole
    assert sheets(cut / EVENTS / "metfa-vi") == sheets(written)
    assert len(list((cut / EVENTS / "metfa-vi").glob("events*"))) == 2


def test_an_interrupted_run_tells_to_go_on_with_its_curves(
    source: Path, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(self: Trainer) -> None:
        self._save()
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "_train_step", interrupt)
    arguments = ("--source", source, "--target", target, "--bundle", tmp_path / "cut", *RUN, "--tensorboard")
    assert run(*arguments).output.endswith(f"metfa-train --resume --bundle {tmp_path / 'cut'} --tensorboard\n")


def test_methods_that_are_compared_have_curves_each(source: Path, target: Path, tmp_path: Path) -> None:
    train(source, target, tmp_path / "bundle", "--compare")
    assert {path.name for path in (tmp_path / "bundle" / EVENTS).iterdir()} == {"metfa-vi", "adabn"}
    assert set(curves(tmp_path / "bundle" / EVENTS / "adabn")) >= {"loss/ce", "validators/ami"}


def test_no_label_of_the_target_is_in_the_files(source: Path, target: Path, tmp_path: Path, written: Path) -> None:
    unlabelled = train(source, f"{target}?label=none", tmp_path / "unlabelled")
    assert curves(written) == curves(unlabelled)
    assert sheets(written) == sheets(unlabelled)
    for path in written.glob("*.tsv"):
        assert path.read_bytes() == (unlabelled / path.name).read_bytes()


def test_without_frames_there_are_numbers_over_steps_alone(source: Path, target: Path, tmp_path: Path) -> None:
    written = train(source, target, tmp_path / "bundle", "--no-frames")
    (file,) = written.iterdir()
    assert b"\x89PNG" not in file.read_bytes()
    assert events(written).Tags()["images"] == []
    assert len(curves(written)["loss/ce"]) == 14


def test_neither_the_machine_nor_a_path_is_named(written: Path) -> None:
    for path in written.iterdir():
        assert platform.node() not in path.name
        assert str(written.parents[2]).encode() not in path.read_bytes()


def test_a_source_without_images_has_embeddings_of_the_target_alone(
    source: Path, target: Path, tmp_path: Path, written: Path
) -> None:
    origin = written.parents[1]
    assert (origin / EMBEDDINGS).exists()
    arguments = ("--from", origin, "--target", target, "--bundle", tmp_path / "further", "--tensorboard")
    result = run(*arguments, *RUN[4:])
    assert result.exit_code == 0, result.output
    further = tmp_path / "further" / EVENTS / "metfa-vi"
    assert events(further).Tags()["images"] == []
    rows = (further / "embeddings-metadata.tsv").read_text().splitlines()[1:]
    assert {row.split("\t")[0] for row in rows} == {"target"}


def test_a_frozen_encoder_is_shown_by_frames_and_not_by_features(
    source: Path, target: Path, tmp_path: Path, written: Path
) -> None:
    frozen = train(source, target, tmp_path / "frozen", "--init", written.parents[1], "--freeze-encoder")
    assert [step for step, _ in sheets(frozen)] == [7, 14]


def test_where_nothing_can_be_written_the_run_ends_with_a_line(source: Path, target: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / EVENTS).write_text("a file")
    result = run("--source", source, "--target", target, "--bundle", bundle, *RUN, "--tensorboard")
    assert result.exit_code == 1
    assert f"expected to be able to write {bundle / EVENTS / 'metfa-vi'}" in result.output
    assert not (bundle / MANIFEST).exists()
    assert not (bundle / UNFINISHED / MANIFEST).exists()


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda module: None if module == "tensorboard" else True)
    result = run("--tensorboard")
    assert result.exit_code == 1
    assert "expected the package tensorboard" in result.output
    assert "pip install '.[tensorboard]' in a clone of metfa" in result.output
