"""Image files → pixels."""

from __future__ import annotations

import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING

import cv2
import numpy as np

from .errors import SourceError
from .files import reading

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
"""Of the files in a folder that are taken for images."""


_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"


def read_image(path: Path | str) -> NDArray[np.uint8]:
    """Decode an image file, whatever its name says of its format.

    Of 16-bit files the eight highest bits are kept: the range is the one that the file declares, not the one that its
    pixels happen to use. What is transparent is laid on black, the ground of ultrasound. Palettes and CMYK become BGR.

    Returns:
        uint8 [H, W] where the file is grey, [H, W, 3] (BGR) where it has colours.

    Raises:
        SourceError: the file cannot be read, or is no image, or is truncated or damaged.
    """
    with reading(path):
        content = np.fromfile(path, np.uint8)
    if not content.size:
        raise _unreadable(path, "an empty file")
    try:
        image = _decode(content)
    except ValueError as cause:
        raise _unreadable(path, str(cause)) from None
    except cv2.error:  # of a size that cannot be
        image = None
    if image is None:
        raise _unreadable(path, "content that cannot be decoded")
    return image


def _decode(content: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """Return the image; None where OpenCV finds none.

    Raises:
        ValueError: it is truncated or damaged: decoders fill in grey, or write to stderr on their own.
    """
    data = content.tobytes()
    transparent = False
    if data.startswith(_PNG):
        transparent = _is_transparent(dict(_png_chunks(data)))
    elif data.startswith(_JPEG):
        start_of_scan, end_of_image = b"\xff\xda", b"\xff\xd9"  # an embedded thumbnail has both, too
        if data.rfind(end_of_image) < data.rfind(start_of_scan):
            raise ValueError("a truncated file")
    with _quiet():
        image = cv2.imdecode(content, cv2.IMREAD_UNCHANGED if transparent else cv2.IMREAD_ANYCOLOR)
    if image is None:
        return None
    pixels = np.asarray(np.right_shift(image, 8) if image.dtype == np.uint16 else image, np.uint8)
    return _on_black(pixels) if transparent else pixels


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep OpenCV's remarks on damaged files from the terminal."""
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the types and contents of a PNG file's chunks.

    Raises:
        ValueError: the file ends before its last chunk, or a chunk that the picture needs is damaged.
    """
    position, kind = len(_PNG), b""
    while kind != b"IEND":
        length, kind = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        end = position + 8 + length
        if end + 4 > len(data):
            raise ValueError("a truncated file")
        checksum = int.from_bytes(data[end : end + 4], "big")
        if kind[:1].isupper() and zlib.crc32(memoryview(data)[position + 4 : end]) != checksum:
            raise ValueError("a damaged file")
        yield kind, data[position + 8 : end]
        position = end + 4


def _is_transparent(chunks: dict[bytes, bytes]) -> bool:
    """Return whether a PNG file has an alpha channel, or colours that count as transparent."""
    return b"tRNS" in chunks or chunks.get(b"IHDR", b"")[9:10] in (b"\x04", b"\x06")


def _on_black(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return BGR for BGRA; what has no alpha is returned as it is."""
    if image.ndim == 2 or image.shape[2] != 4:
        return image
    alpha = image[..., 3:].astype(np.uint16)
    return ((image[..., :3] * alpha + 127) // 255).astype(np.uint8)


def _unreadable(path: Path | str, received: str) -> SourceError:
    return SourceError(expected=f"an image in {path}", received=received, remedy="replace or remove the file")
