"""Which of several methods is to be taken: decided without target labels, by consistency and reverse validation.

What chooses between the steps of one run does not compare methods: one that makes clusters agrees better with clusters
than one that does not, right or wrong. Two other questions do:

- Does a method label target frames alike as they are and augmented? One that guesses does not.
- Do its labels mean the source's classes? A classifier that learns them from the target's embeddings labels the
  source's, whose classes are known (reverse validation: Zhong et al. 2010; Ganin et al. 2016). A network that has
  collapsed is consistent, and fails here.

See ``docs/selection.md`` for how they compare with others.
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
"""By so many must the best method's consistency exceed the simplest's to be preferred to it. By no more may its reverse
accuracy fall below."""

CHANGES_LEFT = 0.5
"""Of the target labels that change under augmentation with the simplest method, the best may change this share."""

PENALTY = 0.15
"""Of the squared weights, halved, of the classifier that learns pseudo-labels, beside its mean cross-entropy."""

MAX_ITERATIONS = 100


@dataclass(frozen=True, slots=True)
class Judged:
    """What the rule between methods knows of one.

    Attributes:
        method: its name.
        consistency: the share of target frames that it labels alike as they are and augmented.
        target_frames: which that was measured on.
        reverse_accuracy: see :func:`reverse_accuracy`.
        source_frames: which that was measured on.
        validators: of the candidate that its own rule chooses; for the report.
    """

    method: MethodName
    consistency: float
    target_frames: int
    reverse_accuracy: float
    source_frames: int
    validators: Validators


def prefer(judged: Sequence[Judged]) -> Judged:
    """Return the most consistent method, or the simplest where it exceeds that by too little.

    A method whose reverse accuracy is below that of the simplest is left out.

    Args:
        judged: from the simplest to the most complex, which is their order in the tables; at least one.
    """
    simplest = judged[0]
    least = simplest.reverse_accuracy - _margin(simplest.reverse_accuracy, simplest.source_frames)
    best = max((each for each in judged if each.reverse_accuracy >= least), key=lambda each: each.consistency)
    certain = best.consistency > simplest.consistency + _margin(simplest.consistency, simplest.target_frames)
    large = 1 - best.consistency <= CHANGES_LEFT * (1 - simplest.consistency)
    return best if certain and large else simplest


def _margin(share: float, frames: int) -> float:
    return STANDARD_ERRORS * math.sqrt(share * (1 - share) / frames)


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
