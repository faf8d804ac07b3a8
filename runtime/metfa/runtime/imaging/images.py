"""Image files → pixels."""

from __future__ import annotations

import ctypes
import io
import warnings
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from ..errors import SourceError
from ..files import reading

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray
    from PIL.Image import Image

# Pillow and simplejpeg are imported where they are used: a stream of a camera needs neither.

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
"""Of the files in a folder that are taken for images."""

MAX_PIXELS = 100_000_000
"""An image that declares more is refused before it is decoded: no scanner or camera makes them."""

_MAX_BYTES = 1 << 30  # a file that is larger is no image, whatever its name says
_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "GIF", "WEBP")  # the last two under the name of another, as downloads are
_JPEG = b"\xff\xd8"
_WITH_DCT = {0xC0, 0xC1, 0xC2, None}  # None of a header that is damaged
_SUBFILE, _BITS, _COMPRESSION, _PHOTOMETRIC, _TABLES = 254, 258, 259, 262, 347  # tags of TIFF
_PARTS = ((324, 325), (273, 279))  # offsets and lengths of tiles, and of strips
_IN_JPEG, _DEFLATED = 7, (8, 32946)  # values of Compression
_WHITE_IS_ZERO = 0  # of PhotometricInterpretation
_REDUCED_OR_MASK = 0b101  # bits of NewSubfileType


def read_image(path: Path | str) -> NDArray[np.uint8]:
    """Decode an image file that holds one image; see :func:`read_images`.

    Raises:
        SourceError: as there, or the file holds several.
    """
    images = read_images(path)
    image = next(images)
    if next(images, None) is not None:
        raise SourceError(
            expected=f"one image in {path}",
            received="several pages or frames",
            remedy="read them with metfa.runtime.imaging.images.read_images",
        )
    return image


def read_images(path: Path | str) -> Iterator[NDArray[np.uint8]]:
    """Decode an image file, whatever its name says of its format: one image, or the pages or frames of several.

    Of 16-bit files the eight highest bits are kept: the range is the one that the file declares, not the one that its
    pixels happen to use. What is transparent is laid on black, the ground of ultrasound. Palettes and CMYK become BGR.
    The orientation that EXIF tells is obeyed. What follows the end of an image is ignored, and so are reduced copies
    of a page in a TIFF.

    Yields:
        uint8 [H, W] where the file is grey, [H, W, 3] (BGR) where it has colours.

    Raises:
        SourceError: the file cannot be read, or is no image, is truncated or damaged as far as its decoder can tell,
            or declares more than ``MAX_PIXELS`` or
            pixels that no screen shows.
    """
    data = _content(path)
    with _decoding(path):
        image = _open(data)
        pages = 1 if data.startswith(_JPEG) else getattr(image, "n_frames", 1)  # a phone adds its own after the end
    for page in range(pages):
        with _decoding(path):
            if pages > 1:
                image.seek(page)
            if image.format == "TIFF" and image.tag_v2.get(_SUBFILE, 0) & _REDUCED_OR_MASK:  # type: ignore[attr-defined]
                continue
            _require_usable(image, path)
            _require_whole(image, data)
            pixels = _to_pixels(image)
        yield pixels


def require_whole_jpeg(data: bytes) -> None:
    """Make sure that the data of a JPEG image are complete; other decoders fill in grey and say nothing.

    Raises:
        ValueError: the decoder has something to remark.
    """
    import simplejpeg

    if _frame_marker(data) not in _WITH_DCT:  # damaged lossless data crash the decoder
        return
    *_, colours, _ = simplejpeg.decode_jpeg_header(data)
    kept = "CMYK" if colours in {"CMYK", "YCCK"} else "GRAY"
    simplejpeg.decode_jpeg(data, kept, fastdct=True, fastupsample=True, min_height=1, min_width=1, strict=True)


def _frame_marker(data: bytes) -> int | None:
    """Return the marker that tells how a JPEG image is coded: 0xC0 is baseline, 0xC3 lossless."""
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:
            return marker
        position += 1 if marker == 0xFF else 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return None


def _content(path: Path | str) -> bytes:
    with reading(path):
        if Path(path).stat().st_size > _MAX_BYTES:
            raise _unreadable(path, f"a file of more than {_MAX_BYTES >> 20} MB")
        data = Path(path).read_bytes()
    if not data:
        raise _unreadable(path, "an empty file")
    return data


@contextmanager
def _decoding(path: Path | str) -> Iterator[None]:
    """Turn whatever a decoder raises into a :class:`SourceError`, and keep back its remarks on metadata."""
    from PIL import Image, UnidentifiedImageError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except SourceError:
            raise
        except UnidentifiedImageError:
            raise _unreadable(path, "no PNG, JPEG, BMP or TIFF, or a damaged one") from None
        except Image.DecompressionBombError:
            raise _too_large(path) from None
        except Exception:  # Pillow raises any: SyntaxError, struct.error, KeyError, …
            raise _unreadable(path, "a damaged or truncated file") from None


def _open(data: bytes) -> Image:
    """Return what reads the image; of a PNG, all checksums were compared."""
    from PIL import Image

    _silence_libtiff()
    image = Image.open(io.BytesIO(data), formats=_FORMATS)
    if image.format == "PNG":
        image.verify()  # after which it cannot be read
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    return image


def _silence_libtiff() -> None:
    """Keep libtiff from writing its errors to stderr; Pillow raises them."""
    from PIL import _imaging

    set_handler = getattr(ctypes.CDLL(_imaging.__file__), "TIFFSetErrorHandler", None)
    if set_handler is not None:
        set_handler(None)


def _require_usable(image: Image, path: Path | str) -> None:
    """Make sure that an image is worth decoding, by its header."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise _too_large(path, f"{width}x{height} pixels")
    if image.mode in {"I", "F"}:
        raise _unreadable(path, "pixels of 32 bits or in floating point")


def _require_whole(image: Image, data: bytes) -> None:
    """Make sure that compressed data are complete where Pillow does not.

    Raises:
        ValueError, zlib.error: they are not.
    """
    if data.startswith(_JPEG):
        require_whole_jpeg(data)
    if image.format != "TIFF":
        return
    tags = image.tag_v2  # type: ignore[attr-defined]
    compression = tags.get(_COMPRESSION)
    offsets, lengths = next(pair for pair in _PARTS if pair[0] in tags)
    room = 16 * image.width * image.height + (1 << 16)  # bytes: more than the pixels of any format take
    for offset, length in zip(tags[offsets], tags[lengths], strict=True):
        part = data[offset : offset + length]
        if compression == _IN_JPEG:
            tables = tags.get(_TABLES, b"")
            require_whole_jpeg(tables[:-2] + part[2:] if tables else part)
        elif compression in _DEFLATED:
            stream = zlib.decompressobj()
            room -= len(stream.decompress(part, room))
            if not stream.eof or room <= 0:
                raise ValueError("a deflate stream without its end")


def _to_pixels(image: Image) -> NDArray[np.uint8]:
    from PIL import ImageOps

    tags = getattr(image, "tag_v2", {})
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        return _highest_bits(np.asarray(image), tags)
    if image.has_transparency_data:
        pixels = np.asarray(image.convert("RGBA"))
        return np.asarray(cv2.cvtColor(_on_black(pixels), cv2.COLOR_RGB2BGR), np.uint8)
    if image.mode in {"1", "L"}:
        return np.array(image.convert("L"))
    return np.asarray(cv2.cvtColor(np.asarray(image.convert("RGB")), cv2.COLOR_RGB2BGR), np.uint8)


def _highest_bits(words: NDArray[np.uint16], tags: Mapping[int, Any]) -> NDArray[np.uint8]:
    """Return 8 bits of grey for 16, or for the 12 that a TIFF may have; there white may be 0, too."""
    bits, *_ = tags.get(_BITS, (16,))
    pixels: NDArray[np.uint8] = (words >> (bits - 8)).astype(np.uint8)
    return ~pixels if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else pixels


def _on_black(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return RGB for RGBA."""
    alpha = pixels[..., 3:].astype(np.uint16)
    return ((pixels[..., :3] * alpha + 127) // 255).astype(np.uint8)


def _too_large(path: Path | str, size: str = "more") -> SourceError:
    return SourceError(
        expected=f"an image of at most {MAX_PIXELS:,} pixels in {path}",
        received=size,
        remedy="scale it down or remove the file",
    )


def _unreadable(path: Path | str, received: str) -> SourceError:
    return SourceError(expected=f"an image in {path}", received=received, remedy="replace or remove the file")
