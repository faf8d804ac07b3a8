"""Image files: of one picture, or of several pages or frames."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from metfa.runtime.errors import SourceError
from metfa.runtime.files import reading, utf8
from metfa.runtime.imaging.images import read_images

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from metfa.runtime.imaging.coded import Image

SMALLEST = 8
"""Pixels; a picture with a shorter side shows nothing."""


def file_identity(path: Path) -> str:
    """Return what changes when a file does: where it lies, its size and its time of change.

    Raises:
        SourceError: it is not there.
    """
    with reading(path):
        status = path.stat()
    return f"{path.absolute()} {status.st_size} {status.st_mtime_ns}"


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image file; see :class:`~metfa.training.data.listing.Medium`."""

    path: Path

    @property
    def name(self) -> str:
        """Its path."""
        return utf8(str(self.path))

    def identity(self) -> str:
        """Return what changes when the pictures do."""
        return file_identity(self.path)

    def read(self) -> Iterator[NDArray[np.uint8]]:
        """Yield the picture, or the pages or frames of several."""
        for picture in read_images(self.path):
            require_size(picture, self.name)
            yield picture


def require_size(picture: Image, name: str) -> None:
    """Make sure that a picture is large enough to show something.

    Raises:
        SourceError: it is not.
    """
    height, width = picture.shape[:2]
    if min(height, width) < SMALLEST:
        raise SourceError(
            expected=f"at least {SMALLEST}x{SMALLEST} pixels in {name}",
            received=f"{width}x{height} pixels",
            remedy="replace or remove the file",
        )
