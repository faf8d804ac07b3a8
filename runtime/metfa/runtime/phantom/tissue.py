"""A slice of the body as a raster of acoustic properties, and the brush that paints anatomy into it.

World coordinates are millimetres: x to the right of the probe's centre line, y downwards from the probe's face.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Point = tuple[float, float]

SIZE = 512  # pixels along each side of the raster
SPACING_MM = 0.375
ORIGIN_MM = (-96.0, -28.0)  # world position of pixel (0, 0)

# The raster holds integers so that resampling it is exact arithmetic, the same on every machine.
ECHOGENICITY_STEP_DB = 0.25
ECHOGENICITY_FLOOR_DB = -44.0
ATTENUATION_STEP = 0.1  # dB/cm/MHz

_SUBPIXEL_BITS = 4


@dataclass(frozen=True, slots=True)
class Tissue:
    """Backscatter in dB relative to soft tissue, and attenuation in dB/cm/MHz.

    The order of magnitude of both follows Duck, *Physical Properties of Tissue*, 1990, chapter 4.
    """

    echogenicity: float
    attenuation: float = 0.5

    @property
    def code(self) -> int:
        """The integer that stands for this tissue: echogenicity in the low byte, attenuation in the high byte."""
        echogenicity = round((self.echogenicity - ECHOGENICITY_FLOOR_DB) / ECHOGENICITY_STEP_DB)
        attenuation = round(self.attenuation / ATTENUATION_STEP)
        return max(0, min(255, echogenicity)) | max(0, min(255, attenuation)) << 8


FLUID = Tissue(-44.0, 0.2)
BLOOD = Tissue(-30.0, 0.3)
MUSCLE = Tissue(-7.0)
MYOCARDIUM = Tissue(-8.0)
LIVER = Tissue(-4.0)
FAT = Tissue(-9.0, 0.6)
LUNG = Tissue(-1.0)
SOFT = Tissue(0.0)
PLACENTA = Tissue(-1.5)
SKIN = Tissue(1.5)
WALL = Tissue(4.0)
BONE = Tissue(15.0, 6.0)


@dataclass(frozen=True, slots=True)
class Pose:
    """A similarity of the plane: mirror, scale, rotate (radians, clockwise on the screen), then shift (mm)."""

    x: float = 0.0
    y: float = 0.0
    rotation: float = 0.0
    scale: float = 1.0
    mirrored: bool = False

    def apply(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return ``points`` [N, 2] in the coordinates that this pose maps into."""
        cosine, sine = self.scale * np.cos(self.rotation), self.scale * np.sin(self.rotation)
        x = -points[:, 0] if self.mirrored else points[:, 0]
        y = points[:, 1]
        return np.stack([self.x + cosine * x - sine * y, self.y + sine * x + cosine * y], axis=1)


class Brush:
    """Paints tissue into a raster in the coordinates of an organ, with a little random irregularity of every outline.

    Args:
        raster: uint16 [SIZE, SIZE] of tissue codes; painted in place.
        rng: draws the irregularity.
        poses: from the organ's coordinates outwards to the world.
    """

    def __init__(self, raster: NDArray[np.uint16], rng: np.random.Generator, poses: tuple[Pose, ...] = ()) -> None:
        self.raster, self.rng, self._poses = raster, rng, poses

    def within(self, pose: Pose) -> Brush:
        """Return a brush for coordinates that ``pose`` maps into this brush's own."""
        return Brush(self.raster, self.rng, (pose, *self._poses))

    def fill(self, outline: NDArray[np.float64], tissue: Tissue) -> None:
        """Fill the polygon ``outline`` [N, 2]; where it crosses itself, by the even-odd rule."""
        rows, columns, inside = _inside(self._pixels(outline))
        np.copyto(self.raster[rows, columns], tissue.code, where=inside)

    def blob(
        self, centre: Point, radii: Point, tissue: Tissue, *, tilt: float = 0.0, irregularity: float = 0.04
    ) -> None:
        """Fill an ellipse whose radius wavers by the fraction ``irregularity``; ``tilt`` is in radians."""
        angle = np.linspace(0.0, 2.0 * np.pi, 64, endpoint=False)
        waver = np.ones_like(angle)
        for order in (2, 3, 5):
            amplitude = 2.0 * irregularity / order * self.rng.standard_normal()
            waver += amplitude * np.cos(order * angle + self.rng.uniform(0.0, 2.0 * np.pi))
        ellipse = np.stack([radii[0] * waver * np.cos(angle), radii[1] * waver * np.sin(angle)], axis=1)
        self.fill(Pose(*centre, rotation=tilt).apply(ellipse), tissue)

    def tube(self, path: Sequence[Point], width: float, tissue: Tissue) -> None:
        """Paint a band of constant ``width`` along a smooth curve that follows the control points ``path``."""
        self._stroke(_smooth(np.asarray(path, np.float64)), width, tissue)

    def vessel(self, path: Sequence[Point], width: float, wall: float = 1.3) -> None:
        """Paint a blood vessel along ``path``: a lumen of ``width`` between bright walls."""
        self.tube(path, width + 2.0 * wall, WALL)
        self.tube(path, width, BLOOD)

    def arc(self, radii: Point, start: float, stop: float, width: float, tissue: Tissue) -> None:
        """Paint a band of constant ``width`` along the ellipse round the origin, from angle ``start`` to ``stop``."""
        angle = np.linspace(start, stop, 24)
        self._stroke(np.stack([radii[0] * np.cos(angle), radii[1] * np.sin(angle)], axis=1), width, tissue)

    def _stroke(self, path: NDArray[np.float64], width: float, tissue: Tissue) -> None:
        scale = float(np.prod([pose.scale for pose in self._poses]))
        thickness = max(2, round(width * scale / SPACING_MM))  # lines of one pixel change with OpenCV's version
        cv2.polylines(self.raster, [self._pixels(path)], False, tissue.code, thickness, cv2.LINE_8, _SUBPIXEL_BITS)

    def _pixels(self, points: NDArray[np.float64]) -> NDArray[np.int32]:
        for pose in self._poses:
            points = pose.apply(points)
        return np.rint((points - ORIGIN_MM) / SPACING_MM * (1 << _SUBPIXEL_BITS)).astype(np.int32)


def _inside(outline: NDArray[np.int32]) -> tuple[slice, slice, NDArray[np.bool_]]:
    """Return which pixels of the raster have their centre inside ``outline`` [N, 2], in 1/16 pixel.

    In integers throughout; ``cv2.fillPoly`` is not used because its result changes with OpenCV's version.

    Returns:
        The rows and the columns of the bounding box, and bool [rows, columns] within it.
    """
    x, y = outline.T.astype(np.int64)
    run, rise = np.diff(x, append=x[:1]), np.diff(y, append=y[:1])
    left, top = np.clip(outline.min(axis=0) >> _SUBPIXEL_BITS, 0, SIZE)
    right, bottom = np.clip((outline.max(axis=0) >> _SUBPIXEL_BITS) + 1, 0, SIZE)
    height = (np.arange(top, bottom) << _SUBPIXEL_BITS)[:, None]
    row, edge = np.nonzero((y <= height) != (y + rise <= height))
    crossing = x[edge] * rise[edge] + (height[row, 0] - y[edge]) * run[edge]
    column = -(-crossing // (rise[edge] << _SUBPIXEL_BITS))  # the first pixel to the right of the edge
    toggles = np.zeros((bottom - top, right - left + 1), np.uint8)
    np.add.at(toggles, (row, np.clip(column, left, right) - left), 1)
    inside = (np.cumsum(toggles, axis=1, dtype=np.uint8)[:, :-1] & 1).astype(np.bool_)
    return slice(top, bottom), slice(left, right), inside


def _smooth(path: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Chaikin's corner-cutting curve of ``path`` [N, 2]; the end points stay."""
    for _ in range(3):
        near, far = 0.75 * path[:-1] + 0.25 * path[1:], 0.25 * path[:-1] + 0.75 * path[1:]
        inner = np.stack([near, far], axis=1).reshape(-1, 2)
        path = np.concatenate([path[:1], inner[1:-1], path[-1:]])
    return path
