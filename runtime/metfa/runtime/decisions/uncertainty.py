"""How unsure a model is of a frame."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def uncertainty(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the entropy of probabilities [..., M] over its maximum, log M, for each of the M together: float64 [...].

    It is 0 where one is sure, and 1 where all are equal.
    """
    likely = probabilities.astype(np.float64)
    logarithms = np.log(np.where(likely > 0, likely, 1))
    return np.asarray(-(likely * logarithms).sum(axis=-1) / math.log(likely.shape[-1]))
