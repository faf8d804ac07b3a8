"""How frequent each class is in the target, estimated without its labels.

Both estimates take it that the target differs from the source's validation frames in how frequent the classes are, and
not in what the network says of a class. After adaptation that is nearly so; before it, they are as wrong as the
predictions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .names import MethodName
from .temperature import fit_temperature

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from metfa.runtime.backends import Inference

RIDGE = 1e-8
"""Added to the diagonal of CᵀC, so that a singular confusion matrix has a solution."""

MAX_ITERATIONS, TOLERANCE = 1000, 1e-6
"""Of MLLS: it ends where the shares move by less than the tolerance in all."""


@dataclass(frozen=True, slots=True)
class ShareEstimates:
    """How frequent each class is among the target's training frames, by what a network says of them.

    Attributes:
        method: of the network.
        step: after which it was kept.
        bbse: by class, see :func:`bbse`.
        mlls: by class, see :func:`mlls`.
    """

    method: MethodName
    step: int
    bbse: dict[str, float]
    mlls: dict[str, float]


@dataclass(frozen=True, slots=True)
class ClassShares:
    """How frequent each class is.

    Attributes:
        source: among the source's training frames, by their labels.
        before: in the target, by adabn where that was trained, else by the run's first candidate.
        after: in the target, by the model.
        target: among the target's test frames, by their labels; for the report only, None where there are none.
    """

    source: dict[str, float]
    before: ShareEstimates
    after: ShareEstimates
    target: dict[str, float] | None


def estimate_shares(
    method: MethodName,
    step: int,
    labels: Sequence[str],
    source: Inference,
    source_classes: NDArray[np.int64],
    target: Inference,
) -> ShareEstimates:
    """Return both estimates, from predictions that are calibrated on the source.

    Args:
        method: of the network.
        step: after which it was kept.
        labels: the M class names.
        source: what the network with the source's statistics says of held-out source frames, N ≥ 1.
        source_classes: their classes, int64 [N].
        target: what the network with the bundle's statistics says of target frames, K ≥ 1.
    """
    temperature = fit_temperature(source.logits, source_classes)
    known, unknown = (each.calibrated(temperature).astype(np.float64) for each in (source, target))
    balanced = np.full(len(labels), 1 / len(labels))  # as the batches of training are
    return ShareEstimates(
        method,
        step,
        bbse=by_label(labels, bbse(known, source_classes, unknown)),
        mlls=by_label(labels, mlls(unknown, balanced)),
    )


def bbse(
    source: NDArray[np.float64], source_classes: NDArray[np.int64], target: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the shares that explain the target's mean prediction by the source's confusions (Lipton et al. 2018).

    Cₐᵦ = P(predicted a, true b) on the source, w = (CᵀC + 1e-8 I)⁻¹ Cᵀ p̄_T cut at 0, and π̂ ∝ w π_S. A class without a
    source frame gets 0. Where the target's predictions are none of the source's, nothing follows, and π_S is returned.

    Args:
        source: probabilities of held-out source frames, [N, M], N ≥ 1; one-hot for hard predictions.
        source_classes: their true classes, int64 [N].
        target: probabilities of target frames, [K, M], K ≥ 1.

    Returns:
        [M], which sums to one.
    """
    classes = source.shape[1]
    confusion = source.T @ np.eye(classes)[source_classes] / len(source)
    ridge = RIDGE * np.eye(classes)
    weights = np.linalg.solve(confusion.T @ confusion + ridge, confusion.T @ target.mean(axis=0)).clip(min=0)
    of_source = shares_of(source_classes, classes)
    shares = weights * of_source
    return shares / shares.sum() if shares.any() else of_source


def mlls(target: NDArray[np.float64], trained_on: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the likeliest shares under calibrated predictions, by expectation maximisation (Saerens et al. 2002).

    q ∝ p π / π_S and π = mean q, in turn.

    Args:
        target: calibrated probabilities of target frames, [K, M], K ≥ 1.
        trained_on: π_S, the shares of the classes in the batches that the classifier was trained on, [M], all above 0.

    Returns:
        [M], which sums to one.
    """
    shares = trained_on
    for _ in range(MAX_ITERATIONS):
        posterior = target * (shares / trained_on)
        posterior /= posterior.sum(axis=1, keepdims=True)
        before, shares = shares, posterior.mean(axis=0)
        if np.abs(shares - before).sum() < TOLERANCE:
            break
    return shares


def shares_of(classes: NDArray[np.int64], number: int) -> NDArray[np.float64]:
    """Return the share of each of ``number`` classes, float [M]; ``classes`` is int64 [N], N ≥ 1."""
    return np.bincount(classes, minlength=number) / len(classes)


def by_label(labels: Sequence[str], shares: NDArray[np.float64]) -> dict[str, float]:
    """Return shares by the names of their classes."""
    return dict(zip(labels, shares.tolist(), strict=True))
