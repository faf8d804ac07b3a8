"""One class against the others, as of a diagnostic test: sensitivity, specificity, predictive values and AUC.

Each comes with a 95 % confidence interval that takes images to be independent. Those of one patient are not, so that
the true intervals are wider.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import brentq
from scipy.stats import binomtest, norm
from sklearn.metrics import roc_auc_score

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

LEVEL = 0.95
"""Of the confidence intervals."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A share or an area under a curve, and how well it is known.

    Attributes:
        value: in [0, 1].
        lower: bound of the confidence interval.
        upper: bound of the confidence interval.
    """

    value: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class OneVersusRest:
    """How well images of one class are told from the others; None where there are no images to tell by.

    Attributes:
        images: how many are of the class.
        sensitivity: share of them predicted as the class.
        specificity: share of the others not predicted as it.
        positive_predictive_value: share of what is predicted as the class that is of it.
        negative_predictive_value: share of what is not predicted as it that is not of it.
        auc: the chance that an image of the class is given a higher probability of it than another image.
    """

    images: int
    sensitivity: Estimate | None
    specificity: Estimate | None
    positive_predictive_value: Estimate | None
    negative_predictive_value: Estimate | None
    auc: Estimate | None


def one_versus_rest(
    true: NDArray[np.int64], predicted: NDArray[np.int64], probabilities: NDArray[np.floating]
) -> tuple[OneVersusRest, ...]:
    """Score each class against the rest.

    Args:
        true: class of each frame, int64 [N], N ≥ 1.
        predicted: predicted class of each frame, int64 [N].
        probabilities: of each class, float [N, M].
    """
    return tuple(_of_class(true == label, predicted == label, column) for label, column in enumerate(probabilities.T))


def _of_class(
    positive: NDArray[np.bool_], called: NDArray[np.bool_], probability: NDArray[np.floating]
) -> OneVersusRest:
    return OneVersusRest(
        images=int(positive.sum()),
        sensitivity=_share(called[positive]),
        specificity=_share(~called[~positive]),
        positive_predictive_value=_share(positive[called]),
        negative_predictive_value=_share(~positive[~called]),
        auc=_auc(positive, probability),
    )


def _share(right: NDArray[np.bool_]) -> Estimate | None:
    return wilson(int(right.sum()), len(right)) if len(right) else None


def _auc(positive: NDArray[np.bool_], probability: NDArray[np.floating]) -> Estimate | None:
    count = int(positive.sum())
    if not 0 < count < len(positive):
        return None
    return auc_interval(float(roc_auc_score(positive, probability)), count, len(positive) - count)


def wilson(right: int, images: int) -> Estimate:
    """Return a share with its score interval (Wilson 1927), which also holds at 0 and 1.

    Args:
        right: images that count.
        images: of so many, ≥ 1.
    """
    interval = binomtest(right, images).proportion_ci(LEVEL, method="wilson")
    return Estimate(right / images, float(interval.low), float(interval.high))


def auc_interval(auc: float, positives: int, negatives: int) -> Estimate:
    """Return an AUC with the score interval that rests on the variance of Hanley and McNeil (1982).

    The bounds are those θ whose own standard error is |θ - AUC| / 1.96 (Newcombe 2006, method 5), so that an AUC of 1
    has an interval, too.

    Args:
        auc: in [0, 1].
        positives: images of the class, ≥ 1.
        negatives: the others, ≥ 1.
    """
    quantile = float(norm.ppf((1 + LEVEL) / 2))
    pairs = positives * negatives
    others = (positives + negatives) / 2 - 1

    def excess(theta: float) -> float:
        variance = theta * (1 - theta) * (1 + others * ((1 - theta) / (2 - theta) + theta / (1 + theta))) / pairs
        return abs(theta - auc) - quantile * math.sqrt(variance)

    close = 1e-12  # at 0 and 1 the variance vanishes, and the AUC itself would count as a bound
    lower = brentq(excess, 0.0, auc - close) if auc > close else 0.0
    upper = brentq(excess, auc + close, 1.0) if auc < 1 - close else 1.0
    return Estimate(auc, float(lower), float(upper))


def macro_auc(classes: Sequence[OneVersusRest]) -> float | None:
    """Return the mean AUC over the classes that have one; None where none has."""
    areas = [each.auc.value for each in classes if each.auc is not None]
    return float(np.mean(areas)) if areas else None


def positive_label(labels: Sequence[str], background: Sequence[str]) -> str | None:
    """Return which of two classes a test looks for: not the background, else the last by name; None for more classes.

    Names sort so that ``benign`` comes before ``malignant``, ``negative`` before ``positive``, and 0 before 1.
    """
    if len(labels) != 2:
        return None
    return max(label for label in labels if label not in background)
