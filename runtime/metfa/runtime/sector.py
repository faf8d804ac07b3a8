"""Finds the ultrasound in a screen capture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from .contract import Region

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_DARK = 12  # grey levels; what a scanner leaves around its sector is darker


def find_sector(images: Sequence[NDArray[np.uint8]]) -> Region | None:
    """Return the part of the screen that holds the ultrasound, None where none can be told from its surroundings.

    Args:
        images: one or more frames of one device in one layout, uint8 [H, W] or [H, W, 3] (BGR), all of one size.
    """
    grey = [image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) for image in images]
    brightest = np.maximum.reduce(grey)
    _, _, boxes, _ = cv2.connectedComponentsWithStats((brightest > _DARK).astype(np.uint8))
    if len(boxes) < 2:
        return None
    x, y, width, height, _ = (int(number) for number in max(boxes[1:], key=lambda box: box[cv2.CC_STAT_AREA]))
    return Region(x, y, width, height)
