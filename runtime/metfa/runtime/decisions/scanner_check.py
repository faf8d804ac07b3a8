"""Is this scanner one that the model knows? Compares what its pictures look like with those of training.

A picture's distance to a scanner is that to the third nearest of the scanner's training pictures, in the space of
:func:`~metfa.runtime.imaging.appearance.appearance`, whitened with the scanner's own covariance. It is measured in
units of a limit that at most 5 % of the scanner's pictures exceed: the quantile of held-out ones that split conformal
prediction takes (Lei et al., JASA 113:1094, 2018).

Without clock and without I/O: the same pictures at the same times give the same report.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import numpy as np

from ..bundle import records
from ..bundle.directory import SCANNERS
from ..errors import BundleError
from ..imaging.appearance import FEATURES, appearance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ..bundle.directory import Bundle

SCHEMA = 1
"""Version of the fields of :class:`ScannerStatistics`."""

FALSE_ALARMS = 0.05
"""The share of a scanner's own pictures that may lie beyond its limit."""

WINDOW_SECONDS = 30.0
MIN_LOOKS = 30
"""Pictures that a verdict rests on, at least: five seconds of a live stream."""

_MAX_SHARE_BEYOND = 0.6  # of a known scanner's pictures; a scan has frames between the planes, which training did not
_NEIGHBOUR = 3
_INTERVAL_SECONDS = 0.15  # between two pictures that are looked at; closer ones hardly differ


@dataclass(frozen=True, slots=True)
class ScannerReference:
    """What the training pictures of one scanner look like.

    Attributes:
        name: the domain, as the user named it.
        centre: [F], the mean appearance.
        whitening: [F, F]; (appearance − centre) times it has about unit covariance.
        points: [K, F], whitened appearances of training pictures.
        limit: the distance that at most ``FALSE_ALARMS`` of the scanner's pictures exceed, > 0.
    """

    name: str
    centre: tuple[float, ...]
    whitening: tuple[tuple[float, ...], ...]
    points: tuple[tuple[float, ...], ...]
    limit: float

    def __post_init__(self) -> None:
        shapes = [len(self.centre), len(self.whitening), *map(len, self.whitening), *map(len, self.points)]
        if set(shapes) != {FEATURES} or not self.points:
            raise ValueError(f"centre, whitening or points of {self.name} are not of {FEATURES} numbers each")
        if not 0 < self.limit < math.inf:
            raise ValueError(f"limit {self.limit} is not above 0")


@dataclass(frozen=True, slots=True)
class ScannerStatistics:
    """What a bundle knows of the scanners that its model was trained on; ``scanners.json``.

    Attributes:
        schema: version of these fields.
        source: the labelled scanner; where nothing is known of that, the target.
        target: the scanner that the model was adapted to; None where it was not.
    """

    schema: int
    source: ScannerReference
    target: ScannerReference | None

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise ValueError(f"schema {self.schema} where this version of metfa reads schema {SCHEMA}")


def read_scanner_statistics(bundle: Bundle) -> ScannerStatistics | None:
    """Return the scanner statistics of a bundle; None where it has none, as its model was not trained here.

    Raises:
        BundleError: they are damaged.
    """
    if SCANNERS not in bundle.files:
        return None
    return records.from_json(
        ScannerStatistics,
        bundle.read(SCANNERS),
        origin=str(bundle.directory / SCANNERS),
        remedy="make the bundle again with metfa-train",
        error=BundleError,
    )


class ScannerSpace:
    """Measures distances to one scanner.

    Args:
        centre: float [F].
        whitening: float [F, F].
        points: float [K, F], whitened.
    """

    def __init__(
        self,
        centre: Sequence[float] | NDArray[np.floating],
        whitening: Sequence[Sequence[float]] | NDArray[np.floating],
        points: Sequence[Sequence[float]] | NDArray[np.floating],
    ) -> None:
        self._centre = np.asarray(centre, np.float64)
        self._whitening = np.asarray(whitening, np.float64)
        self._points = np.asarray(points, np.float64)
        self._neighbour = min(_NEIGHBOUR, len(self._points)) - 1

    def distance(self, features: NDArray[np.floating]) -> float:
        """Return the distance of one picture's features, float [F], to the third nearest point, per √F."""
        offsets = self._points - (features - self._centre) @ self._whitening
        squares = np.einsum("kf,kf->k", offsets, offsets)
        return math.sqrt(float(np.partition(squares, self._neighbour)[self._neighbour]) / len(self._centre))


Verdict: TypeAlias = Literal["source", "target", "unknown", "not enough yet"]


@dataclass(frozen=True, slots=True)
class ScannerReport:
    """How far the scanner of a stream is from those of training.

    Attributes:
        verdict: which of them its pictures are like; unknown where more than 60 % of them lie beyond every limit.
        source: median distance to the labelled scanner, in units of its limit; NaN before the first picture.
        target: the same to the scanner that the model was adapted to; None where it was not.
        looks: how many pictures of the last 30 seconds that rests on.
    """

    verdict: Verdict
    source: float
    target: float | None
    looks: int


class _Look(NamedTuple):
    time: float
    distances: tuple[float, ...]  # to source and, where there is one, target, in units of their limits


def judge(distances: NDArray[np.float64]) -> Verdict:
    """Return which scanner pictures are like, from their distances to source and target, in units of their limits.

    Where a picture of a known scanner lies beyond its limit with a chance of 5 %, more than 60 % of them do with a
    chance of at most 8.3 % (Markov's inequality), however much the pictures of a stream resemble each other.

    Args:
        distances: float [pictures, 1 or 2].
    """
    if len(distances) < MIN_LOOKS:
        return "not enough yet"
    if np.mean(distances.min(axis=1) > 1) > _MAX_SHARE_BEYOND:
        return "unknown"
    return "source" if np.median(distances, axis=0).argmin() == 0 else "target"


class ScannerCheck:
    """Follows the pictures of a stream.

    Args:
        statistics: the bundle's.
    """

    def __init__(self, statistics: ScannerStatistics) -> None:
        self._scanners = [
            (ScannerSpace(scanner.centre, scanner.whitening, scanner.points), scanner.limit)
            for scanner in (statistics.source, statistics.target)
            if scanner is not None
        ]
        self._looks: deque[_Look] = deque()

    def distances(self, picture: NDArray[np.uint8]) -> tuple[float, ...]:
        """Return a picture's distance, uint8 [H, W], to source and, where there is one, target, over their limits."""
        features = appearance(picture)
        return tuple(space.distance(features) / limit for space, limit in self._scanners)

    def restart(self) -> None:
        """Forget the pictures up to now: others follow, of another scanner perhaps."""
        self._looks.clear()

    def update(self, picture: NDArray[np.uint8], time: float) -> bool:
        """Look at the stream's next picture that shows something, unless the last look was a moment ago.

        Args:
            picture: what the model sees, uint8 [H, W].
            time: of the picture, in seconds into the stream.

        Returns:
            Whether it was looked at.
        """
        if self._looks and 0 <= time - self._looks[-1].time < _INTERVAL_SECONDS:
            return False
        self._looks.append(_Look(time, self.distances(picture)))
        while self._looks[0].time < time - WINDOW_SECONDS:
            self._looks.popleft()
        return True

    def report(self) -> ScannerReport:
        """Return how far the pictures of the last 30 seconds are from those of training."""
        if not self._looks:
            return ScannerReport("not enough yet", math.nan, math.nan if len(self._scanners) > 1 else None, 0)
        distances = np.array([look.distances for look in self._looks])
        source, *target = np.median(distances, axis=0).tolist()
        return ScannerReport(judge(distances), source, target[0] if target else None, len(distances))
