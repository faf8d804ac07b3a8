"""The pixels of a DICOM data set → images, whatever their encoding, depth, sign and colours."""

from __future__ import annotations

import io
import os
import re
import sys
import tempfile
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from pydicom.encaps import encapsulate, generate_fragments, generate_frames, parse_basic_offsets
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut
from pydicom.uid import UID, AllTransferSyntaxes, JPEGBaseline8Bit, JPEGExtended12Bit, RLELossless

from ..imaging.images import require_whole_jpeg

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_VIDEO = "1.2.840.10008.1.2.4.10"  # … 100 to 108, and the same in fragments
_BEGINNINGS = (b"\xff\xd8", b"\xff\x4f")  # of the data of a frame in JPEG and JPEG-LS, and in JPEG 2000
_PLUGINS = ("pydicom", "pyjpegls", "pillow", "pylibjpeg", "gdcm")  # of pydicom; what notices damage comes first
_REMARK = re.compile(rb"^(Corrupt|Premature end of|Bogus|Inconsistent|Invalid) .*(JPEG|marker|file|code)")  # of libjpeg


def syntax_of(dataset: Any) -> UID:
    """Return the transfer syntax of a data set."""
    syntax: UID = dataset.file_meta.TransferSyntaxUID
    return syntax


def is_video(dataset: Any) -> bool:
    """Return whether the frames of a data set are a video: MPEG-2, H.264 or HEVC."""
    return syntax_of(dataset).startswith(_VIDEO)


def read_video(dataset: Any) -> io.BytesIO:
    """Return the file of a video that a data set holds."""
    stream = io.BytesIO(dataset.PixelData)
    parse_basic_offsets(stream)
    return io.BytesIO(b"".join(generate_fragments(stream)))


def require_decoder(dataset: Any) -> None:
    """Make sure that the frames of a data set can be decoded with what is installed.

    Raises:
        ValueError: they cannot; the message names the packages that do.
    """
    syntax = syntax_of(dataset)
    try:
        if not syntax.is_encapsulated or _plugins(dataset):
            return
    except NotImplementedError:
        raise ValueError(f"{syntax.name}, which no package decodes; have it exported uncompressed") from None
    packages = "pylibjpeg pylibjpeg-libjpeg" if _is_deep_jpeg(dataset) else "python-gdcm pylibjpeg pylibjpeg-openjpeg"
    raise ValueError(f"{syntax.name}, which nothing decodes that is installed (pip install {packages})")


def decodable_syntaxes() -> list[UID]:
    """Return the transfer syntaxes whose frames can be decoded with what is installed."""
    return [syntax for syntax in AllTransferSyntaxes if _is_decodable(syntax)]


def _is_decodable(syntax: UID) -> bool:
    if syntax.startswith(_VIDEO) or not syntax.is_encapsulated:
        return not syntax.is_deflated
    try:
        return bool(get_decoder(syntax).available_plugins)
    except NotImplementedError:  # no package decodes it
        return False


def count_frames(dataset: Any) -> int:
    """Return how many frames a data set announces, or holds where it announces none, ≥ 1."""
    announced = dataset.get("NumberOfFrames")
    if announced:
        return int(announced)
    if not syntax_of(dataset).is_encapsulated:
        samples = int(dataset.Rows) * int(dataset.Columns) * int(dataset.SamplesPerPixel)
        if dataset.PhotometricInterpretation == "YBR_FULL_422":
            samples = samples * 2 // 3
        return max(1, 8 * len(dataset.PixelData) // (samples * int(dataset.BitsAllocated)))
    stream = io.BytesIO(dataset.PixelData)
    offsets = parse_basic_offsets(stream)
    fragments = list(generate_fragments(stream))
    if syntax_of(dataset) != RLELossless:  # a frame may lie in several
        fragments = [fragment for fragment in fragments if fragment.startswith(_BEGINNINGS)]
    return max(1, len(offsets or fragments))


def read_frames(dataset: Any) -> Iterator[NDArray[np.uint8]]:
    """Yield the frames of a data set, uint8 [H, W] or [H, W, 3] in OpenCV's order of colours.

    Of deeper pixels the eight highest bits are kept: of those that the file declares, or where pixels are signed, of
    those that its frames use, as what they hold there has seldom to do with what is declared.

    Raises:
        Exception: whatever pydicom, or a decoder that it calls, makes of data that are damaged.
    """
    photometric = dataset.PhotometricInterpretation
    if photometric == "PALETTE COLOR":
        first, table = _palette(dataset)
        for stored in _decode(dataset):
            yield table[np.clip(stored.astype(np.int32) - first, 0, len(table) - 1)]
        return
    depth, zero = int(dataset.BitsStored), 0
    if dataset.PixelRepresentation:
        depth = max(min(8, depth), *(_bits_used(stored) for stored in _decode(dataset)))
        zero = 1 << (depth - 1)
    for stored in _decode(dataset):
        image = _to_8_bits(stored.astype(np.int64) + zero if zero else stored, depth)
        if photometric == "MONOCHROME1":
            image = 255 - image
        yield np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), np.uint8) if image.ndim == 3 else image


def _decode(dataset: Any) -> Iterator[NDArray[Any]]:
    """Yield the frames as they are stored, [H, W] or [H, W, 3]; what was YBR is RGB.

    Each is decoded by itself: pydicom takes what it found out about one frame for true of the next.
    """
    frames = int(dataset.NumberOfFrames)
    decoder = get_decoder(syntax_of(dataset))
    if not syntax_of(dataset).is_encapsulated:
        for index in range(frames):
            yield decoder.as_array(dataset, index=index)[0]
        return
    tables = [dataset.get(name) for name in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")]
    found = generate_frames(
        dataset.PixelData, number_of_frames=frames, extended_offsets=(tables[0], tables[1]) if all(tables) else None
    )
    for _ in range(frames):
        try:
            data = next(found)
        except StopIteration:
            raise ValueError("fewer frames than it announces") from None
        if syntax_of(dataset) in {JPEGBaseline8Bit, JPEGExtended12Bit} and not _is_deep_jpeg(dataset):
            require_whole_jpeg(data)
        yield _decode_one(dataset, encapsulate([data], has_bot=False))


def _decode_one(dataset: Any, data: bytes) -> NDArray[Any]:
    """Return the only frame of encapsulated data, by the first plugin that can decode it."""
    decoder = get_decoder(syntax_of(dataset))
    described: dict[str, Any] = {
        "rows": int(dataset.Rows),
        "columns": int(dataset.Columns),
        "number_of_frames": 1,
        "samples_per_pixel": int(dataset.SamplesPerPixel),
        "bits_allocated": int(dataset.BitsAllocated),
        "bits_stored": int(dataset.BitsStored),
        "pixel_representation": int(dataset.PixelRepresentation),
        "photometric_interpretation": dataset.PhotometricInterpretation,
        "planar_configuration": int(dataset.get("PlanarConfiguration") or 0),
        "pixel_keyword": "PixelData",
    }
    errors: list[Exception] = []
    for plugin in _plugins(dataset):
        try:
            with _raising_remarks() if plugin == "gdcm" else nullcontext():
                return np.asarray(decoder.as_array(data, index=0, decoding_plugin=plugin, **described)[0])
        except Exception as error:  # noqa: PERF203 - each has depths and colours that it cannot do
            errors.append(error)
    raise errors[0]


@contextmanager
def _raising_remarks() -> Iterator[None]:
    """Raise what a decoder writes to stderr: GDCM says only there that the data of JPEG Lossless are damaged.

    What other threads write there in the meantime is passed on.

    Raises:
        ValueError: it had something to remark.
    """
    if sys.stderr is None:  # it was closed, and its number may be that of any file
        yield
        return
    with tempfile.TemporaryFile() as written:
        stderr = os.dup(2)
        os.dup2(written.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
        written.seek(0)
        lines = written.read().splitlines(keepends=True)
    remarks = [line for line in lines if _REMARK.search(line)]
    with suppress(OSError):
        os.write(2, b"".join(line for line in lines if line not in remarks))
    if remarks:
        raise ValueError(remarks[0].decode(errors="replace").strip())


def _plugins(dataset: Any) -> list[str]:
    """Return what may decode the frames of a data set, in the order in which to ask."""
    plugins = sorted(get_decoder(syntax_of(dataset)).available_plugins, key=_PLUGINS.index)
    return [plugin for plugin in plugins if plugin == "pylibjpeg" or not _is_deep_jpeg(dataset)]


def _is_deep_jpeg(dataset: Any) -> bool:
    return syntax_of(dataset) == JPEGExtended12Bit and dataset.BitsStored > 8


def _bits_used(stored: NDArray[Any]) -> int:
    """Return how many bits a signed word needs to hold every pixel."""
    return max(int(stored.max()), ~int(stored.min()), 0).bit_length() + 1


def _to_8_bits(values: NDArray[Any], depth: int) -> NDArray[np.uint8]:
    """Return values of 0 … 2^depth - 1 as 0 … 255."""
    if depth < 8:
        return (values.astype(np.uint16) * 255 // ((1 << depth) - 1)).astype(np.uint8)
    return np.asarray(values >> (depth - 8) if depth > 8 else values, np.uint8)


def _palette(dataset: Any) -> tuple[int, NDArray[np.uint8]]:
    """Return the first pixel value that a palette maps, and its colours, uint8 [entries, 3] (BGR).

    Tables of 16-bit words that hold no more than 8 bits are taken for tables of 8 bits, whatever they declare.
    """
    entries, first, _ = dataset.RedPaletteColorLookupTableDescriptor
    entries = entries or 1 << 16
    if "RedPaletteColorLookupTableData" in dataset:
        words = "<u2" if syntax_of(dataset).is_little_endian else ">u2"
        columns = [
            _column(dataset[f"{colour}PaletteColorLookupTableData"].value, entries, words)
            for colour in ("Blue", "Green", "Red")
        ]
        table = np.stack(columns, axis=1)
    else:
        table = apply_color_lut(np.arange(first, first + entries), dataset)[:, 2::-1]
    return first, (table >> 8 if table.max() > 255 else table).astype(np.uint8)


def _column(data: bytes, entries: int, words: str) -> NDArray[np.uint16]:
    """Return the entries of a table of words, or of bytes that are packed in words, the lower first."""
    if len(data) >= 2 * entries:
        return np.frombuffer(data, words, entries).astype(np.uint16)
    return np.frombuffer(data, words).astype("<u2").view(np.uint8)[:entries].astype(np.uint16)
