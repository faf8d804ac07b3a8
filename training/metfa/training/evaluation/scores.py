"""What a labelled set of frames says about predictions: per class, on average, and how far confidence can be trusted.

Pure functions of arrays; confidence is the probability of the predicted class, the largest of the softmax.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..data.store import spread

if TYPE_CHECKING:
    from numpy.typing import NDArray

CALIBRATION_BINS = 15
"""Equal-width bins of confidence, each open below and closed above."""

REJECTION_POINTS = 201
"""Most points of a rejection curve, so that its record stays small."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of one domain's held-out frames; macro averages weigh every class that has frames alike.

    Attributes:
        images: how many frames.
        accuracy: share of frames labelled right.
        f1: macro F1.
        precision: macro precision.
        recall: macro recall.
        confusion: frames by true class (row) and predicted class (column).
    """

    images: int
    accuracy: float
    f1: float
    precision: float
    recall: float
    confusion: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class ClassScores:
    """Scores of one class; None, all three, where it has no frames.

    Attributes:
        images: how many frames show it.
        f1: harmonic mean of precision and recall.
        precision: share of the frames predicted as this class that show it; 0 where none was.
        recall: share of the frames that show it predicted as this class.
    """

    images: int
    f1: float | None
    precision: float | None
    recall: float | None


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """The frames whose confidence is in (``lower``, ``upper``].

    Attributes:
        lower: bound of the confidence.
        upper: bound of the confidence.
        images: how many frames.
        confidence: their mean confidence; None where there are none.
        accuracy: share of them labelled right; None where there are none.
    """

    lower: float
    upper: float
    images: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True, slots=True)
class Calibration:
    """How far confidence is from accuracy.

    Attributes:
        expected_error: the expected calibration error: |confidence − accuracy| of the bins, weighted by their frames.
        bins: ``CALIBRATION_BINS`` of them, ascending.
    """

    expected_error: float
    bins: tuple[CalibrationBin, ...]


@dataclass(frozen=True, slots=True)
class RejectionPoint:
    """What is left when frames of less confidence than ``threshold`` get no answer.

    Attributes:
        threshold: least confidence of an answer.
        coverage: share of frames answered, > 0.
        accuracy: share of those answers that are right.
    """

    threshold: float
    coverage: float
    accuracy: float


def score(true: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> Scores:
    """Score predictions.

    Args:
        true: class of each frame, int64 [N], N ≥ 1.
        predicted: predicted class of each frame, int64 [N].
        classes: M, how many classes there are.
    """
    confusion = np.bincount(true * classes + predicted, minlength=classes * classes).reshape(classes, classes)
    rows = tuple(tuple(row) for row in confusion.tolist())
    present = [scores for scores in score_classes(rows) if scores.images]
    return Scores(
        images=len(true),
        accuracy=float(np.mean(true == predicted)),
        f1=float(np.mean([scores.f1 for scores in present])),
        precision=float(np.mean([scores.precision for scores in present])),
        recall=float(np.mean([scores.recall for scores in present])),
        confusion=rows,
    )


def score_classes(confusion: tuple[tuple[int, ...], ...]) -> tuple[ClassScores, ...]:
    """Score each class; ``confusion`` is that of :class:`Scores`."""
    result = []
    for index, row in enumerate(confusion):
        images, right, predicted = sum(row), row[index], sum(other[index] for other in confusion)
        if images:
            precision = right / predicted if predicted else 0.0
            result.append(ClassScores(images, 2 * right / (images + predicted), precision, right / images))
        else:
            result.append(ClassScores(0, None, None, None))
    return tuple(result)


def guessing(scores: Scores) -> tuple[float, float]:
    """Return mean and standard deviation of the macro recall that guessing, every class alike, has on these frames."""
    sizes = [sum(row) for row in scores.confusion if any(row)]
    chance = 1 / len(scores.confusion)
    return chance, (chance * (1 - chance) * sum(1 / size for size in sizes)) ** 0.5 / len(sizes)


def calibration(confidence: NDArray[np.float64], correct: NDArray[np.bool_]) -> Calibration:
    """Compare confidence with accuracy, bin by bin.

    Args:
        confidence: of each prediction, float64 [N] in [0, 1], N ≥ 1.
        correct: whether each is right, bool [N].
    """
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
    number = np.searchsorted(edges[1:-1], confidence, side="left")
    bins, error = [], 0.0
    for index, (lower, upper) in enumerate(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)):
        inside = number == index
        if images := int(inside.sum()):
            mean, accuracy = float(confidence[inside].mean()), float(correct[inside].mean())
            error += images / len(confidence) * abs(mean - accuracy)
            bins.append(CalibrationBin(lower, upper, images, mean, accuracy))
        else:
            bins.append(CalibrationBin(lower, upper, 0, None, None))
    return Calibration(error, tuple(bins))


def rejection_curve(confidence: NDArray[np.float64], correct: NDArray[np.bool_]) -> tuple[RejectionPoint, ...]:
    """Return coverage and accuracy as the threshold on confidence rises, from that which rejects nothing.

    The thresholds are confidences that occur: all of them, or of many frames ``REJECTION_POINTS`` at even ranks.

    Args:
        confidence: of each prediction, float64 [N], N ≥ 1.
        correct: whether each is right, bool [N].
    """
    order = np.argsort(confidence)
    ascending = confidence[order]
    right_from = np.cumsum(correct[order][::-1])[::-1]  # right answers at this rank and above
    ranks = spread(len(order), REJECTION_POINTS)
    points = []
    for threshold in np.unique(ascending[ranks]):
        first = int(np.searchsorted(ascending, threshold, side="left"))
        answered = len(order) - first
        points.append(RejectionPoint(float(threshold), answered / len(order), int(right_from[first]) / answered))
    return tuple(points)
