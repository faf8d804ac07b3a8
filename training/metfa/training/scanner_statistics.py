"""What the pictures of the two scanners look like, for the scanner check while streaming; no label takes part."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from sklearn.covariance import ledoit_wolf

from metfa.runtime.decisions.scanner_check import (
    FALSE_ALARMS,
    SCHEMA,
    ScannerReference,
    ScannerSpace,
    ScannerStatistics,
)
from metfa.runtime.imaging.appearance import appearance

from .data.drawn import DrawnSource
from .data.store import spread

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .data.pair import DomainPair
    from .data.store import FrameSequence
    from .methods import Role

MAX_FRAMES = 2000
"""So many frames of a split, evenly spread, are described at most: two seconds' work."""

POINTS = 256

_MIN_SPREAD = 1e-3  # of a feature; a smaller one is rounding
_MIN_VARIANCE = 1e-3  # of a direction, relative to a feature's


def scanner_statistics(pair: DomainPair, *, adapted: bool) -> ScannerStatistics:
    """Describe the scanners of a run.

    Args:
        pair: its domains; training and validation frames are read.
        adapted: whether the model is for the target.

    Raises:
        DataError, SourceError, OutputError: frames cannot be read.
    """

    def describe(role: Role, name: str) -> ScannerReference:
        return describe_scanner(name, pair.frames(role, "train").frames, pair.frames(role, "val").frames)

    source = pair.source.scanner if isinstance(pair.source, DrawnSource) else describe("source", pair.source.name)
    if source is None:  # then the target's is the only scanner that the bundle knows
        return ScannerStatistics(SCHEMA, describe("target", pair.target.name), None)
    return ScannerStatistics(SCHEMA, source, describe("target", pair.target.name) if adapted else None)


def describe_scanner(name: str, training: FrameSequence, held_out: FrameSequence) -> ScannerReference:
    """Describe one scanner.

    Args:
        name: the domain, as the user named it.
        training: its frames, N ≥ 2.
        held_out: others, that set the limit.
    """
    features = _features(training)
    centre, whitening = whiten(features)
    points = ((features - centre) @ whitening)[spread(len(features), POINTS)]
    space = ScannerSpace(centre, whitening, points)
    distances = [space.distance(vector) for vector in _features(held_out)]
    return ScannerReference(
        name=name,
        centre=_rounded(centre),
        whitening=tuple(map(_rounded, whitening)),
        points=tuple(map(_rounded, points)),
        limit=max(conformal_limit(distances, FALSE_ALARMS), 1e-6),
    )


def whiten(features: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return centre [F] and whitening [F, F] of features [N, F].

    The covariance is that of the standardised features, shrunk (Ledoit and Wolf, J Multivariate Anal 88:365, 2004).
    """
    centre = features.mean(axis=0, dtype=np.float64)
    spread = np.maximum(features.std(axis=0, dtype=np.float64), _MIN_SPREAD)
    covariance, _ = ledoit_wolf((features - centre) / spread, assume_centered=True)
    variances, directions = np.linalg.eigh(covariance)
    return centre, directions / spread[:, np.newaxis] / np.sqrt(np.maximum(variances, _MIN_VARIANCE))


def conformal_limit(distances: list[float], level: float) -> float:
    """Return what a further distance exceeds with a chance of at most ``level``; the largest, where too few are known.

    It is the ⌈(n + 1)(1 − level)⌉-th smallest of n (Lei et al. 2018).
    """
    rank = math.ceil((len(distances) + 1) * (1 - level))
    return sorted(distances)[min(rank, len(distances)) - 1]


def _features(frames: FrameSequence) -> NDArray[np.float32]:
    return np.stack([appearance(frame) for (frame,) in frames[spread(len(frames), MAX_FRAMES)]])


def _rounded(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(f"{value:.5g}") for value in values)
