"""From the envelope in decibels to the screen: log compression, speckle reduction, grey map, scan conversion."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

from .imaging import LINES, SAMPLES, fixed_point_maps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .profile import Display, Sector

HEIGHT, WIDTH = 480, 640


class Screen:
    """Shows envelopes as one scanner does. Everything after the first rounding is exact integer arithmetic."""

    def __init__(self, sector: Sector, display: Display) -> None:
        self._display = display
        self._grey_map = _grey_map(display)
        self._maps, self.inside = _scan_conversion(sector)

    def show(self, envelope_db: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Return uint8 [480, 640]: the sector, black around it.

        Args:
            envelope_db: float64 [SAMPLES, LINES]; 0 dB is white.
        """
        level = np.clip(1.0 + envelope_db / self._display.dynamic_range_db, 0.0, 1.0)
        grey = np.rint(255.0 * level).astype(np.uint8)
        if self._display.speckle_reduction > 1:
            grey = np.asarray(cv2.medianBlur(grey, self._display.speckle_reduction), np.uint8)
        polar = self._grey_map[grey].astype(np.float32)
        image = cv2.remap(polar, *self._maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.rint(image).astype(np.uint8) * self.inside


def _grey_map(display: Display) -> NDArray[np.uint8]:
    """Return uint8 [256]: a power law followed by a logistic S-curve, both from black to white."""
    level = (np.arange(256) / 255.0) ** display.gamma
    if display.contrast > 0.0:
        curve = np.tanh(0.5 * display.contrast * (level - 0.5))
        level = 0.5 + 0.5 * curve / math.tanh(0.25 * display.contrast)
    return np.rint(255.0 * level).astype(np.uint8)


def _scan_conversion(
    sector: Sector,
) -> tuple[tuple[NDArray[np.int16], NDArray[np.uint16]], NDArray[np.uint8]]:
    """Return the maps from the screen into the polar grid, and uint8 [480, 640]: 1 inside the sector."""
    half = math.radians(sector.angle_deg) / 2.0
    top_mm = -sector.probe_radius_mm * (1.0 - math.cos(half))
    mm_per_px = (sector.depth_mm - top_mm) / (sector.bottom_px - sector.top_px)
    row, column = np.mgrid[:HEIGHT, :WIDTH].astype(np.float64)
    x = (column - sector.centre_px) * mm_per_px
    y = (row - sector.top_px) * mm_per_px + top_mm + sector.probe_radius_mm
    depth = np.sqrt(x**2 + y**2) - sector.probe_radius_mm
    angle = np.arctan2(x, y)
    inside = (depth >= 0.0) & (depth <= sector.depth_mm) & (np.abs(angle) <= half)
    line = (angle / (2.0 * half) + 0.5) * LINES - 0.5
    sample = depth / sector.depth_mm * SAMPLES - 0.5
    maps = fixed_point_maps(np.clip(line, 0, LINES - 1), np.clip(sample, 0, SAMPLES - 1))
    return maps, inside.astype(np.uint8)
