"""Frames on standard input, as another program sends them: JPEG pictures one after another, or raw ones."""

from __future__ import annotations

import select
import sys
import time
from io import FileIO
from typing import TYPE_CHECKING

import numpy as np

from ..errors import SourceError
from ..frame import Frame
from .base import Source
from .jpeg import decode_jpeg

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..imaging.coded import Image
    from .base import CaptureFormat, Notify

_STDIN = 0
_BLOCK = 1 << 20  # bytes
_MAX_JPEG_BYTES = 64 << 20  # bytes; more without the end of a picture is no MJPEG
_START, _END = b"\xff\xd8\xff", b"\xff\xd9"
_COLOURS = {"gray": 1, "bgr24": 3}
_DEFAULT_RATE = 30.0  # frames have no times
_GAP_SECONDS = 2.5  # without a frame, after which nothing carries over


class StandardInput(Source):
    """What is piped in, the newest frame of it, until the pipe ends.

    Without a size, JPEG pictures one after another (``ffmpeg -f mjpeg -``); what is none, or is cut off, is skipped.
    With a size, raw pictures, ``gray`` or ``bgr24``. After 2.5 s without a frame, or where the size changes, a new
    ``session`` begins.

    Args:
        wanted: size and pixels of raw pictures; the rate is believed.
        notify: told in a line when frames come again after a gap, and what was skipped.

    Raises:
        SourceError: the format does not fit raw pictures.
    """

    live = True

    def __init__(self, wanted: CaptureFormat, notify: Notify) -> None:
        self._notify = notify
        self.rate = wanted.rate or _DEFAULT_RATE
        self._shape: tuple[int, ...] | None = None
        if wanted.size is None and wanted.pixels is None:
            self.description = "JPEG pictures on standard input"
            return
        if wanted.size is None or wanted.pixels not in _COLOURS:
            raise SourceError(
                expected="both --size and --format gray or bgr24 for raw frames on standard input, or neither for JPEG",
                received=f"--size {wanted.size or '-'} and --format {wanted.pixels or '-'}",
                remedy="for example: --size 1280x720 --format gray",
            )
        width, height = wanted.size
        self._shape = (height, width, 3) if wanted.pixels == "bgr24" else (height, width)
        self.description = f"raw frames on standard input, {width}x{height} pixels, {wanted.pixels}"

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames until the pipe ends.

        Raises:
            SourceError: it cannot be read, ends within a raw frame, or holds none.
        """
        session, losses, last_at = 0, 0, time.monotonic()
        last_shape: tuple[int, ...] | None = None
        index = -1
        for index, image in enumerate(_jpegs(self._notify) if self._shape is None else _raw(self._shape)):
            captured_at = time.monotonic()
            gap = captured_at - last_at
            if last_shape is not None and (gap > _GAP_SECONDS or image.shape != last_shape):
                session += 1
                if gap > _GAP_SECONDS:
                    losses += 1
                    self._notify(f"back after {gap:.1f} s")
                if image.shape != last_shape:
                    self._notify("the size changed")
            last_at, last_shape = captured_at, image.shape
            yield Frame(image, index, captured_at, "stdin", session, losses)
        if index < 0:
            raise SourceError(
                expected="frames on standard input",
                received="none before its end",
                remedy="see what the other program says; it must write MJPEG, or raw frames with --size and --format",
            )


def _raw(shape: tuple[int, ...]) -> Iterator[Image]:
    size = int(np.prod(shape))
    while True:
        image = bytearray(size)
        filled, view = 0, memoryview(image)
        while filled < size:
            number = _receive(view[filled:])
            if number == 0:
                break
            filled += number
        if filled == size:
            yield np.frombuffer(image, np.uint8).reshape(shape)
            continue
        if filled:
            raise SourceError(
                expected=f"whole frames of {size} bytes on standard input",
                received=f"{filled} bytes at its end",
                remedy="make --size and --format those of the other program",
            )
        return


def _jpegs(notify: Notify) -> Iterator[Image]:
    block = memoryview(bytearray(_BLOCK))
    buffer, searched, damaged = bytearray(), 0, 0
    while number := _receive(block):
        buffer += block[:number]
        while True:
            start = buffer.find(_START)
            end = buffer.find(_END, max(start + len(_START), searched)) if start >= 0 else -1
            if end < 0:
                break
            image = decode_jpeg(np.frombuffer(buffer[start : end + 2], np.uint8))
            del buffer[: end + 2]
            searched = 0
            if image is None:
                damaged += 1
            else:
                yield image
        if start < 0:
            del buffer[: -len(_START)]
        searched = max(len(buffer) - 1, 0)
        if len(buffer) > _MAX_JPEG_BYTES:
            raise SourceError(
                expected="JPEG pictures on standard input",
                received=f"{len(buffer) >> 20} MB without the end of one",
                remedy="write MJPEG (ffmpeg -f mjpeg -), or name --size and --format of raw frames",
            )
    if damaged:
        notify(f"damaged JPEG pictures on standard input that were skipped: {damaged}")
    if _START in buffer:
        notify("the last JPEG picture on standard input was cut off by its end, and left out")


def _receive(space: memoryview) -> int:
    """Wait for bytes, put them into ``space``, and return how many came; 0 at the end."""
    try:
        if sys.platform != "win32":  # which cannot, and where pipes wait
            select.select([_STDIN], [], [])  # who shares the pipe may have made it one that does not wait
        # Not through sys.stdin, whose lock would be held at the end of the process by a read that waits.
        return FileIO(_STDIN, closefd=False).readinto(space)
    except OSError as cause:
        raise SourceError(
            expected="to be able to read standard input",
            received=cause.strerror or str(cause),
            remedy="pipe what the other program writes into it",
        ) from None
