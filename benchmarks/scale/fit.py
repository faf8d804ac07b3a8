"""How cost grows with size: the exponent of a power."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

CLEAR = 2.0
"""A time counts from so many times the least of the stage, which holds what it costs whatever the size."""


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float | None:
    """Return the slope of log time over log size, by least squares.

    Only sizes take part whose time is at least ``CLEAR`` times the least of all.

    Args:
        sizes: ascending.
        seconds: of each.

    Returns:
        The exponent; None where fewer than two sizes take part, so that there is no growth to speak of.
    """
    points = [(size, second) for size, second in zip(sizes, seconds, strict=True) if second >= CLEAR * min(seconds)]
    if len(points) < 2:
        return None
    across, up = np.log(np.array(points, np.float64)).T
    slope, _ = np.polyfit(across, up, 1)
    return float(slope)
