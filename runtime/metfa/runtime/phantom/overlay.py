"""What a scanner draws around the sector: a logo block, captions, a ruler of depth and the grey bar."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

from .display import HEIGHT, WIDTH
from .font import GLYPHS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .profile import Caption, Overlay, Sector

_TEXT_GREY, _LOGO_GREY = 190, 110


def draw_overlay(overlay: Overlay, sector: Sector) -> NDArray[np.uint8]:
    """Return uint8 [480, 640]: the overlay on black."""
    canvas = np.zeros((HEIGHT, WIDTH), np.uint8)
    left, top, width, height = overlay.logo
    canvas[top : top + height, left : left + width] = _LOGO_GREY // 2
    canvas[top + 3 : top + height - 3, left + 3 : left + width - 3] = _LOGO_GREY
    left, top, width, height = overlay.grey_bar
    canvas[top : top + height, left : left + width] = np.linspace(255, 0, height).astype(np.uint8)[:, None]
    for caption in overlay.captions:
        _write(canvas, caption)
    _draw_ruler(canvas, overlay.ruler_px, sector)
    return canvas


def _write(canvas: NDArray[np.uint8], caption: Caption) -> None:
    for index, character in enumerate(caption.text):
        bits = np.array([[int(bit) for bit in row] for row in GLYPHS[character].split()], np.uint8)
        size = (3 * caption.height_px // 5, caption.height_px)
        glyph = cv2.resize(bits * np.uint8(_TEXT_GREY), size, interpolation=cv2.INTER_NEAREST_EXACT)
        left = caption.left_px + index * (4 * caption.height_px // 5)
        target = canvas[caption.top_px : caption.top_px + size[1], left : left + size[0]]
        target[:] = glyph[: target.shape[0], : target.shape[1]]  # a caption may run off the screen


def _draw_ruler(canvas: NDArray[np.uint8], column: int, sector: Sector) -> None:
    """One tick per centimetre of depth on the middle line, a longer one every five."""
    sagitta = sector.probe_radius_mm * (1.0 - math.cos(math.radians(sector.angle_deg) / 2.0))
    px_per_mm = (sector.bottom_px - sector.top_px) / (sector.depth_mm + sagitta)
    for centimetre in range(int(sector.depth_mm // 10) + 1):
        row = min(HEIGHT - 2, round(sector.top_px + (sagitta + 10.0 * centimetre) * px_per_mm))
        canvas[row : row + 2, column : column + (8 if centimetre % 5 == 0 else 4)] = _TEXT_GREY
