"""How the model's predictions become decisions: temperature and rejection, from held-out frames and no target label."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from metfa.runtime.bundle.contract import DecisionSpec, Rejection, RejectionScore
from metfa.runtime.decisions.decider import rejection_score

from .scanner_statistics import conformal_limit
from .temperature import fit_temperature

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from metfa.runtime.backends import Inference

BACKGROUND = "background"
"""A class of this name, in capitals or not, stands for frames that show no plane."""

SCORE: RejectionScore = "energy"
"""What frames are rejected by: see ``docs/decisions.md`` for how the scores compare."""

FALSE_REJECTIONS = 0.05
"""So large a share of a scanner's frames of planes may be rejected at most, where all of its frames show planes."""


def background_of(labels: Sequence[str]) -> tuple[int, ...]:
    """Return the indices of the classes that stand for background; none where all do."""
    found = tuple(index for index, label in enumerate(labels) if label.lower() == BACKGROUND)
    return found if len(found) < len(labels) else ()


def calibrate(
    labels: Sequence[str], source: Inference, source_classes: NDArray[np.int64], target: Inference | None
) -> DecisionSpec:
    """Return how to decide.

    The temperature is fitted to the source, since it takes labels. Where no class stands for background, a frame is
    rejected that scores lower than all but ``FALSE_REJECTIONS`` of the held-out frames of each domain: the unlabelled
    target's bound it too, as its scores are lower after adaptation; frames of it that show no plane make the threshold
    lower, never higher. Beside a class for background, whose probability tells better, rejection only costs planes.

    Args:
        labels: the M class names.
        source: what the network with the source's statistics says of held-out source frames, N ≥ 1.
        source_classes: their classes, int64 [N].
        target: what the exported network says of held-out target frames; None where it is for the source.
    """
    background = tuple(labels[each] for each in background_of(labels))
    planes = np.array([label not in background for label in labels])
    temperature = fit_temperature(source.logits, source_classes)
    threshold = None
    if not background:
        scores = [_scores(each, temperature) for each in (source, target) if each is not None]
        threshold = min(-conformal_limit((-each).tolist(), FALSE_REJECTIONS) for each in scores)
    return DecisionSpec(
        temperature=temperature,
        rejection=None if threshold is None else Rejection(SCORE, threshold),
        background=background,
        max_validation_confidence=_highest_confidence(
            source if target is None else target, temperature, threshold, planes
        ),
    )


def _highest_confidence(
    inference: Inference, temperature: float, threshold: float | None, planes: NDArray[np.bool_]
) -> float:
    """Return the greatest probability of a plane, of frames that are not rejected; 0 where all are."""
    kept = np.ones(len(inference.logits), np.bool_)
    if threshold is not None:
        kept = _scores(inference, temperature) >= threshold
    return float(inference.calibrated(temperature)[kept][:, planes].max(initial=0.0))


def _scores(inference: Inference, temperature: float) -> NDArray[np.float64]:
    return rejection_score(inference.logits, inference.calibrated(temperature), SCORE)
