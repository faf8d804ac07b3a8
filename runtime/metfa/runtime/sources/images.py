"""Image files: one frame, or one for each page or frame of several."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ..frame import Frame
from ..imaging.images import read_images
from .base import Source

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STILL_RATE = 5.0
"""Frames per second of images, which have no time of their own; in a video one can still look at each."""


class Images(Source):
    """The images of a file; ``frame.source`` is its name."""

    live = False
    continuous = False
    rate = STILL_RATE

    def __init__(self, path: Path) -> None:
        self.description = f"image {path}"
        self._path = path

    def __iter__(self) -> Iterator[Frame]:
        """Yield a frame for each page, or each frame of an animated image."""
        for index, image in enumerate(read_images(self._path)):
            yield Frame(image, index, time.monotonic(), self._path.name)
