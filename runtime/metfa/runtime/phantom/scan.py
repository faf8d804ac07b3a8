"""The live sweep: how the probe moves from slice to slice of the fetus, and what it sees on the way."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .anatomy import BACKGROUND, PLANES, paint_slice
from .imaging import draw_scatterers
from .tissue import Pose

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

FRAMES_PER_SECOND = 30

_PLANE_SECONDS = (1.5, 3.0)
_BACKGROUND_SECONDS = (0.6, 1.4)
_TRANSITION_FRAMES = 14
_LEFT, _REACHED = 0.3, 0.7  # of the way; between them, a slice is of neither label
_WEIGHT_BITS = 8


class Slice(NamedTuple):
    """A slice of the body: its tissue and the scatterers in it."""

    tissue: NDArray[np.uint8]
    scatterers: NDArray[np.float32]

    @classmethod
    def draw(cls, plane: str, depth_mm: float, rng: np.random.Generator) -> Slice:
        """Return a slice through ``plane``."""
        return cls(paint_slice(plane, depth_mm, rng), draw_scatterers(rng))


class View(NamedTuple):
    """One frame's worth of body: where between two slices it lies, the probe's place, and the true label."""

    here: Slice
    there: Slice
    progress: float
    probe: Pose
    plane: str

    def slice(self) -> Slice:
        """Return what lies there; most frames show the first of the two slices."""
        if not self.progress:
            return self.here
        return Slice(
            _interpolate(self.here.tissue, self.there.tissue, self.progress),
            _decorrelate(self.here.scatterers, self.there.scatterers, self.progress),
        )


def draw_between(depth_mm: float, rng: np.random.Generator) -> Slice:
    """Return a slice on the way from some plane to background, where it shows neither."""
    there = Slice.draw(BACKGROUND, depth_mm, rng)
    here = Slice.draw(PLANES[rng.integers(len(PLANES))], depth_mm, rng)
    return View(here, there, rng.uniform(_LEFT, _REACHED), Pose(), BACKGROUND).slice()


def sweep(depth_mm: float, rng: np.random.Generator) -> Iterator[View]:
    """Yield the views of an endless sweep, one per frame, in which every second slice is background.

    The scatterers belong to the tissue, so speckle moves with it while the probe drifts. Where the probe slides on to
    the next slice, the tissue is interpolated and the speckle decorrelates, as it does across the slice thickness.
    """
    frame = 0
    tremor = _Tremor(rng)
    here, plane = Slice.draw(BACKGROUND, depth_mm, rng), BACKGROUND
    for next_plane in _itinerary(rng):
        shortest, longest = _BACKGROUND_SECONDS if plane == BACKGROUND else _PLANE_SECONDS
        for _ in range(round(FRAMES_PER_SECOND * rng.uniform(shortest, longest))):
            yield View(here, here, 0.0, tremor.at(frame), plane)
            frame += 1
        there = Slice.draw(next_plane, depth_mm, rng)
        for step in range(1, _TRANSITION_FRAMES):
            progress = step / _TRANSITION_FRAMES
            label = plane if progress < _LEFT else next_plane if progress > _REACHED else BACKGROUND
            yield View(here, there, progress, tremor.at(frame), label)
            frame += 1
        here, plane = there, next_plane


def _itinerary(rng: np.random.Generator) -> Iterator[str]:
    """Yield plane, background, plane, ... where every six planes are all of them in a random order."""
    while True:
        for index in rng.permutation(len(PLANES)):
            yield PLANES[index]
            yield BACKGROUND


def _interpolate(here: NDArray[np.uint8], there: NDArray[np.uint8], progress: float) -> NDArray[np.uint8]:
    """Return the tissue between two slices in integer arithmetic, which is exact."""
    weight = np.uint16(round(progress * (1 << _WEIGHT_BITS)))
    mixed: NDArray[np.uint16] = here * np.uint16((1 << _WEIGHT_BITS) - weight) + there * weight
    return np.asarray(mixed >> _WEIGHT_BITS, np.uint8)


def _decorrelate(here: NDArray[np.float32], there: NDArray[np.float32], progress: float) -> NDArray[np.float32]:
    """Return the scatterers between two slices, of the same power as either."""
    angle = 0.5 * math.pi * progress
    return np.asarray(np.float32(math.cos(angle)) * here + np.float32(math.sin(angle)) * there, np.float32)


class _Tremor:
    """The small, smooth motion of hand, breath and fetus."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._period_s = rng.uniform((3.0, 2.0, 4.0), (5.0, 4.0, 7.0))
        self._phase = rng.uniform(0.0, 2.0 * math.pi, 3)

    def at(self, frame: int) -> Pose:
        seconds = frame / FRAMES_PER_SECOND
        x, y, turn = np.sin(2.0 * math.pi * seconds / self._period_s + self._phase)
        return Pose(x=2.5 * x, y=0.8 * y, rotation=0.04 * turn)
