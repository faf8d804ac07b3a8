"""What is said of a run, and which of several methods is taken, by numbers that no target label is in."""

from __future__ import annotations

from dataclasses import fields, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metfa.training.cli.summary import _how_chosen
from metfa.training.config import TrainingConfig
from metfa.training.evaluation.model import infer, label_augmented
from metfa.training.names import DEFAULTS, MethodName
from metfa.training.selection.between import Judged, prefer, reverse_accuracy
from metfa.training.selection.validators import Validators
from metfa.training.verdict import give_verdict

from .conftest import make_store

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from metfa.training.model import Network

NOTHING = Validators(**{field.name: 0.0 for field in fields(Validators)})
METHODS: tuple[MethodName, ...] = ("source-only", "adabn", "mcc", "metfa-vi")


def judged(
    *scores: float, frames: int = 600, reverse: tuple[float, ...] = (), methods: tuple[MethodName, ...] = METHODS
) -> list[Judged]:
    """Methods by their consistency; all have the same reverse accuracy unless it is given."""
    pairs = zip(methods, scores, reverse or (0.9,) * len(scores), strict=True)
    return [Judged(method, score, frames, other, frames, NOTHING) for method, score, other in pairs]


@pytest.mark.parametrize(
    ("scores", "frames", "preferred"),
    [
        ((0.48, 0.93, 0.94, 0.98), 600, "metfa-vi"),
        ((0.48, 0.98, 0.94, 0.93), 600, "adabn"),
        ((0.68, 0.67, 0.69, 0.66), 600, "source-only"),  # within the errors of counting
        ((0.68, 0.67, 0.69, 0.74), 60_000, "source-only"),  # for certain, and not by much
        ((0.68, 0.67, 0.69, 0.85), 60_000, "metfa-vi"),
        ((0.99, 0.99, 0.99, 0.99), 600, "source-only"),
        ((1.00, 0.90, 0.90, 0.90), 600, "source-only"),
        ((0.96, 0.99, 0.99, 1.00), 600, "metfa-vi"),
        ((0.96, 0.96, 0.97, 1.00), 20, "source-only"),
    ],
)
def test_a_method_is_preferred_where_it_exceeds_the_simplest_for_certain_and_by_much(
    scores: tuple[float, ...], frames: int, preferred: str
) -> None:
    assert prefer(judged(*scores, frames=frames)).method == preferred


@pytest.mark.parametrize(
    ("reverse", "preferred"),
    [
        ((0.85, 0.96, 0.87, 0.92), "metfa-vi"),  # the most consistent, whoever has the highest reverse accuracy
        ((0.85, 0.96, 0.87, 0.84), "metfa-vi"),  # within the errors of counting
        ((0.85, 0.96, 0.87, 0.70), "mcc"),  # metfa-vi has collapsed, or unlearnt its classes
        ((0.85, 0.30, 0.30, 0.30), "source-only"),
    ],
)
def test_a_method_whose_labels_do_not_teach_the_source_is_left_out(reverse: tuple[float, ...], preferred: str) -> None:
    assert prefer(judged(0.70, 0.69, 0.86, 0.95, reverse=reverse)).method == preferred


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=6), st.integers(1, 2000))
def test_what_is_preferred_is_never_worse_than_the_simplest(scores: list[tuple[float, float]], frames: int) -> None:
    consistency, reverse = zip(*scores, strict=True)
    methods = tuple(DEFAULTS)[: len(scores)]
    compared = judged(*consistency, frames=frames, reverse=reverse, methods=methods)
    preferred = prefer(compared)
    assert preferred.consistency >= consistency[0]
    error = (reverse[0] * (1 - reverse[0]) / frames) ** 0.5
    assert preferred.reverse_accuracy >= reverse[0] - 2 * error - 1e-9


class Tilted:
    """Views that are frames with their grey levels turned round, whatever draws them."""

    def __init__(self, frames: NDArray[np.uint8], network: Network) -> None:
        self._frames, self._network = frames, network

    def plain(self, chosen: NDArray[np.int64]) -> torch.Tensor:
        raise NotImplementedError

    def augmented(self, chosen: NDArray[np.int64], noise: torch.Generator, *, strongly: bool = False) -> torch.Tensor:
        assert not strongly
        frames: torch.Tensor = self._network.normalise(255 - torch.from_numpy(self._frames[chosen]))
        return frames


def test_augmented_frames_are_labelled_by_the_mean_embedding(network: Network) -> None:
    store = make_store(30, 200)  # more than a batch of labelling
    chosen = np.arange(len(store.frames))[::-1].copy()
    labels = label_augmented(network, Tilted(store.frames[:], network), chosen)
    assert labels.tolist() == infer(network, 255 - store.frames[chosen]).logits.argmax(axis=1).tolist()


CENTRES = np.repeat([[0.0, 0.0], [6.0, 0.0], [0.0, 6.0]], 8, axis=1)


def clouds(classes: NDArray[np.int64], seed: int, shift: float = 0.0) -> NDArray[np.float32]:
    points = CENTRES[classes] + np.random.default_rng(seed).normal(size=(len(classes), 16)) + shift
    return np.asarray(points, np.float32)


def test_reverse_accuracy_tells_right_pseudo_labels_from_wrong_ones() -> None:
    """Of frames that form the same clusters in both domains, wherever a domain lies as a whole."""
    classes = np.tile(np.arange(3), 60)
    source, target = clouds(classes, 0), clouds(classes, 1, shift=40.0)
    assert reverse_accuracy(target, classes, source, classes) > 0.97
    assert reverse_accuracy(target, (classes + 1) % 3, source, classes) < 0.03
    half = np.where(classes == 2, 1, classes)
    assert reverse_accuracy(target, half, source, classes) == pytest.approx(2 / 3, abs=0.03)


def test_a_network_that_has_collapsed_does_not_pass_the_reverse_test() -> None:
    classes = np.tile(np.arange(3), 20)
    source = clouds(classes, 0)
    assert reverse_accuracy(source, np.zeros_like(classes), source, classes) == pytest.approx(1 / 3)
    assert reverse_accuracy(source[:1], classes[:1], source, classes) == pytest.approx(1 / 3)
    assert reverse_accuracy(np.zeros_like(source), classes, source, classes) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("scores", "model", "take", "reason"),
    [
        (
            (0.48, 0.93, 0.94, 0.98),
            "metfa-vi",
            "metfa-vi",
            "Adaptation is expected to help here: this is metfa-vi. "
            "Consistency: source-only 0.48, adabn 0.93, mcc 0.94, metfa-vi 0.98.",
        ),
        (
            (0.48, 0.99, 0.94, 0.98),
            "metfa-vi",
            "adabn",
            "Adaptation is not expected to help here beyond adabn: take adabn in place of metfa-vi. "
            "Consistency: source-only 0.48, adabn 0.99, mcc 0.94, metfa-vi 0.98.",
        ),
        (
            (0.68, 0.67, 0.69, 0.66),
            "source-only",
            "source-only",
            "Adaptation is not expected to help here beyond source-only: this is source-only. "
            "Consistency: source-only 0.68, adabn 0.67, mcc 0.69, metfa-vi 0.66.",
        ),
    ],
)
def test_the_verdict_on_what_was_compared_names_the_method_to_take(
    scores: tuple[float, ...], model: MethodName, take: str, reason: str
) -> None:
    verdict = give_verdict(judged(*scores), model, [])
    assert verdict is not None
    assert (verdict.take, verdict.reason) == (take, reason)


@pytest.mark.parametrize(
    ("reverse", "accuracies", "said"),
    [
        (
            0.97,
            (0.9, 0.98),
            "Nothing speaks against the adapted model (reverse accuracy 0.97, accuracy on the source 0.98)",
        ),
        (0.50, (0.9, 0.98), "may have done harm: what it says of the target does not teach the source"),
        (
            0.90,
            (0.98, 0.85),
            "harm: it has lost accuracy on the source (0.85, at best 0.98).",
        ),
        (0.50, (0.98, 0.85), "(0.85, at best 0.98) and what it says of the target does not teach the source"),
    ],
)
def test_the_verdict_on_a_run_alone_says_what_speaks_against_it(
    reverse: float, accuracies: tuple[float, ...], said: str
) -> None:
    """And names no method, as there is none to compare with."""
    run = [replace(NOTHING, supervised_accuracy=accuracy) for accuracy in accuracies]
    verdict = give_verdict([Judged("mcc", 0.9, 100, reverse, 100, run[-1])], "mcc", run)
    assert verdict is not None
    assert verdict.take is None
    assert said in verdict.reason


def test_accuracy_within_its_error_speaks_against_nothing() -> None:
    run = [replace(NOTHING, supervised_accuracy=accuracy, accuracy_error=0.14) for accuracy in (0.98, 0.85)]
    verdict = give_verdict([Judged("mcc", 0.9, 100, 0.9, 100, run[-1])], "mcc", run)
    assert verdict is not None
    assert verdict.reason.startswith("Nothing speaks against the adapted model")


@pytest.mark.parametrize("method", ["source-only", "adabn", "fine-tuned", "fully-supervised"])
def test_there_is_no_verdict_on_what_does_not_adapt(method: MethodName) -> None:
    assert give_verdict(judged(0.9, methods=(method,)), method, [NOTHING]) is None


def test_there_is_no_verdict_on_what_has_seen_target_labels() -> None:
    """However it compares."""
    methods: tuple[MethodName, ...] = ("source-only", "adabn", "fine-tuned")
    assert give_verdict(judged(0.5, 0.6, 0.9, methods=methods), "fine-tuned", [NOTHING]) is None


@pytest.mark.parametrize(
    ("diversity", "method", "how"),
    [
        (0.9, "mcc", "by validators that see no target label"),
        (0.05, "mcc", "by the accuracy on the source alone, as all candidates name too few classes"),
        (0.05, "source-only", "by validators that see no target label"),
    ],
)
def test_the_summary_says_where_no_candidate_was_sound(diversity: float, method: MethodName, how: str) -> None:
    candidate = SimpleNamespace(validators=replace(NOTHING, diversity=diversity))
    evaluation = SimpleNamespace(method=method, candidates=[candidate])
    assert _how_chosen(evaluation, TrainingConfig()).startswith(how)  # type: ignore[arg-type]
