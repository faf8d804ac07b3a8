"""Image files → pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from .errors import SourceError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
"""Of the files in a folder that are taken for images."""


def read_image(path: Path) -> NDArray[np.uint8]:
    """Decode an image file.

    Returns:
        uint8 [H, W] where the file is grey, [H, W, 3] (BGR) where it has colours; 16-bit files are scaled to 8 bits.

    Raises:
        SourceError: the file cannot be read, or is no image, or is truncated.
    """
    try:
        content = np.fromfile(path, np.uint8)
    except OSError as cause:
        raise _unreadable(path, cause.strerror or str(cause)) from None
    if not content.size:
        raise _unreadable(path, "an empty file")
    if _is_cut_off(content.tobytes()):
        raise _unreadable(path, f"a truncated file of {content.size} bytes")
    try:
        image = cv2.imdecode(content, cv2.IMREAD_ANYCOLOR)
    except cv2.error:  # of a size that cannot be
        image = None
    if image is None:
        raise _unreadable(path, f"{content.size} bytes that cannot be decoded")
    return np.asarray(image, np.uint8)


def _is_cut_off(content: bytes) -> bool:
    """Return whether the end of a PNG or JPEG is missing: decoders fill in grey, or write to stderr on their own."""
    if content.startswith(b"\x89PNG"):
        return b"IEND" not in content
    if content.startswith(b"\xff\xd8"):
        start_of_scan, end_of_image = b"\xff\xda", b"\xff\xd9"  # an embedded thumbnail has both, too
        return content.rfind(end_of_image) < content.rfind(start_of_scan)
    return False


def _unreadable(path: Path, received: str) -> SourceError:
    return SourceError(expected=f"an image in {path}", received=received, remedy="replace or remove the file")
