"""What a scanner's pictures look like, whatever they show: the distribution of grey levels, and the texture.

Grey map, dynamic range and the size of the black ground shape the first; frequency, bandwidth, aperture and speckle
reduction the second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LEVELS = (3, 12, 31, 63, 95, 127, 159, 191, 223, 250)  # grey levels
_OCTAVES = 3
_MIN_VARIANCE = 1.0  # grey levels squared; below it there is only quantisation
_MIN_ROUGHNESS = 1e-4  # of the variance; what compression leaves

FEATURES = len(_LEVELS) + 6 * _OCTAVES
"""F, how many numbers describe a picture."""


def appearance(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Describe a picture as the model sees it, uint8 [H, W], H and W ≥ 28.

    Returns:
        float32 [F]: the square roots (which even out their spread) of the shares of pixels up to ten grey levels; then
        at full, half and quarter resolution, across and down, log mean square of the first and of the second difference
        relative to the variance of the picture, and last the ratio of the first difference's mean magnitude to its root
        mean square: low where edges are few and strong, near 0.8 for noise.
    """
    shares = np.cumsum(cv2.calcHist([picture], [0], None, [256], [0, 256]).ravel()) / picture.size
    grey = picture.astype(np.float32)
    variance = max(float(grey.var()), _MIN_VARIANCE)
    roughness: list[float] = []
    sparseness: list[float] = []
    for octave in range(_OCTAVES):
        if octave:
            grey = np.asarray(cv2.resize(grey, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.float32)
        for axis in (1, 0):
            first = np.diff(grey, axis=axis)
            power = _mean_square(first)
            roughness += [power / variance, _mean_square(np.diff(first, axis=axis)) / variance]
            sparseness.append(float(cv2.norm(first, cv2.NORM_L1)) / first.size / (power + 1e-3) ** 0.5)
    return np.concatenate(
        [np.sqrt(shares[list(_LEVELS)]), np.log(np.array(roughness) + _MIN_ROUGHNESS), sparseness]
    ).astype(np.float32)


def _mean_square(values: NDArray[np.float32]) -> float:
    return float(cv2.norm(values, cv2.NORM_L2SQR)) / values.size
