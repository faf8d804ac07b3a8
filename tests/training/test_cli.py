"""``metfa-train`` as users run it."""

import json
import math
import os
import re
import shlex
import shutil
import signal
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from tests.processes import Interpreter

from metfa.runtime.backends import Inference
from metfa.runtime.bundle.contract import Region
from metfa.runtime.bundle.directory import CHECKPOINT, SCANNERS, UNFINISHED, Bundle
from metfa.runtime.decisions.scanner_check import read_scanner_statistics
from metfa.runtime.errors import DivergenceError
from metfa.training import development, fit
from metfa.training import run as training
from metfa.training.cli.train import main
from metfa.training.config import CONFIG, Augmentation, TrainingConfig, Weights
from metfa.training.data.store import UNLABELLED, FrameSequence, FrameStore
from metfa.training.evaluation import model as model_evaluation
from metfa.training.fit import Trainer
from metfa.training.methods import METHODS, Batch, Method
from metfa.training.metrics import METRICS
from metfa.training.model import Network
from metfa.training.names import AUTO, MethodName
from metfa.training.outcome import EVALUATION
from metfa.training.presets import PRESETS
from metfa.training.selection.between import Judged
from metfa.training.selection.rule import choose, sound_ones
from metfa.training.selection.validators import Validators
from metfa.training.settings import Section, settable_fields
from metfa.training.weights import load_network, load_reference

from .conftest import LABELS, write_classes

if TYPE_CHECKING:
    from metfa.training.selection.candidates import Frames

_SMALL = "--input-size 28x28 --preset small --steps 6 --candidates 2 --images-per-class 2"
SMALL = [*_SMALL.split(), "--threads", "1", "--device", "cpu", "--precision", "fp32"]
REFERENCES = tuple(name for name, method in METHODS.items() if "target" in method.supervision)
UNSUPERVISED = tuple(name for name in METHODS if name not in REFERENCES)


def run(*arguments: object, catch_exceptions: bool = True) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=catch_exceptions)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return tmp_path / "bundle"


def test_two_folders_become_a_bundle(source: Path, target: Path, bundle: Path) -> None:
    result = run("--source", source, "--target", target, "--bundle", bundle, *SMALL)
    assert result.exit_code == 0, result.output
    assert "target" in result.output

    opened = Bundle.open(bundle)
    assert opened.contract.labels == tuple(sorted(LABELS))
    assert opened.contract.provenance.method == "metfa-vi"
    assert opened.contract.decision.rejection is not None
    assert opened.contract.decision.temperature != 1.0
    assert load_network(opened).config.embedding == opened.contract.embedding
    reference = load_reference(opened)
    assert reference.target.shape == (6, 1, 28, 28)
    assert len(reference.source) == len(reference.source_labels) > 0
    assert len(reference.calibration) > 0
    devices = read_scanner_statistics(opened)
    assert devices is not None
    assert (devices.source.name, devices.target and devices.target.name) == (str(source), str(target))
    steps = [json.loads(line) for line in opened.read(METRICS).decode().splitlines()]
    assert [step["step"] for step in steps] == list(range(1, 7))
    of_source, of_both = {"ce", "prior", "reconstruction"}, {"confusion", "metric", "alignment", "consistency"}
    assert steps[0].keys() - {"step"} == of_source
    assert steps[-1].keys() - {"step"} == of_source | of_both
    assert json.loads(opened.read(EVALUATION))["target"]["images"] == 6
    assert not (bundle / UNFINISHED).exists()


def guess(network: Network, frames: FrameSequence) -> Inference:
    """A network that always says the same."""
    logits = np.zeros((len(frames), network.config.classes), np.float32)
    logits[:, 0] = 1
    return Inference(logits, np.zeros((len(frames), network.config.embedding), np.float32))


@pytest.mark.parametrize(("method", "warned"), [("metfa-v", True), ("source-only", True), ("fully-supervised", False)])
def test_a_model_that_only_guesses_on_the_source_is_warned_of(
    source: Path, target: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch, method: str, warned: bool
) -> None:
    monkeypatch.setattr(model_evaluation, "infer", guess)
    result = run("--source", source, "--target", target, "--bundle", bundle, *SMALL, "--method", method)
    assert result.exit_code == 0, result.output
    assert f"  source {source}: F1 0.167, recall 0.333, precision 0.111, accuracy 0.333 on 6 frames\n" in result.output
    warning = "warning: hardly better than guessing on the source's own test frames (mean recall 0.33 on 6; "
    assert (warning in result.output) == warned


def test_an_unlabelled_target_is_adapted_to_and_not_scored(source: Path, target: Path, bundle: Path) -> None:
    result = run("--source", source, "--target", target / LABELS[0], "--bundle", bundle, *SMALL)
    assert result.exit_code == 0, result.output
    assert "no labels, no scores" in result.output
    assert json.loads((bundle / EVALUATION).read_text())["target"] is None


def test_the_evaluation_tells_of_every_candidate_and_of_the_one_that_was_chosen(
    source: Path, target: Path, bundle: Path
) -> None:
    result = run("--source", source, "--target", target, "--bundle", bundle, *SMALL, "--candidates", 3)
    assert result.exit_code == 0, result.output
    evaluation = json.loads((bundle / EVALUATION).read_text())
    assert evaluation.keys() == {
        "method",
        "source",
        "source_as_exported",
        "target",
        "selected_step",
        "candidates",
        "compared",
        "diverged",
        "class_shares",
        "verdict",
    }
    assert [each["judged"]["method"] for each in evaluation["compared"]] == [evaluation["method"]]
    assert evaluation["diverged"] == {}
    candidates = evaluation["candidates"]
    assert [each["step"] for each in candidates] == [2, 4, 6]
    assert all(each.keys() == {"step", "validators", "source_f1", "target_f1"} for each in candidates)
    validators = [Validators(**each["validators"]) for each in candidates]
    chosen = candidates[choose(validators, adapts=True)]
    assert evaluation["selected_step"] == chosen["step"]
    assert (evaluation["source"]["f1"], evaluation["target"]["f1"]) == (chosen["source_f1"], chosen["target_f1"])
    how = (
        "validators that see no target label"
        if sound_ones(validators)
        else "the accuracy on the source alone, as all candidates name too few classes or have lost accuracy"
    )
    assert f"model of step {chosen['step']} of 6, chosen by {how}" in result.output


def test_what_is_compared_with_is_what_runs_without_adaptation_come_to(
    source: Path, target: Path, tmp_path: Path
) -> None:
    """Source-only and adabn, from one training, are what their own runs at the same settings give."""
    domains = ("--source", source, "--target", target, *SMALL, "--method", "metfa-v")
    result = run(*domains, "--bundle", tmp_path / "compared", "--compare")
    assert result.exit_code == 0, result.output
    evaluation = json.loads((tmp_path / "compared" / EVALUATION).read_text())
    assert [each["judged"]["method"] for each in evaluation["compared"]] == ["source-only", "adabn", "metfa-v"]
    lines = result.stdout.partition("  compared on the same 6 held-out frames of the target:\n")[2].splitlines()
    for line, each in zip(lines, evaluation["compared"], strict=False):
        method = each["judged"]["method"]
        options = ("--method", method, "--paper-augmentation", "--bundle", tmp_path / method)
        alone = run("--source", source, "--target", target, *SMALL, *options)
        assert alone.exit_code == 0, alone.output
        expected = json.loads((tmp_path / method / EVALUATION).read_text())
        assert (each["target"], each["selected_step"]) == (expected["target"], expected["selected_step"])
        assert each["judged"] == expected["compared"][0]["judged"]
        assert line.split()[:2] == [method, "F1"]
        assert f"F1 {each['target']['f1']:.3f}, recall {each['target']['recall']:.3f}" in line
        assert ("What did adaptation bring?" in alone.stdout) == (method == "metfa-v")
    assert "What did adaptation bring?" not in result.stdout
    assert evaluation["verdict"]["reason"] in result.stdout


@pytest.mark.parametrize(
    ("options", "augmentation"),
    [
        ("--method metfa-v", "--paper-augmentation"),
        ("--method metfa-v --extended-augmentation", "--extended-augmentation"),
        ("--method mcc", "--extended-augmentation"),
    ],
)
def test_the_command_that_compares_trains_without_adaptation_on_the_same_images(
    source: Path, target: Path, bundle: Path, options: str, augmentation: str
) -> None:
    common = ("--source", source, "--target", target, *SMALL)
    result = run(*common, *options.split(), "--bundle", bundle, "--overwrite")
    assert result.exit_code == 0, result.output
    (how,) = (line for line in result.stdout.splitlines() if line.startswith("What did adaptation bring?"))
    command = shlex.split(how.partition(": ")[2].partition(" (or train")[0])
    beside = ("--method", "source-only", augmentation, "--bundle", f"{bundle}-source-only")
    assert command == list(map(str, ("metfa-train", *common, *beside)))


def test_without_target_labels_validators_are_compared(source: Path, target: Path, bundle: Path) -> None:
    options = ("--method", "metfa-v", "--compare")
    result = run("--source", source, "--target", target / LABELS[0], "--bundle", bundle, *SMALL, *options)
    assert result.exit_code == 0, result.output
    compared = json.loads((bundle / EVALUATION).read_text())["compared"]
    assert [each["target"] for each in compared] == [None] * 3
    lines = result.stdout.partition("  compared without labels of the target:\n")[2].splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["source-only", "adabn", "metfa-v"]
    first = compared[0]["judged"]
    assert (
        f"consistency {first['consistency']:.3f}, reverse accuracy {first['reverse_accuracy']:.3f}, "
        f"agreement (AMI) {first['validators']['ami']:.3f}" in lines[0]
    )
    assert "by their labels" not in result.stdout


def test_the_frequencies_of_the_classes_are_told(source: Path, target: Path, bundle: Path) -> None:
    """Before adaptation by the first candidate, and after it; those that the target's labels give are beside them."""
    result = run("--source", source, "--target", target, "--bundle", bundle, *SMALL, "--method", "mcc")
    assert result.exit_code == 0, result.output
    evaluation = json.loads((bundle / EVALUATION).read_text())
    shares, labels = evaluation["class_shares"], sorted(LABELS)
    assert shares["source"] == pytest.approx(dict.fromkeys(labels, 1 / 3))
    assert list(shares["target"].values()) == pytest.approx([sum(row) / 6 for row in evaluation["target"]["confusion"]])
    assert shares["before"]["step"] == 3
    for when in ("before", "after"):
        for estimate in (shares[when]["bbse"], shares[when]["mlls"]):
            assert list(estimate) == labels
            assert sum(estimate.values()) == pytest.approx(1)
    lines = result.stdout.partition("  how frequent the classes are:\n")[2].splitlines()
    assert lines[0].split() == labels
    assert lines[1].split() == ["source,", "by", "its", "labels", "33%", "33%", "33%"]
    assert lines[2].startswith("    target, by mcc of step 3, BBSE")
    assert lines[2].split()[-3:] == [f"{shares['before']['bbse'][label]:.0%}" for label in labels]


def test_the_method_is_told_which_class_is_background(
    source: Path, target: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for domain in (source, target):
        (domain / LABELS[1]).rename(domain / "Background")
    told: set[tuple[int, ...]] = set()

    def relabel(method: Method, images: Iterable[torch.Tensor], count: int) -> torch.Tensor:
        told.add(method.background)
        return torch.zeros(count, dtype=torch.int64)

    monkeypatch.setattr(METHODS["metfa-vi"], "relabel", relabel)
    result = run("--source", source, "--target", target, "--bundle", bundle, *SMALL)
    assert result.exit_code == 0, result.output
    labels = Bundle.open(bundle).contract.labels
    assert told == {(labels.index("Background"),)}


def interrupt_third_step(monkeypatch: pytest.MonkeyPatch, method: MethodName) -> list[int]:
    """SIGTERM comes while the method takes its third step, and never again; every step is listed."""
    step = METHODS[method].step
    taken: list[int] = []

    def interrupted(trained: Method, batch: Batch, noise: torch.Generator, number: int) -> Any:
        taken.append(number)
        if len(taken) == 3:
            signal.raise_signal(signal.SIGTERM)
        return step(trained, batch, noise, number)

    monkeypatch.setattr(METHODS[method], "step", interrupted)
    return taken


def test_an_interrupted_comparison_goes_on(
    source: Path, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("--source", source, "--target", target, *SMALL, "--method", "metfa-v", "--compare", "--bundle")
    assert run(*arguments, tmp_path / "whole").exit_code == 0
    taken = interrupt_third_step(monkeypatch, "adabn")
    result = run(*arguments, tmp_path / "parts")
    assert result.exit_code == 130
    assert result.output.endswith(f"metfa-train --resume --bundle {tmp_path / 'parts'} --compare\n")
    assert run("--resume", "--bundle", tmp_path / "parts", "--compare").exit_code == 0
    assert taken == [*range(6)]
    whole, parts = (json.loads((tmp_path / name / EVALUATION).read_text()) for name in ("whole", "parts"))
    assert whole == parts
    assert not (tmp_path / "parts" / UNFINISHED).exists()


@pytest.mark.parametrize("method", ["source-only", "adabn"])
def test_what_does_not_adapt_is_not_compared_with_itself(source: Path, target: Path, bundle: Path, method: str) -> None:
    result = run("--source", source, "--target", target, "--bundle", bundle, *SMALL, "--compare", "--method", method)
    assert result.exit_code == 2
    assert f"expected --compare with a method that adapts, received {method}" in result.output
    assert not bundle.exists()


@pytest.mark.parametrize("preferred", ["source-only", "mcc"])
def test_auto_is_the_run_of_the_method_that_the_rule_prefers(
    source: Path, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preferred: str
) -> None:
    """Bit by bit, whichever that is; the evaluation tells of all."""

    def prefer(judged: Sequence[Judged]) -> Judged:
        return next(each for each in judged if each.method == preferred)

    monkeypatch.setattr(training, "prefer", prefer)
    common = ("--source", source, "--target", target, *SMALL)
    result = run(*common, "--method", "auto", "--bundle", tmp_path / "auto")
    assert result.exit_code == 0, result.output
    alone = run(*common, "--method", preferred, "--extended-augmentation", "--bundle", tmp_path / "alone")
    assert alone.exit_code == 0, alone.output
    auto, own = Bundle.open(tmp_path / "auto"), Bundle.open(tmp_path / "alone")
    for file in ("model.safetensors", METRICS, CONFIG):
        assert auto.read(file) == own.read(file)
    assert auto.contract == own.contract
    assert auto.contract.provenance.method == preferred
    evaluations = [json.loads(each.read(EVALUATION)) for each in (auto, own)]
    compared = evaluations[0].pop("compared")
    assert [each["judged"]["method"] for each in compared] == ["source-only", "adabn", "mcc", "metfa-vi"]
    assert evaluations[1].pop("compared")[0] in compared
    for evaluation in evaluations:
        evaluation.pop("verdict")
        evaluation["class_shares"].pop("before")
    assert evaluations[0] == evaluations[1]
    assert result.stdout.partition("macro scores")[0].endswith(f"{preferred}: ")
    assert not (tmp_path / "auto" / UNFINISHED).exists()


def test_an_interrupted_choice_of_methods_goes_on(
    source: Path, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the last method, without a word on the command line of what was tried before."""
    arguments = ("--source", source, "--target", target, *SMALL, "--method", "auto", "--bundle")
    assert run(*arguments, tmp_path / "whole").exit_code == 0
    taken = interrupt_third_step(monkeypatch, "metfa-vi")
    result = run(*arguments, tmp_path / "parts")
    assert result.exit_code == 130
    assert result.output.endswith(f"metfa-train --resume --bundle {tmp_path / 'parts'}\n")
    refused = run("--resume", "--bundle", tmp_path / "parts", "--compare")
    assert "expected --compare with one method, received auto, which compares all; leave it out" in refused.output
    assert run("--resume", "--bundle", tmp_path / "parts").exit_code == 0
    assert taken == [*range(6)]
    for file in (EVALUATION, "model.safetensors", METRICS):
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "parts" / file).read_bytes()
    assert not (tmp_path / "parts" / UNFINISHED).exists()


def test_a_method_that_diverges_is_left_out_of_the_choice(
    source: Path, target: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = METHODS["mcc"].step

    def diverge(*of_step: Any) -> Any:
        return {name: value * float("nan") for name, value in step(*of_step).items()}

    monkeypatch.setattr(METHODS["mcc"], "step", diverge)
    result = run("--source", source, "--target", target, "--bundle", bundle, *SMALL, "--method", "auto")
    assert result.exit_code == 0, result.output
    evaluation = json.loads((bundle / EVALUATION).read_text())
    assert [each["judged"]["method"] for each in evaluation["compared"]] == ["source-only", "adabn", "metfa-vi"]
    assert evaluation["diverged"] == {"mcc": "ce = nan at step 1"}
    assert "  mcc diverged (ce = nan at step 1) and is left out\n" in result.stdout


def test_auto_has_nothing_to_be_compared_with(source: Path, target: Path, bundle: Path) -> None:
    result = run("--source", source, "--target", target, "--bundle", bundle, *SMALL, "--compare", "--method", "auto")
    assert result.exit_code == 2
    assert "expected --compare with one method, received auto, which compares all; leave it out" in result.output
    assert not bundle.exists()


def test_the_last_candidate_is_taken_where_that_is_asked_for(
    source: Path, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the run is the same otherwise."""
    monkeypatch.setattr(development, "choose", lambda candidates, adapts: 0)
    common = ("--source", source, "--target", target, *SMALL, "--candidates", 3)
    outputs = [run(*common, "--bundle", tmp_path / name, "--select", name).output for name in ("validators", "last")]
    by_validators, last = (json.loads((tmp_path / n / EVALUATION).read_text()) for n in ("validators", "last"))
    assert (by_validators["selected_step"], last["selected_step"]) == (2, 6)
    assert last["candidates"] == by_validators["candidates"]
    assert "model of step 6 of 6, chosen as the last" in outputs[1]
    models = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("validators", "last")]
    assert models[0] != models[1]


def train_on_shuffled_labels(source: Path, target: Path, tmp_path: Path, *arguments: str, part: str = ".") -> None:
    """Bundles ``runs-true`` and ``runs-shuffled`` from the same pictures in the target, in other class folders."""
    pictures = sorted(target.rglob("*.png"))
    true = [picture.parent.name for picture in pictures]
    shuffled = np.random.default_rng(0).permutation(true).tolist()
    for name, labels in (("true", true), ("shuffled", shuffled)):
        for number, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
            folder = tmp_path / name / (("test" if number % 4 == 0 else "train") if part == "split" else part) / label
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(picture, folder / f"{number:03}.png")
        common = ("--source", source, "--target", tmp_path / name, "--bundle", tmp_path / f"runs-{name}")
        result = run(*common, *SMALL, *arguments)
        assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("method", "part", "options"),
    [
        *((method, ".", "") for method in (*UNSUPERVISED, AUTO)),
        ("metfa-v", "split", ""),
        ("metfa-v", ".", "--game alternating --extended-augmentation --select last"),
    ],
)
def test_shuffled_target_labels_change_no_bit_of_the_model(
    source: Path, target: Path, tmp_path: Path, method: str, part: str, options: str
) -> None:
    """Split, weights, metrics, candidates and the choice of one are the same; only the scores are not."""
    train_on_shuffled_labels(source, target, tmp_path, "--method", method, *options.split(), part=part)
    for file in ("model.safetensors", "reference.safetensors", METRICS):
        assert (tmp_path / "runs-true" / file).read_bytes() == (tmp_path / "runs-shuffled" / file).read_bytes()
    evaluations = [json.loads((tmp_path / f"runs-{name}" / EVALUATION).read_text()) for name in ("true", "shuffled")]
    targets = [evaluation.pop("target") for evaluation in evaluations]
    assert targets[0] != targets[1]
    devices = [json.loads((tmp_path / f"runs-{name}" / SCANNERS).read_text()) for name in ("true", "shuffled")]
    for known in devices:
        if known["target"] is not None:
            known["target"].pop("name")
    assert devices[0] == devices[1]
    decisions = [Bundle.open(tmp_path / f"runs-{name}").contract.decision for name in ("true", "shuffled")]
    assert decisions[0] == decisions[1]
    for evaluation in evaluations:
        evaluation["class_shares"].pop("target")
        for each in evaluation["compared"]:
            each.pop("target")
        for candidate in evaluation["candidates"]:
            candidate.pop("target_f1")
    assert evaluations[0] == evaluations[1]


@pytest.mark.parametrize("method", METHODS)
def test_target_labels_are_not_even_given_to_a_method_that_may_not_see_them(
    source: Path, target: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch, method: MethodName
) -> None:
    """Neither for training nor for the candidates."""

    class Given(Exception):  # noqa: N818 - no error, but the end of the run
        pass

    def look(_: object, source: FrameStore, target: FrameStore, *__: object, **___: object) -> None:
        raise Given([source, target])

    common = ("--source", source, "--target", target, "--bundle", bundle, *SMALL)
    kept: list[Frames] = []
    monkeypatch.setattr(development, "Candidates", lambda _, frames, build: kept.append(frames))
    monkeypatch.setattr(development, "Trainer", look)
    with pytest.raises(Given) as given:
        run(*common, "--method", method, catch_exceptions=False)
    (frames,) = kept
    for of_source, of_target in (given.value.args[0], frames.validation.values()):
        assert set(of_source.labels) == {0, 1, 2}
        assert (of_target.labels == UNLABELLED).tolist() == [method not in REFERENCES] * len(of_target.labels)


def test_no_training_of_auto_is_given_target_labels(
    source: Path, target: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []

    def look(method: Method, source: FrameStore, target: FrameStore, *others: Any, **further: Any) -> Trainer:
        given.append((method.config.method, set(target.labels.tolist())))
        return Trainer(method, source, target, *others, **further)

    monkeypatch.setattr(development, "Trainer", look)
    result = run("--source", source, "--target", target, "--bundle", bundle, *SMALL, "--method", "auto")
    assert result.exit_code == 0, result.output
    assert given == [(method, {UNLABELLED}) for method in ("adabn", "mcc", "metfa-vi")]


@pytest.mark.parametrize("method", REFERENCES)
def test_the_references_do_learn_from_target_labels(
    source: Path, target: Path, tmp_path: Path, method: MethodName
) -> None:
    train_on_shuffled_labels(source, target, tmp_path, "--method", method)
    for file in ("model.safetensors", METRICS):
        assert (tmp_path / "runs-true" / file).read_bytes() != (tmp_path / "runs-shuffled" / file).read_bytes()
    reference = "reference.safetensors"
    assert (tmp_path / "runs-true" / reference).read_bytes() == (tmp_path / "runs-shuffled" / reference).read_bytes()


@pytest.mark.parametrize(
    ("method", "adapts"),
    [("source-only", False), ("adabn", True), ("adda", True), ("metfa-v", True), ("fine-tuned", False)],
)
def test_a_bundle_says_which_domain_it_is_for_and_is_chosen_accordingly(
    source: Path, target: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch, method: MethodName, adapts: bool
) -> None:
    said: list[bool] = []

    def first(_: object, *, adapts: bool) -> int:
        said.append(adapts)
        return 0

    monkeypatch.setattr(development, "choose", first)
    regions = ("--source-roi", "0,0,60,40", "--target-roi", "2,3,50,40")
    arguments = ("--source", source, "--target", target, "--bundle", bundle, *SMALL, *regions, "--method", method)
    assert run(*arguments).exit_code == 0
    assert said == [adapts]
    contract = Bundle.open(bundle).contract
    if method == "source-only":
        assert (contract.provenance.target, contract.input.region) == (None, Region(0, 0, 60, 40))
    else:
        assert (contract.provenance.target, contract.input.region) == (str(target), Region(2, 3, 50, 40))


def test_a_run_that_failed_before_its_first_checkpoint_is_simply_begun_again(
    source: Path, target: Path, bundle: Path
) -> None:
    bad = source / LABELS[0] / "zzz.png"
    bad.write_bytes(b"no image")
    arguments = ("--source", source, "--target", target, "--bundle", bundle, *SMALL, "--strict")
    assert run(*arguments).exit_code == 1
    bad.unlink()
    assert run(*arguments).exit_code == 0


def test_a_run_that_diverges_after_a_checkpoint_leaves_nothing_and_names_the_command_that_begins_anew(
    source: Path, target: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "CHECKPOINT_INTERVAL", 2)
    checkpoint = bundle / UNFINISHED / CHECKPOINT
    seen = diverge_at(4, monkeypatch, checkpoint)
    common = ["--source", str(source), "--target", str(target), "--bundle", str(bundle), *SMALL]
    result = run(*common)
    assert seen == [True]
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: expected finite terms of the objective, received ce = nan at step 5; lower")
    assert result.stderr.count("\n") == 1
    assert not (bundle / UNFINISHED).exists()
    assert "leave out --resume" in run("--resume", "--bundle", bundle).stderr

    monkeypatch.undo()
    command = shlex.split(result.stderr.partition("begin anew with: ")[2])
    assert command == ["metfa-train", *common, "--learning-rate", "0.0003"]
    assert run(*command[1:]).exit_code == 0


@pytest.mark.parametrize(
    ("typed", "learning_rate"),
    [
        ([], "0.0003"),
        (["--learning-rate", "1e-3"], "0.0003"),
        (["--learning-rate=0.02"], "0.001"),
        (["--method", "mme", "--learning-rate", "0.006"], "0.002"),
    ],
    ids=" ".join,
)
def test_the_rate_that_is_proposed_is_lower_and_at_most_the_methods_own(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, typed: list[str], learning_rate: str
) -> None:
    def diverge(*_: object, **__: object) -> None:
        raise DivergenceError(expected="finite terms", received="NaN", remedy="lower it")

    monkeypatch.setattr(training, "train", diverge)
    error = run("--bundle", bundle, *typed).stderr
    assert error.endswith(f" --learning-rate {learning_rate}\n")
    assert error.count("--learning-rate") == 1


def test_a_resumed_run_that_diverges_leaves_nothing_either(
    source: Path, target: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: object, step: int) -> float:
        signal.raise_signal(signal.SIGTERM)
        return step

    with monkeypatch.context() as patch:
        patch.setattr(METHODS["metfa-v"], "progress", interrupt)
        assert run("--source", source, "--target", target, "--bundle", bundle, *SMALL).exit_code == 130
    seen = diverge_at(4, monkeypatch, bundle / UNFINISHED / CHECKPOINT)
    result = run("--resume", "--bundle", bundle, "--device", "cpu")
    assert seen == [True]
    assert result.exit_code == 1
    assert result.stderr.endswith("begin anew with: its own command and --learning-rate 0.0003\n")
    assert not (bundle / UNFINISHED).exists()


def diverge_at(step: int, monkeypatch: pytest.MonkeyPatch, checkpoint: Path) -> list[bool]:
    """Ruin the network before a step; return a list that will say whether there was a checkpoint then."""
    seen: list[bool] = []
    original = METHODS["metfa-v"].step

    def diverge(method: Method, batch: Batch, noise: torch.Generator, number: int) -> dict[str, torch.Tensor]:
        if number == step:
            seen.append(checkpoint.exists())
            with torch.no_grad():
                next(method.network.parameters()).fill_(torch.nan)
        return original(method, batch, noise, number)

    monkeypatch.setattr(METHODS["metfa-v"], "step", diverge)
    return seen


def test_a_damaged_bundle_can_be_replaced(source: Path, target: Path, bundle: Path) -> None:
    bundle.mkdir()
    (bundle / "bundle.json").write_text("{")
    assert run("--source", source, "--target", target, "--bundle", bundle, *SMALL, "--overwrite").exit_code == 0
    assert Bundle.open(bundle).contract.labels == tuple(sorted(LABELS))


WAITS = """
import sys
import time
from pathlib import Path
from metfa.training.cli.train import main
from metfa.training.methods import METHODS

waits, goes_on = Path(sys.argv.pop(1)), Path(sys.argv.pop(1))
step = METHODS["metfa-vi"].step

def wait(method, batch, noise, number):
    if number == 2:
        waits.touch()
        while not goes_on.exists():
            time.sleep(0.01)
    return step(method, batch, noise, number)

METHODS["metfa-vi"].step = wait
main()
"""
"""``metfa-train`` that waits in its third step until it is told to go on."""


def test_a_terminated_run_is_resumed_to_the_same_bits(
    interpreter: Interpreter, source: Path, target: Path, tmp_path: Path
) -> None:
    common = ["--source", source, "--target", target, *SMALL]
    bundles = [tmp_path / "whole", tmp_path / "cut"]
    whole = run(*common, "--bundle", bundles[0])
    assert whole.exit_code == 0, whole.output

    waits, goes_on = tmp_path / "waits", tmp_path / "goes on"
    process = interpreter.start(WAITS, waits, goes_on, *common, "--bundle", bundles[1])
    while process.runs() and not waits.exists():
        time.sleep(0.01)
    second = run(*common, "--bundle", bundles[1], "--overwrite")  # which would destroy the first
    assert second.exit_code == 1
    assert "received another command of metfa that is writing to it" in second.output
    os.kill(process.pid, signal.SIGTERM)
    goes_on.touch()
    ended = process.wait()
    assert ended.returncode == 130, ended.stderr
    assert "metfa-train --resume" in ended.stderr
    assert (bundles[1] / UNFINISHED / CHECKPOINT).exists()

    begun_anew = run(*common, "--bundle", bundles[1])
    assert begun_anew.exit_code == 1
    assert "--resume to go on" in begun_anew.output
    resumed = run("--resume", "--bundle", bundles[1], "--device", "cpu")
    assert resumed.exit_code == 0, resumed.output
    for file in ("model.safetensors", METRICS):
        assert (bundles[0] / file).read_bytes() == (bundles[1] / file).read_bytes()


@pytest.mark.parametrize("begun", [False, True], ids=["nothing saved", "a checkpoint"])
def test_an_interruption_outside_of_the_steps_tells_how_to_go_on(
    source: Path, target: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    """While pictures are decoded; of a run that was begun before, or not."""

    def interrupt(*_: object) -> None:
        if begun:
            (bundle / UNFINISHED).mkdir(parents=True)
            (bundle / UNFINISHED / CHECKPOINT).write_bytes(b"")
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(training, "read_pair", interrupt)
    result = run("--source", source, "--target", target, "--bundle", bundle, *SMALL)
    assert result.exit_code == 130
    assert result.output == (
        f"Interrupted; go on with: metfa-train --resume --bundle {bundle}\n"
        if begun
        else "Interrupted; nothing was saved yet, the same command begins anew\n"
    )
    assert bundle.exists() == begun


def test_a_bundle_that_cannot_be_written_is_refused_before_pictures_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr(training, "read_pair", pytest.fail)
    for bundle in (tmp_path / "file", tmp_path / "file" / "bundle", Path("/proc/bundle")):
        result = run("--bundle", bundle, *SMALL)
        assert result.exit_code == 1
        assert result.output.startswith(f"Error: expected to be able to write {bundle}, received ")
        assert result.output.count("\n") == 1


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
        (
            ["--source", "missing"],
            "received 'missing', which is not there; check the path",
        ),
        (
            ["--source", "phanton:A?scans=3"],
            "received 'phanton:A?scans=3', which is not there; did you mean 'phantom'? check the path",
        ),
        (["--source", "one"], "expected at least 2 classes"),
        (["--source", "source/blob"], "received images without labels"),
        (["--target", "other"], "expected the source's classes (bars, blob, ring)"),
        (["--source", "hollow"], "expected images"),
        (
            ["--source", "damaged", "--strict"],
            "every file of damaged to be usable, as --strict asks, received damaged/blob/004.png: ",
        ),
        (
            ["--source", "ruined"],
            "expected images in ruined that can be used, received none (ruined/bars/000.png: an empty file,",
        ),
        (["--source", "untrained"], "expected training images of every class"),
        (["--source", "dangling", "--strict"], "zzz.png: No such file or directory"),
        (
            ["--target", "tiny"],
            "expected at least 3 training images in tiny, one of them for validation, received 1 of one group",
        ),
        (
            ["--target", "target/blob", "--method", "fine-tuned"],
            "expected labelled training images of every class of the target target/blob for fine-tuned, "
            "received a target without labels; give the target class folders",
        ),
        (["--target", "target/blob", "--method", "fully-supervised"], "received a target without labels"),
        (["--target", "half", "--method", "fully-supervised"], "for fully-supervised, received none of ring;"),
        (["--bundle", "file/bundle"], "expected to be able to write"),
        (["--resume"], "leave out --resume"),
        (["--input-size", "20x20"], "expected HEIGHTxWIDTH of at least 28x28"),
        (["--source-roi", "1,2,3"], "expected auto, full or x,y,width,height"),
        (["--source-roi", "0,0,900,900"], "64x48 pixels, beyond which the region 0,0,900,900 reaches"),
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
    for path in write_classes(tmp_path / "ruined", 2, 200).rglob("*.png"):
        path.write_bytes(b"")
    (tmp_path / "file").write_text("not a directory")
    write_classes(tmp_path / "untrained" / "train", 2, 200, LABELS[:2])
    write_classes(tmp_path / "untrained" / "test", 2, 200)
    write_classes(tmp_path / "half" / "train", 4, 200, LABELS[:2])
    write_classes(tmp_path / "half" / "test", 2, 200)
    shutil.copytree(source, tmp_path / "dangling")
    (tmp_path / "dangling" / LABELS[0] / "zzz.png").symlink_to("nowhere")
    (tmp_path / "tiny").mkdir()
    for path in (source / LABELS[0] / "000.png", source / LABELS[0] / "001.png"):
        shutil.copy(path, tmp_path / "tiny")
    defaults = {"--source": "source", "--target": "target", "--bundle": "bundle"}
    if "--resume" in arguments:
        defaults = {"--bundle": "bundle"}
    flags = [part for part in arguments if part in ("--resume", "--strict")]
    named = [part for part in arguments if part not in flags]
    given = dict(zip(named[::2], named[1::2], strict=True))
    line = [part for pair in {**defaults, **given}.items() for part in pair]
    result = run(*flags, *([] if "--resume" in flags else SMALL), *line)
    assert result.exit_code != 0
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("Error: ")
    assert "Traceback" not in result.output
    assert not (tmp_path / "bundle" / "bundle.json").exists()


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> list[TrainingConfig]:
    """The configurations of runs that are not run."""
    configs: list[TrainingConfig] = []

    def capture(config: TrainingConfig, *_: object, **__: object) -> None:
        configs.append(config)

    monkeypatch.setattr(training, "train", capture)
    monkeypatch.setattr("metfa.training.data.pair.list_pair", lambda config: None)  # the domains are not there
    return configs


@pytest.mark.parametrize(
    ("method", "learning_rate", "weight_decay"),
    [
        *((name, 1e-3, 1e-5) for name in METHODS if name not in ("dann", "cdan", "mme", "mcc", "metfa-vi")),
        ("dann", 1e-2, 1e-5),
        ("cdan", 1e-2, 1e-5),
        ("mme", 1e-2, 5e-4),
        ("mcc", 1e-2, 5e-4),
        ("metfa-vi", 1e-3, 1e-2),
    ],
)
def test_every_method_has_its_own_optimisation_unless_the_user_says_otherwise(
    captured: list[TrainingConfig], method: MethodName, learning_rate: float, weight_decay: float
) -> None:
    run("--method", method)
    run("--method", method, "--learning-rate", 0.5, "--weight-decay", 0)
    assert [(each.method, each.learning_rate, each.weight_decay) for each in captured] == [
        (method, learning_rate, weight_decay),
        (method, 0.5, 0),
    ]


def test_the_defaults_are_the_papers_and_metfa_vi(captured: list[TrainingConfig]) -> None:
    run()
    run("--method", "metfa-v", "--preset", "paper")
    best, config = captured
    assert (best.source, best.target, best.method, best.encoder) == ("phantom:A", "phantom:B", "metfa-vi", "edge")
    assert best.augmentation == Augmentation(flip=True, noise=0.1, extended=True)
    assert config.weights == Weights(10, 0.01, 0.1, 1, 10, 5)
    assert best.weights == Weights(10, 0.01, 0.1, 1, 10, entropy=0, consistency=5, confusion=10)
    assert (config.encoder, config.embedding) == ("residual", 4096)
    assert (config.prototype_temperature, config.alignment_temperature) == (0.05, 2)
    assert {classes: config.images_of_each_class(classes) for classes in (2, 3, 6, 10)} == {2: 15, 3: 10, 6: 5, 10: 5}
    assert config.augmentation == Augmentation(flip=True, noise=0.1, extended=False)


def test_in_place_of_the_minimax_entropy_metfa_vi_has_class_confusion(captured: list[TrainingConfig]) -> None:
    for given in ([], ["--lambda-h", 0], ["--lambda-h", 5]):
        run("--method", "auto", *given)
    assert [each.with_method("metfa-vi").weights.entropy for each in captured] == [0, 0, 5]


def test_the_defaults_of_the_command_are_those_of_the_configuration(captured: list[TrainingConfig]) -> None:
    run()
    assert captured == [TrainingConfig(precision="fp32")]
    assert PRESETS["edge"] == (captured[0].encoder, captured[0].embedding, captured[0].height, captured[0].width)


def test_every_field_has_an_option_that_help_lists_under_its_title() -> None:
    text = CliRunner().invoke(main, ["--help"]).output
    parts = re.split(rf"^({'|'.join(get_args(Section))}):$", text, flags=re.MULTILINE)
    assert parts[1::2] == list(get_args(Section))
    listed = dict(zip(parts[1::2], parts[2::2], strict=True))
    for each in settable_fields(TrainingConfig):
        option = each.setting.option.partition("/")[0]
        assert re.search(rf"^  {option}\b", listed[each.setting.section], re.MULTILINE), option


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": 0}, r"expected steps in \[1, inf\], received 0"),
        ({"momentum": 1}, r"expected momentum in \(0, 1\), received 1"),
        ({"learning_rate": math.nan}, "expected learning_rate in .* received nan"),
        ({"method": "auto"}, "expected method to be one of source-only, .*, received 'auto'"),
        ({"source": Path("A")}, "expected source to be text, received PosixPath"),
        ({"weights": Weights(ce=-1)}, r"expected ce in \[0, inf\], received -1"),
        ({"freeze_encoder": True}, "expected initial_weights or an origin with freeze_encoder"),
    ],
    ids=str,
)
def test_a_configuration_refuses_what_the_command_would(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainingConfig(**wrong)


EVERY_OPTION = """
--source S --target T.csv?a=b --source-roi 1,2,3,4 --strict --method mme --preset paper --input-size 30x40
--steps 7 --images-per-class 3 --learning-rate 0.2 --momentum 0.8 --weight-decay 0.3 --seed 9
--lambda-ce 1 --lambda-prior 2 --lambda-m 3 --lambda-rec 4 --lambda-kl 5 --lambda-h 6
--no-ramp --game alternating --tau0 0.1 --tau1 3 --noise 0 --no-flip --extended-augmentation
--candidates 4 --select last --threads 2 --encoder strided
--lambda-consistency 7 --lambda-mcc 8 --confidence 0.7 --no-balance
"""


def test_every_option_reaches_the_configuration(captured: list[TrainingConfig]) -> None:
    run(*EVERY_OPTION.split())
    assert captured == [
        TrainingConfig(
            source="S",
            target="T.csv?a=b",
            source_region=Region(1, 2, 3, 4),
            target_region=None,
            strict=True,
            method="mme",
            encoder="strided",
            height=30,
            width=40,
            embedding=4096,
            steps=7,
            candidates=4,
            images_per_class=3,
            learning_rate=0.2,
            momentum=0.8,
            weight_decay=0.3,
            prototype_temperature=0.1,
            alignment_temperature=3,
            augmentation=Augmentation(flip=False, noise=0, extended=True),
            confidence=0.7,
            balance=False,
            ramp=False,
            game="alternating",
            precision="fp32",
            compiled=False,
            threads=2,
            selection="last",
            seed=9,
            weights=Weights(1, 2, 3, 4, 5, 6, consistency=7, confusion=8),
        )
    ]


def write_options(folder: Path, options: Any) -> Path:
    path = folder / "options.json"
    path.write_text(options if isinstance(options, str) else json.dumps(options))
    return path


def test_a_file_of_options_stands_in_for_the_defaults(captured: list[TrainingConfig], tmp_path: Path) -> None:
    options = {
        "steps": 20,
        "lambda-h": 3.5,
        "lambda-ce": 1e-05,
        "method": "metfa-iii",
        "flip": False,
        "ramp": "false",
        "extended-augmentation": True,
        "input-size": "32x40",
        "source-roi": "1,2,3,4",
        "select": "last",
        "learning-rate": 1,
        "source": "a folder",
    }
    typed = "--steps 20 --lambda-h 3.5 --lambda-ce 1e-05 --method metfa-iii --no-flip --no-ramp --extended-augmentation"
    typed += " --input-size 32x40 --source-roi 1,2,3,4 --select last --learning-rate 1"
    run(*typed.split(), "--source", "a folder")
    run("--config", write_options(tmp_path, options))
    assert captured[0] == captured[1]


def test_the_command_line_wins_over_the_file_wherever_it_stands(captured: list[TrainingConfig], tmp_path: Path) -> None:
    path = write_options(tmp_path, {"steps": 20, "seed": 3, "flip": False})
    run("--config", path, "--steps", 30, "--flip")
    run("--steps", 30, "--flip", "--config", path)
    for config in captured:
        assert (config.steps, config.seed, config.augmentation.flip) == (30, 3, True)
    run("--config", write_options(tmp_path, {}))
    run()
    assert captured[2] == captured[3]


def test_a_run_by_a_file_records_what_it_did(source: Path, target: Path, bundle: Path, tmp_path: Path) -> None:
    options = {"steps": 2, "candidates": 1, "source": str(source), "target": str(target), "bundle": str(bundle)}
    result = run(*SMALL[:4], "--device", "cpu", "--config", write_options(tmp_path, options))
    assert result.exit_code == 0, result.output
    assert json.loads((bundle / CONFIG).read_text())["steps"] == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stepps": 3}, "expected options of this command in options.json, received 'stepps'; remove it or correct"),
        ({"lambda_h": 3}, "received 'lambda_h'"),
        ({"--steps": 3}, "received '--steps'"),
        ({"help": True}, "received 'help'"),
        ("{", "expected JSON in options.json, received text that is not"),
        ("", "expected JSON in options.json"),
        ("\x00\u00ff", "expected JSON in options.json"),
        ([1], "expected a JSON object in options.json, received list; correct it"),
        ("3", "expected a JSON object in options.json, received int; correct it"),
        ({"steps": "many"}, "'many' is not a valid integer"),
        ({"steps": 1.5}, "'1.5' is not a valid integer"),
        ({"steps": True}, "'True' is not a valid integer"),
        ({"steps": 0}, "0 is not in the range x>=1"),
        ({"steps": [3]}, "expected text, a number, true or false for steps in options.json, received [3]; correct it"),
        ({"learning-rate": {}}, "for learning-rate in options.json, received {}; correct it"),
        ({"learning-rate": None}, "for learning-rate in options.json, received null; correct it"),
        ({"flip": "perhaps"}, "'perhaps' is not a valid boolean"),
        ({"method": 3}, "'3' is not one of"),
        ({"source-roi": 3}, "expected auto, full or x,y,width,height in pixels, received '3'"),
        ({"input-size": 28}, "expected HEIGHTxWIDTH of at least 28x28, received '28'"),
        (None, "options.json"),
    ],
    ids=str,
)
def test_bad_files_of_options_are_one_line(
    captured: list[TrainingConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: Any, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if options is not None:
        write_options(tmp_path, options)
    result = run("--config", "options.json")
    assert result.exit_code in (1, 2)
    assert result.output.startswith("Error: ")
    assert message in result.output
    assert result.output.count("\n") == 1
    assert captured == []


@pytest.mark.parametrize("arguments", [["--steps", "3"], ["--config", "options.json"], ["--overwrite"]], ids=" ".join)
def test_a_resumed_run_takes_no_other_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_options(tmp_path, {"steps": 3})
    result = run("--resume", *arguments)
    assert result.exit_code == 2
    assert f"received {arguments[0]}; leave it out" in result.output
    assert result.output.count("\n") == 1
