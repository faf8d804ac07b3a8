"""Which candidate of a run becomes the model: decided without target labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .validators import Validators

ACCURACY_MARGIN = 0.1
"""A candidate may lose so much supervised accuracy against the run's best, or one standard error of its own where that
is more (much as in Breiman et al. 1984, whose error is the best's). What loses less is better than what came before."""

MIN_DIVERSITY = 0.1
"""A candidate whose mean prediction has less than this share of the greatest entropy has collapsed onto few classes.
Planes are seldom equally frequent: with six frames in ten of one organ, a good network has 0.26."""


def choose(candidates: Sequence[Validators], *, adapts: bool) -> int:
    """Return the index of the candidate that the rule prefers; of equals, the latest.

    The last candidate is taken that keeps the accuracy on labelled frames and has not collapsed. Where all have
    collapsed, or the method does not adapt to unlabelled frames, the accuracy on labelled frames decides alone. No
    validator chose better than the last sound step: ``python -m benchmarks.studies.selection``.

    Args:
        candidates: in the order of their steps; at least one.
        adapts: whether the method learns from unlabelled target frames.
    """
    if adapts and (sound := sound_ones(candidates)):
        return sound[-1]
    return max(range(len(candidates)), key=lambda index: (candidates[index].supervised_accuracy, index))


def sound_ones(candidates: Sequence[Validators]) -> list[int]:
    """Return the indices of those that are sound beside the most accurate, in order."""
    best = max(candidate.supervised_accuracy for candidate in candidates)
    return [index for index, candidate in enumerate(candidates) if is_sound(candidate, best)]


def is_sound(candidate: Validators, best_accuracy: float) -> bool:
    """Return whether a candidate keeps the accuracy on labelled frames and has not collapsed."""
    return keeps_accuracy(candidate, best_accuracy) and candidate.diversity >= MIN_DIVERSITY


def keeps_accuracy(candidate: Validators, best_accuracy: float) -> bool:
    """Return whether a candidate has lost no more accuracy than the margin, or one standard error of its own."""
    return candidate.supervised_accuracy + max(ACCURACY_MARGIN, candidate.accuracy_error) >= best_accuracy
