"""A finished model is doubted by what it does on the source, and by nothing else."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from metfa.training.class_shares import ClassShares, ShareEstimates
from metfa.training.evaluation.scores import score
from metfa.training.outcome import CandidateScores, Evaluation
from metfa.training.selection.validators import Validators
from metfa.training.warnings import doubtful_scores, exploded_terms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

NOTHING = Validators(**{field.name: 0.0 for field in fields(Validators)})


def evaluation(
    right: float = 1.0,
    *,
    frames: int = 60,
    accuracies: tuple[float, ...] = (0.9,),
    selected: int = -1,
    error: float = 0.0,
) -> Evaluation:
    """A run with as many frames of each of three classes, of which a share is labelled right."""
    true = np.repeat(np.arange(3), frames // 3)
    rank = np.tile(np.arange(frames // 3), 3)
    predicted = np.where(rank < right * frames // 3, true, (true + 1) % 3)
    scores = score(true, predicted, 3)
    candidates = tuple(
        CandidateScores(10 * number, replace(NOTHING, supervised_accuracy=accuracy, accuracy_error=error), 0.0, None)
        for number, accuracy in enumerate(accuracies, 1)
    )
    shares = ShareEstimates("metfa-v", 10, {}, {})
    return Evaluation(
        method="metfa-v",
        source=scores,
        source_as_exported=scores,
        target=None,
        selected_step=candidates[selected].step,
        candidates=candidates,
        compared=(),
        diverged={},
        class_shares=ClassShares({}, shares, shares, None),
        verdict=None,
    )


@pytest.mark.parametrize(
    ("right", "frames", "doubted"),
    [
        (1.0, 60, False),
        (0.6, 60, False),
        (0.4, 60, True),
        (0.0, 60, True),
        (0.5, 60, False),
        (0.5, 12, True),
        (1.0, 6, False),
    ],
)
def test_what_cannot_be_told_from_guessing_is_doubted(right: float, frames: int, doubted: bool) -> None:
    warnings = list(doubtful_scores(evaluation(right, frames=frames)))
    assert bool(warnings) == doubted
    if doubted:
        assert f"(mean recall {right:.2f} on {frames}; guessing gives 0.33 ± " in warnings[0]


@pytest.mark.parametrize(
    ("accuracies", "selected", "error", "doubted"),
    [
        ((0.9,), 0, 0.0, False),
        ((0.7, 0.9), 1, 0.0, False),
        ((0.9, 0.85), 1, 0.0, False),
        ((0.6, 0.9, 0.7), 2, 0.1, True),
        ((0.6, 0.9, 0.7), 2, 0.21, False),  # so few frames are held out that the rule itself takes it
    ],
)
def test_a_model_that_lost_accuracy_within_its_run_is_doubted(
    accuracies: tuple[float, ...], selected: int, error: float, doubted: bool
) -> None:
    warnings = list(doubtful_scores(evaluation(accuracies=accuracies, selected=selected, error=error)))
    assert bool(warnings) == doubted
    if doubted:
        assert "(accuracy 0.70 in validation, after 20 steps 0.90)" in warnings[0]


def test_the_target_raises_no_doubt() -> None:
    sound = evaluation()
    assert not list(doubtful_scores(replace(sound, target=evaluation(0.0).source)))


def steps(values: Sequence[float]) -> list[dict[str, float]]:
    return [{"step": number, "prior": value, "ce": 1.0} for number, value in enumerate(values, 1)]


@pytest.mark.parametrize(
    ("values", "exploded"),
    [
        (np.linspace(59, 3150, 1500), True),
        (np.r_[np.full(100, 59.0), np.full(100, 3150.0), np.full(100, 59.0)], True),  # though it came down again
        (np.r_[np.full(100, 32.0), np.full(900, 160.0)], False),  # a usual run
        (np.r_[np.full(100, 0.001), np.full(900, 0.5)], False),  # small at first, as the alignment is
        (np.r_[np.full(999, 32.0), 3150.0], False),  # one step
        ([59.0], False),
    ],
)
def test_a_term_that_exploded_short_of_infinity_is_named(values: Sequence[float], exploded: bool) -> None:
    warnings = list(exploded_terms(steps(values)))
    assert bool(warnings) == exploded
    assert all("the term prior exploded" in warning and "--learning-rate" in warning for warning in warnings)


@pytest.mark.parametrize(("late", "exploded"), [(np.full(600, 30.0), False), (np.geomspace(1.0, 60.0, 600), True)])
def test_a_term_that_is_computed_later_begins_there(late: NDArray[np.float64], exploded: bool) -> None:
    lines = steps([32.0] * 1000)
    for line, value in zip(lines[400:], late, strict=True):
        line["confusion"] = float(value)
    assert [("confusion" in warning) for warning in exploded_terms(lines)] == [True] * exploded
