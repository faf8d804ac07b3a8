"""Adaptation from a bundle alone: no image of the source is there, and the bundle says where it came from."""

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from metfa.runtime.bundle.directory import REFERENCE, SCANNERS, UNFINISHED, WEIGHTS, Bundle, updating
from metfa.training.class_embeddings import EMBEDDINGS, load_embeddings
from metfa.training.cli.train import main
from metfa.training.cli.tune import main as tune
from metfa.training.config import CONFIG
from metfa.training.curves.event_directory import EVENTS
from metfa.training.curves.picture import CURVES
from metfa.training.data.listing import SPLITS
from metfa.training.data.report import DATA
from metfa.training.data.split_record import SPLIT
from metfa.training.fit import Trainer
from metfa.training.metrics import METRICS
from metfa.training.outcome import EVALUATION
from metfa.training.weights import load_network, load_reference

from .conftest import LABELS, write_classes

_RUN = "--steps 6 --candidates 2 --images-per-class 2 --threads 1 --device cpu --precision fp32"
_MODEL = "--input-size 28x28 --preset small"
RUN, MODEL = _RUN.split(), _MODEL.split()


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments), *RUN])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a bundle of source-only whose source is gone, and so is every frame that was prepared of it."""
    folder = tmp_path_factory.mktemp("trained")
    source, target = (write_classes(folder / name, 8, level) for name, level in (("source", 230), ("other", 120)))
    domains = ("--source", source, "--target", target)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        result = run(*domains, "--bundle", folder / "origin", "--method", "source-only", *MODEL)
    assert result.exit_code == 0, result.output
    shutil.rmtree(source)
    shutil.rmtree(folder / "cache")
    return folder


@pytest.fixture
def origin(trained: Path, tmp_path: Path) -> Path:
    """A copy of the bundle."""
    return Path(shutil.copytree(trained / "origin", tmp_path / "origin"))


@pytest.fixture
def source(trained: Path) -> Path:
    """Where the source was."""
    return trained / "source"


@pytest.fixture
def opened() -> Callable[[], Sequence[str]]:
    """What was opened since; audit hooks cannot be taken away, so this one is deaf afterwards."""
    paths: list[str] = []
    listening = [True]

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if listening and event in ("open", "os.listdir", "os.scandir") and isinstance(arguments[0], str | bytes | Path):
            paths.append(str(arguments[0]))

    sys.addaudithook(hook)

    def ended() -> Sequence[str]:
        listening.clear()
        return paths

    return ended


@pytest.mark.parametrize("method", ["metfa-vi", "metfa-v", "shot", "mcc", "dann", "adabn"])
def test_a_bundle_adapts_without_an_image_of_the_source(
    origin: Path, source: Path, target: Path, tmp_path: Path, method: str, opened: Callable[[], Sequence[str]]
) -> None:
    bundle = tmp_path / "bundle"
    before = {path.name: path.read_bytes() for path in origin.iterdir() if path.is_file()}
    result = run("--from", origin, "--target", target, "--method", method, "--bundle", bundle)
    assert result.exit_code == 0, result.output
    seen = opened()
    assert any(str(target) in path for path in seen)
    assert not any(str(source) in path for path in seen)
    assert {path.name: path.read_bytes() for path in origin.iterdir() if path.is_file()} == before

    assert f"source {source}: no images, as what {origin} knows of its 3 classes stands for them" in result.output
    assert f"  source {source}: no images, no scores" in result.output
    assert f"One bundle for each scanner: keep {origin} for {source}, whose images" in result.output
    adapted, former = Bundle.open(bundle), Bundle.open(origin)
    assert (adapted.contract.labels, adapted.contract.input.height) == (former.contract.labels, 28)
    assert (adapted.contract.provenance.source, adapted.contract.provenance.target) == (str(source), str(target))
    evaluation = json.loads(adapted.read(EVALUATION))
    assert (evaluation["source"], evaluation["source_as_exported"]) == (None, None)
    assert evaluation["target"]["images"] == 6
    assert all(candidate["source_f1"] is None for candidate in evaluation["candidates"])
    assert evaluation["class_shares"]["source"] == pytest.approx(dict.fromkeys(sorted(LABELS), 1 / 3))
    assert json.loads(adapted.read(DATA))["source"] is None
    chain = json.loads(adapted.read(CONFIG))["origin"]["chain"]
    assert [each["sha256"] for each in chain] == [former.files[WEIGHTS]]
    assert chain[0]["method"] == "source-only"
    assert adapted.read(EMBEDDINGS) == former.read(EMBEDDINGS)
    assert json.loads(adapted.read(SCANNERS))["source"] == json.loads(former.read(SCANNERS))["source"]
    reference = load_reference(adapted)
    assert (len(reference.source), len(reference.source_labels)) == (0, 0)
    assert len(reference.target) == 6
    digests = {record["digest"].tobytes() for record in np.load(bundle / SPLIT)}
    assert digests >= {record["digest"].tobytes() for record in np.load(origin / SPLIT)}


def test_adabn_changes_statistics_alone(origin: Path, target: Path, tmp_path: Path) -> None:
    """Statistics are all that the target gives it; the encoder sees no drawn embedding, and so learns nothing."""
    result = run("--from", origin, "--target", target, "--method", "adabn", "--bundle", tmp_path / "bundle")
    assert result.exit_code == 0, result.output
    former, adapted = (load_network(Bundle.open(path)).encoder for path in (origin, tmp_path / "bundle"))
    theirs = dict(adapted.named_parameters())
    assert all(torch.equal(parameter, theirs[name]) for name, parameter in former.named_parameters())
    assert not all(torch.equal(each, other) for each, other in zip(former.buffers(), adapted.buffers(), strict=True))


def test_the_chain_grows_with_each_scanner(origin: Path, target: Path, tmp_path: Path) -> None:
    third = write_classes(tmp_path / "third", 8, brightness=80)
    assert run("--from", origin, "--target", target, "--bundle", tmp_path / "second").exit_code == 0
    shutil.rmtree(target)
    result = run("--from", tmp_path / "second", "--target", third, "--bundle", tmp_path / "last")
    assert result.exit_code == 0, result.output
    chain = json.loads((tmp_path / "last" / CONFIG).read_text())["origin"]["chain"]
    assert [(each["method"], each["target"]) for each in chain] == [("source-only", None), ("metfa-vi", str(target))]
    assert [each["sha256"] for each in chain] == [
        Bundle.open(tmp_path / name).files[WEIGHTS] for name in ("origin", "second")
    ]


def test_several_methods_are_compared_without_the_source(origin: Path, target: Path, tmp_path: Path) -> None:
    result = run("--from", origin, "--target", target, "--method", "auto", "--bundle", tmp_path / "bundle")
    assert result.exit_code == 0, result.output
    evaluation = json.loads((tmp_path / "bundle" / EVALUATION).read_text())
    assert [each["judged"]["method"] for each in evaluation["compared"]] == ["adabn", "mcc", "metfa-vi"]


def test_a_resumed_run_ends_bit_by_bit_as_one_that_was_not_interrupted(
    origin: Path, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert run("--from", origin, "--target", target, "--bundle", whole).exit_code == 0
    step = Trainer._train_step

    def interrupted(self: Trainer) -> None:
        if self.step == 3:
            raise KeyboardInterrupt
        step(self)
        self._record()
        self._save()

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_train_step", interrupted)
        assert run("--from", origin, "--target", target, "--bundle", cut).exit_code == 130
    assert (cut / UNFINISHED).exists()
    resumed = CliRunner().invoke(main, ["--resume", "--bundle", str(cut), "--device", "cpu"])
    assert resumed.exit_code == 0, resumed.output
    for name in (WEIGHTS, METRICS):
        assert (whole / name).read_bytes() == (cut / name).read_bytes()


def test_what_a_former_bundle_was_trained_on_is_not_tested_on(origin: Path, target: Path, tmp_path: Path) -> None:
    """Another seed divides the same target otherwise, and labels had moved some of its images to training."""
    first, second = tmp_path / "first", tmp_path / "second"
    assert run("--from", origin, "--target", target, "--bundle", first).exit_code == 0
    result = run("--from", first, "--target", target, "--bundle", second, "--seed", 5)
    assert result.exit_code == 0, result.output
    test = len(SPLITS) - 1
    before, after = (np.load(bundle / SPLIT) for bundle in (first, second))
    learnt = {record["digest"].tobytes() for record in before if record["split"] != test}
    tested = [record["digest"].tobytes() for record in after[: -len(before)] if record["split"] == test]
    assert tested
    assert not learnt & set(tested)


def test_a_target_that_is_known_already_is_refused(origin: Path, target: Path, tmp_path: Path) -> None:
    """All images of the second target were labelled ones of the first."""
    larger, bundle = write_classes(tmp_path / "larger", 24, brightness=120), tmp_path / "bundle"
    result = run("--from", origin, "--target", larger, "--labelled-target", target, "--bundle", bundle)
    assert result.exit_code == 0, result.output
    result = run("--from", bundle, "--target", target, "--bundle", tmp_path / "next")
    assert result.exit_code == 1
    assert f"expected images to test on in {target} that {bundle} was not trained on, received none" in result.output


def test_the_target_alone_is_previewed(origin: Path, target: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    result = run("--from", origin, "--target", target, "--preview", sheet)
    assert result.exit_code == 0, result.output
    assert sheet.stat().st_size
    assert result.output.endswith("train: the same command without --preview.\n")


def test_hyper_parameters_are_searched_from_a_bundle(origin: Path, target: Path, tmp_path: Path) -> None:
    """The size of the embedding is the bundle's, and what is found trains from the bundle, too."""
    study = tmp_path / "study"
    domains = ("--from", origin, "--target", target, "--study", study, "--trials", 2)
    found = CliRunner().invoke(tune, [*map(str, domains), *RUN])
    assert found.exit_code == 0, found.output
    tuned = json.loads((study / "tuned.json").read_text())
    assert tuned["from"] == str(origin)
    assert "embedding" not in tuned
    options = ("--config", study / "tuned.json", "--bundle", tmp_path / "bundle")
    trained = CliRunner().invoke(main, [*map(str, options), "--device", "cpu"])
    assert trained.exit_code == 0, trained.output
    assert json.loads((tmp_path / "bundle" / CONFIG).read_text())["origin"]["path"] == str(origin)


def test_an_encoder_is_frozen_as_it_came(origin: Path, target: Path, tmp_path: Path) -> None:
    options = ("--freeze-encoder", "--bundle", tmp_path / "bundle")
    result = run("--from", origin, "--target", target, *options)
    assert result.exit_code == 0, result.output
    former, adapted = (
        dict(load_network(Bundle.open(path)).encoder.named_parameters()) for path in (origin, options[2])
    )
    kept = [name for name, parameter in former.items() if torch.equal(parameter, adapted[name])]
    assert kept


def without_embeddings(origin: Path) -> None:
    with updating(origin, keep=lambda name: name != EMBEDDINGS):
        pass


def without_config(origin: Path) -> None:
    with updating(origin, keep=lambda name: name != CONFIG):
        pass


REFUSED: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "embeddings.safetensors in": (without_embeddings, ()),
    "expected training.json in the bundle": (without_config, ()),
    "expected no --source with --from": (lambda _: None, ("--source", "elsewhere")),
    "expected no --preset with --from": (lambda _: None, ("--preset", "small")),
    "expected no --encoder with --from": (lambda _: None, ("--encoder", "edge")),
    "expected no --source-first with --from": (lambda _: None, ("--source-first", "0.3")),
    "expected no --init with --from": (lambda _: None, ("--init", "SonoNet16.npz")),
    "a method that adapts without the source's images, received adda": (lambda _: None, ("--method", "adda")),
    "a method that adapts without the source's images, received source-only": (
        lambda _: None,
        ("--method", "source-only"),
    ),
    "received a directory without bundle.json": (shutil.rmtree, ()),
    "to begin with, received no such directory; name another with --from": (shutil.rmtree, ()),
}


@pytest.mark.parametrize(("reason", "case"), REFUSED.items(), ids=[*REFUSED])
def test_what_cannot_be_is_refused_in_a_line(
    origin: Path, target: Path, tmp_path: Path, reason: str, case: tuple[Callable[[Path], object], tuple[str, ...]]
) -> None:
    harm, options = case
    harm(origin)
    if reason.startswith("received a directory"):
        origin.mkdir()
    result = run("--from", origin, "--target", target, "--bundle", tmp_path / "bundle", *options)
    assert result.exit_code != 0
    assert reason in result.output
    assert sum(", received " in line for line in result.output.splitlines()) == 1
    assert not (tmp_path / "bundle" / "bundle.json").exists()


def test_a_bundle_is_not_adapted_in_place(origin: Path, target: Path) -> None:
    result = run("--from", origin, "--target", target, "--bundle", origin, "--overwrite")
    assert result.exit_code == 2
    assert "expected a new bundle beside" in result.output
    load_embeddings(Bundle.open(origin))


def test_a_run_does_not_go_on_from_another_bundle(
    origin: Path, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: Trainer) -> None:
        self._save()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_train_step", interrupted)
        assert run("--from", origin, "--target", target, "--bundle", tmp_path / "bundle").exit_code == 130
    with updating(origin, keep=lambda name: name != WEIGHTS) as stage:
        (stage / WEIGHTS).write_bytes(b"others")
    result = CliRunner().invoke(main, ["--resume", "--bundle", str(tmp_path / "bundle"), "--device", "cpu"])
    assert result.exit_code == 1
    assert "that the run began with, weights of SHA-256" in result.output


def test_a_run_from_a_bundle_of_the_hub_names_it_as_it_was_typed_and_goes_on(
    origin: Path, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The place of the cache, which tells who trained, is in no file."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    named, cache = f"hf://clinic/planes@{commit}", tmp_path / "home of jane" / "hub"
    shutil.copytree(origin, cache / "models--clinic--planes" / "snapshots" / commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    bundle = tmp_path / "bundle"
    step = Trainer._train_step

    def interrupt(self: Trainer) -> None:
        step(self)
        if self.step == 3:
            self._save()
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_train_step", interrupt)
        assert run("--from", named, "--target", target, "--bundle", bundle).exit_code == 130
    resumed = CliRunner().invoke(main, ["--resume", "--bundle", str(bundle), "--device", "cpu"])
    assert resumed.exit_code == 0, resumed.output
    assert json.loads((bundle / CONFIG).read_text())["origin"]["path"] == named
    assert [path.name for path in bundle.iterdir() if b"jane" in path.read_bytes()] == []


def test_a_bundle_without_frames_holds_no_image_and_no_name_of_one(tmp_path: Path) -> None:
    """File names here are of patients; only the domain itself is named, as the user named it."""
    for name, brightness in (("source", 230), ("target", 120)):
        write_classes(tmp_path / name, 8, brightness)
        for path in sorted((tmp_path / name).rglob("*.png")):
            path.rename(path.with_name(f"DOE-JANE-19700101-{path.name}"))
    held = {}
    for options in ((), ("--no-frames",)):
        bundle = tmp_path / f"bundle{len(options)}"
        domains = ("--source", tmp_path / "source", "--target", tmp_path / "target")
        result = run(*domains, "--bundle", bundle, *MODEL, "--tensorboard", *options)
        assert result.exit_code == 0, result.output
        files = (path for path in bundle.rglob("*") if path.is_file())
        held[options] = {path.relative_to(bundle).as_posix(): path.read_bytes() for path in files}
    events = f"{EVENTS}/metfa-vi"
    of_frames = {f"{events}/{name}" for name in ("embeddings.tsv", "embeddings-metadata.tsv", "projector_config.pbtxt")}
    assert held[()].keys() - held["--no-frames",].keys() == {REFERENCE, *of_frames}
    assert b"\x89PNG" in held[()][f"{events}/events.out.tfevents.000001"]
    reference = load_reference(Bundle.open(tmp_path / "bundle0"))
    frames = torch.cat([reference.target, reference.source, reference.calibration]).numpy()
    rows = [frame[0, 14].tobytes() for frame in frames]  # grey levels of one row of each image
    assert any(row in held[()][REFERENCE] for row in rows)
    for name, content in held["--no-frames",].items():
        assert b"DOE" not in content, name
        assert b"19700101" not in content, name
        assert not any(row in content for row in rows), name
        assert (b"\x89PNG" in content) == (name == CURVES), name
