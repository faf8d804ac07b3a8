"""The temperature that makes a network as confident as it is right of frames whose classes are known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_COLDEST, _HOTTEST = 0.01, 100.0


def fit_temperature(logits: NDArray[np.float32], classes: NDArray[np.int64]) -> float:
    """Return the temperature that makes softmax(logits / temperature) likeliest (Guo et al. 2017), in [0.01, 100].

    Each true class counts for (N + 1) / (N + 2), the others share the rest, as if one more frame had been right and one
    wrong (Platt 1999), so that frames without a single error do not make it zero.

    Args:
        logits: float32 [N, M], N ≥ 1.
        classes: int64 [N].
    """
    number, labels = logits.shape
    expected = np.full(logits.shape, 1 / ((number + 2) * (labels - 1)))
    expected[np.arange(number), classes] = (number + 1) / (number + 2)
    wanted = (expected * logits).sum(axis=1).mean()
    # The mean logit under softmax(logits · β) grows with β = 1 / temperature, and equals the wanted one at the minimum.
    coldest, hottest = np.log(1 / _COLDEST), np.log(1 / _HOTTEST)
    for _ in range(60):
        middle = (coldest + hottest) / 2
        if _mean_logit(logits.astype(np.float64), np.exp(middle)) < wanted:
            hottest = middle
        else:
            coldest = middle
    return float(np.exp(-(coldest + hottest) / 2))


def _mean_logit(logits: NDArray[np.float64], beta: float) -> float:
    weights = np.exp(beta * (logits - logits.max(axis=1, keepdims=True)))
    return float(((weights * logits).sum(axis=1) / weights.sum(axis=1)).mean())
