"""Pictures and files that the tests of every form need."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from metfa.training.data.listing import Listing


def picture(seed: int, height: int = 24, width: int = 32) -> np.ndarray:
    """Noise, uint8 [height, width]."""
    return np.random.default_rng(seed).integers(0, 256, (height, width)).astype(np.uint8)


def write(path: Path, pixels: np.ndarray | None = None) -> Path:
    """An image file, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture(0) if pixels is None else pixels)
    return path


def skipped(listing: Listing) -> dict[str, str]:
    """What a listing skips, and why."""
    return {each.name: each.reason for each in listing.skipped}
