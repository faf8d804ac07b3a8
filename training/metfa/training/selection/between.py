"""Which of several methods is to be taken: decided without target labels, by reverse validation.

What chooses between the steps of one run does not compare methods: one that makes clusters agrees better with clusters
than one that does not, right or wrong. So the target's pseudo-labels are put to a test that has an answer: a classifier
that learns them from the target's embeddings labels the source's, whose classes are known (Zhong et al. 2010; Ganin et
al. 2016). See ``docs/selection.md`` for how it compares with others.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from ..names import MethodName
from .validators import Validators

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

STANDARD_ERRORS = 2.0
"""By so many must the best method's reverse accuracy exceed the simplest's to be preferred to it."""

ERRORS_LEFT = 0.5
"""Of the simplest method's reverse errors may the best have this share, and no more, to be preferred to it."""

PENALTY = 0.15
"""Of the squared weights, halved, of the classifier that learns pseudo-labels, beside its mean cross-entropy."""

MAX_ITERATIONS = 100


@dataclass(frozen=True, slots=True)
class Judged:
    """What the rule between methods knows of one.

    Attributes:
        method: its name.
        reverse_accuracy: see :func:`reverse_accuracy`.
        frames: of the source, which that was measured on.
        validators: of the candidate that its own rule chooses; for the report.
    """

    method: MethodName
    reverse_accuracy: float
    frames: int
    validators: Validators


def prefer(judged: Sequence[Judged]) -> Judged:
    """Return the method of the highest reverse accuracy, or the simplest where it exceeds that by too little.

    Args:
        judged: from the simplest to the most complex, which is their order in the tables; at least one.
    """
    simplest, best = judged[0], max(judged, key=lambda each: each.reverse_accuracy)
    right, wrong = simplest.reverse_accuracy, 1 - simplest.reverse_accuracy
    certain = best.reverse_accuracy > right + STANDARD_ERRORS * math.sqrt(right * wrong / simplest.frames)
    large = 1 - best.reverse_accuracy <= ERRORS_LEFT * wrong
    return best if certain and large else simplest


def reverse_accuracy(
    target: NDArray[np.float32],
    pseudo_labels: NDArray[np.int64],
    source: NDArray[np.float32],
    source_classes: NDArray[np.int64],
) -> float:
    """Return the mean recall, on the source, of a linear classifier that has learnt the target's pseudo-labels.

    The embeddings of each domain are standardised by that domain's mean and deviation. A class that no pseudo-label
    names has a recall of 0, so that a network which has collapsed cannot score well.

    Args:
        target: embeddings of target frames, [K, D], K ≥ 1.
        pseudo_labels: what the network says of them, int64 [K].
        source: embeddings of source frames by the same network, [N, D], N ≥ 1.
        source_classes: their true classes, int64 [N].

    Returns:
        0 to 1.
    """
    named = np.unique(pseudo_labels)
    predicted = np.full(len(source), named[0])
    if len(named) > 1:
        classifier = LogisticRegression(C=1 / (PENALTY * len(target)), max_iter=MAX_ITERATIONS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # near the best is near enough
            classifier.fit(_standardised(target), pseudo_labels)
        predicted = classifier.predict(_standardised(source))
    right = predicted == source_classes
    return float(np.mean([right[source_classes == label].mean() for label in np.unique(source_classes)]))


def _standardised(embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
    deviation = embeddings.std(axis=0, dtype=np.float64)
    return np.asarray((embeddings - embeddings.mean(axis=0, dtype=np.float64)) / np.where(deviation > 0, deviation, 1))
