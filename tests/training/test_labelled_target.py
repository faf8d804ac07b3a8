"""A few labels of the target: they are learnt from, others reach nothing, and what they are of is not tested on."""

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from metfa.runtime.bundle.directory import WEIGHTS
from metfa.training import losses
from metfa.training.cli.train import main
from metfa.training.config import TrainingConfig
from metfa.training.data.pair import read_pair
from metfa.training.data.report import DATA
from metfa.training.data.store import UNLABELLED
from metfa.training.metrics import METRICS
from metfa.training.outcome import EVALUATION

from .conftest import LABELS
from .methods.examples import make_batch, make_method, noise

_SMALL = "--input-size 28x28 --preset small --steps 6 --candidates 2 --images-per-class 2 --threads 1 --device cpu"
SMALL = [*_SMALL.split(), "--precision", "fp32"]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments), *SMALL])


@pytest.fixture
def few(target: Path, tmp_path: Path) -> Path:
    """Two images of each class that are also among the target's."""
    for label in LABELS:
        (tmp_path / "few" / label).mkdir(parents=True)
        for name in ("000.png", "003.png"):
            shutil.copyfile(target / label / name, tmp_path / "few" / label / name)
    return tmp_path / "few"


@pytest.mark.parametrize("method", ["metfa-vi", "shot", "mcc", "adda"])
def test_labels_are_learnt_from_and_others_change_no_bit(
    source: Path, target: Path, few: Path, tmp_path: Path, method: str
) -> None:
    def weights(name: str, *options: object) -> bytes:
        domains = ("--source", source, "--target", target, "--method", method)
        result = run(*domains, "--bundle", tmp_path / name, *options)
        assert result.exit_code == 0, result.output
        return (tmp_path / name / WEIGHTS).read_bytes()

    without, with_labels = weights("without"), weights("with", "--labelled-target", few)
    assert without != with_labels
    for label, other in zip(LABELS, (*LABELS[1:], LABELS[0]), strict=True):
        (target / label).rename(target.parent / f"{other} in turn")
    for label in LABELS:
        (target.parent / f"{label} in turn").rename(target / label)
    assert weights("others", "--labelled-target", few) == with_labels
    (few / LABELS[0]).rename(few / "aside")
    (few / LABELS[1]).rename(few / LABELS[0])
    (few / "aside").rename(few / LABELS[1])
    assert weights("exchanged", "--labelled-target", few) != with_labels


def test_what_is_learnt_from_is_not_tested_on(source: Path, target: Path, few: Path, config: TrainingConfig) -> None:
    config = TrainingConfig(
        source=str(source), target=str(target), labelled_target=str(few), height=28, width=28, images_per_class=2
    )
    pair = read_pair(config)
    known = pair.known()
    assert known is not None
    assert np.bincount(known.labels).tolist() == [2, 2, 2]
    learnt = {frame.tobytes() for frame in known.frames[:]}
    held_out = [frame.tobytes() for part in ("val", "test") for frame in pair.frames("target", part).frames[:]]
    assert not learnt & set(held_out)
    assert learnt <= {frame.tobytes() for frame in pair.frames("target", "train").frames[:]}


def test_the_bundle_and_the_command_say_how_many(source: Path, target: Path, few: Path, tmp_path: Path) -> None:
    shutil.rmtree(few / LABELS[1])  # of some classes there may be none
    domains = ("--source", source, "--target", target, "--labelled-target", few)
    result = run(*domains, "--bundle", tmp_path / "bundle")
    assert result.exit_code == 0, result.output
    hints = [line for line in result.stdout.splitlines() if line.startswith("What did ")]
    assert [hint.partition("?")[0] for hint in hints] == [
        "What did adaptation bring",
        "What did the labels of the target bring",
    ]
    for hint in hints:  # each is a command that can be given as it stands
        command = shlex.split(hint.rpartition(": ")[2].partition(" (or train")[0])
        assert "--labelled-target" not in command
        again = CliRunner().invoke(main, command[1:])
        assert again.exit_code == 0, again.output
    assert f"labelled target {few}: 4 images that are learnt from: blob 2, ring 2" in result.output
    assert json.loads((tmp_path / "bundle" / DATA).read_text())["labelled"] == {"blob": 2, "ring": 2}


def test_what_of_the_labels_is_skipped_or_not_of_the_target_is_told(
    source: Path, target: Path, few: Path, tmp_path: Path
) -> None:
    (few / LABELS[0] / "broken.png").write_text("no image")
    cv2.imwrite(str(few / LABELS[0] / "000.png"), np.full((48, 64), 90, np.uint8))
    domains = ("--source", source, "--target", target, "--labelled-target", few)
    result = run(*domains, "--bundle", tmp_path / "bundle")
    assert result.exit_code == 0, result.output
    assert f"  1 of these are not among the images of {target}: make sure that nothing of the same" in result.output
    assert "  skipped 1: no PNG, JPEG, BMP or TIFF, or a damaged one\n" in result.output


def test_the_comparison_has_no_source_only_that_knows_labels_of_the_target(
    source: Path, target: Path, few: Path, tmp_path: Path
) -> None:
    domains = ("--source", source, "--target", target, "--labelled-target", few)
    result = run(*domains, "--bundle", tmp_path / "bundle", "--compare")
    assert result.exit_code == 0, result.output
    compared = json.loads((tmp_path / "bundle" / EVALUATION).read_text())["compared"]
    assert [each["judged"]["method"] for each in compared] == ["adabn", "metfa-vi"]


def test_labels_turn_what_a_network_says_of_the_target(config: TrainingConfig) -> None:
    """The frames of both domains are alike, and their labels contradict each other: both are learnt."""
    batch = make_batch("mcc")
    known = (batch.labels + 1) % len(LABELS)
    method = make_method(config, "mcc", learning_rate=0.03, steps=200)
    for step in range(60):
        method.step(batch._replace(target_labels=known), noise(), step)
    method.eval()
    said = method.network.classifier(method.embed(batch.target)).argmax(dim=1)
    assert (said == known).float().mean() > 0.8


def labelled(folder: Path) -> Path:
    return folder


def unsorted(folder: Path) -> None:
    for path in sorted(folder.rglob("*.png")):
        path.rename(folder / f"{path.parent.name}-{path.name}")
    for label in LABELS:
        (folder / label).rmdir()


def all_of_them(folder: Path) -> None:
    shutil.rmtree(folder)
    shutil.copytree(folder.parent / "target", folder)


def contradicting(folder: Path) -> None:
    shutil.copyfile(folder / "blob" / "000.png", folder / "ring" / "copy.png")


REFUSED: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "a method that adapts, with labelled images of the target, received source-only": (
        labelled,
        ("--method", "source-only"),
    ),
    "a method that adapts, with labelled images of the target, received fully-supervised": (
        labelled,
        ("--method", "fully-supervised"),
    ),
    "did you mean 'ring'?": (lambda folder: (folder / "ring").rename(folder / "rings"), ()),
    "received images without labels": (unsorted, ()),
    "expected images to validate on in": (all_of_them, ()),
    "received blob and ring for the same image": (contradicting, ()),
    "which is not there": (shutil.rmtree, ()),
}


@pytest.mark.parametrize(("reason", "case"), REFUSED.items(), ids=[*REFUSED])
def test_labels_that_cannot_be_used_are_refused_in_a_line(
    source: Path,
    target: Path,
    few: Path,
    tmp_path: Path,
    reason: str,
    case: tuple[Callable[[Path], object], tuple[str, ...]],
) -> None:
    harm, options = case
    harm(few)
    domains = ("--source", source, "--target", target, "--labelled-target", few)
    result = run(*domains, "--bundle", tmp_path / "bundle", *options)
    assert result.exit_code == 1
    assert reason in result.output
    assert sum(", received " in line for line in result.output.splitlines()) == 1
    assert not (tmp_path / "bundle").exists() or not (tmp_path / "bundle" / METRICS).exists()


@pytest.mark.parametrize("name", ["mcc", "mme", "dann", "cdan", "adabn"])
def test_the_cross_entropy_is_the_mean_of_the_labelled_frames_of_both_domains(
    config: TrainingConfig, name: str
) -> None:
    """A frame without a label takes no part, and the others weigh the same in each method."""
    batch = make_batch(name)
    known = torch.full_like(batch.labels, UNLABELLED)
    alone = make_method(config, name).step(batch, noise(), 0)["ce"]
    torch.testing.assert_close(
        make_method(config, name).step(batch._replace(target_labels=known), noise(), 0)["ce"], alone
    )
    known[2], known[5] = 1, 0
    method = make_method(config, name)
    of_target = method.network.classifier(method.embed(batch.target)).log_softmax(dim=1)
    expected = (alone * len(batch.labels) - of_target[2, 1] - of_target[5, 0]) / (len(batch.labels) + 2)
    actual = make_method(config, name).step(batch._replace(target_labels=known), noise(), 0)["ce"]
    torch.testing.assert_close(actual, expected.detach())


def test_the_mean_is_over_the_frames_whose_class_is_known() -> None:
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([UNLABELLED, 2, UNLABELLED, 0, 1, UNLABELLED])
    by_hand = -sum(logits[row].log_softmax(dim=0)[labels[row]] for row in (1, 3, 4)) / 3
    torch.testing.assert_close(losses.known_cross_entropy(logits, labels), by_hand)
    assert losses.known_cross_entropy(logits, torch.full((6,), UNLABELLED)) == 0
