"""Cameras and frame grabbers, through OpenCV: V4L2 on Linux, AVFoundation on macOS, DirectShow on Windows."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ..errors import SourceError
from ..files import utf8
from ..imaging.coded import CodedImage
from ..imaging.preprocess import to_grey
from .jpeg import decode_jpeg
from .live import LiveSource, LostError
from .opencv import OpenCVConnection

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ..imaging.coded import Image
    from .base import CaptureFormat, Notify

_NUMBERED = {"darwin": cv2.CAP_AVFOUNDATION, "win32": cv2.CAP_DSHOW}
"""What drives cameras by system, where these have numbers in place of files."""

_PIXELS = "MJPG"  # uncompressed 720p does not fit through USB 2 at 30 frames/s
_SIZE, _RATE = (1280, 720), 30.0
_SAME_RATE = 0.5  # frames/s
_SUDDEN = 0.25  # of the time from one frame to the next: a buffer that comes earlier was not filled in the meantime
_MAX_REPETITIONS = 30  # of such buffers, after which the camera is dead


def open_camera(device: str, wanted: CaptureFormat, notify: Notify) -> LiveSource:
    """Open a camera.

    Args:
        device: its number or, on Linux, its path; one in ``/dev/v4l/by-id`` names it again when it is plugged in again.
        wanted: the format to ask for: by default 1280x720 pixels, 30 frames/s, MJPG.
        notify: told in a line what the camera gives instead, when it is lost, and when it is back.

    Raises:
        SourceError: there is no such camera, or it cannot be opened.
    """
    place = _place(device)
    name = str(place) if isinstance(place, Path) else f"camera {place}"
    return LiveSource(name, lambda: _Camera(place, wanted, notify), notify)


def _place(device: str) -> Path | int:
    """Return the file of a camera; where cameras have none, its number."""
    if sys.platform not in _NUMBERED:
        return Path(f"/dev/video{device}" if device.isdecimal() else device)
    if device.isdecimal():
        return int(device)
    raise SourceError(
        expected="the number of a camera, such as 0", received=repr(device), remedy="list cameras with: metfa doctor"
    )


class _Camera(OpenCVConnection):
    """Tells the buffers of a camera that is gone, which OpenCV goes on to hand out, from pictures."""

    def __init__(self, place: Path | int, wanted: CaptureFormat, notify: Notify) -> None:
        capture = _open(place)
        pixels, rate = wanted.pixels or _PIXELS, wanted.rate or _RATE
        width, height = wanted.size or _SIZE
        # The format comes first: changing it later would reset size and rate. One buffer: the newest frame only.
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*pixels))
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, width)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, height)
        capture.set(cv2.CAP_PROP_FPS, rate)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        super().__init__(capture, f"camera {place}")
        code = int(capture.get(cv2.CAP_PROP_FOURCC))
        given = code.to_bytes(4, "little").decode("ascii", "replace") if code > 0 else ""  # AVFoundation does not tell
        self.description += f", {given}" if given else ""
        got = capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
        if got != (width, height) or given not in {pixels, ""} or abs(self.rate - rate) > _SAME_RATE:
            asked = f"{width}x{height} pixels, {rate:.4g} frames/s, {pixels}"
            notify(f"warning: the camera does not give the {asked} that it was asked for")
        # V4L2 alone is known to hand out what the camera delivers.
        self._decoder = _DECODERS.get(given) if isinstance(place, Path) else None
        if self._decoder is not None:
            capture.set(cv2.CAP_PROP_CONVERT_RGB, 0)
        self._place = place
        self._interval = 1 / self.rate
        self._last: Image | None = None
        self._read_at = time.monotonic()

    def read(self) -> Image:
        """Wait for the next picture.

        Raises:
            LostError: the camera is gone, or only repeats itself.
        """
        for _ in range(_MAX_REPETITIONS):
            image = super().read()
            read_at = time.monotonic()
            if isinstance(self._place, Path) and not self._place.exists():
                raise LostError("the camera was pulled out")
            sudden = read_at - self._read_at < _SUDDEN * self._interval
            repeats = sudden and self._last is not None and np.array_equal(to_grey(image), to_grey(self._last))
            self._last, self._read_at = image, read_at
            if not repeats:
                return image
        raise LostError("the camera only repeats its last frame")

    def decode(self, delivered: NDArray[np.uint8]) -> Image | None:
        """Return the picture in what the camera delivers; None where it is damaged."""
        is_bgr = delivered.ndim == 3 and delivered.shape[2] == 3  # where OpenCV goes on to convert
        return delivered if self._decoder is None or is_bgr else self._decoder(delivered)


def _open(place: Path | int) -> cv2.VideoCapture:
    if isinstance(place, Path):
        capture = cv2.VideoCapture(utf8(str(place)), cv2.CAP_V4L2)
        refused = "a device that is busy, not permitted or no camera" if place.exists() else "no such device"
    else:
        capture = cv2.VideoCapture(place, _NUMBERED[sys.platform])
        refused = "none, or one that is busy, or that the system's settings do not permit"
    if not capture.isOpened():
        raise SourceError(expected=f"a camera at {place}", received=refused, remedy="list cameras with: metfa doctor")
    return capture


def _decode_yuyv(delivered: NDArray[np.uint8]) -> CodedImage:
    """Return a picture that is delivered as uint8 [H, W, 2]: luma, and each colour for every second pixel."""

    def decode_colours() -> NDArray[np.uint8]:
        return np.asarray(cv2.cvtColor(delivered, cv2.COLOR_YUV2BGR_YUYV), np.uint8)

    return CodedImage(np.asarray(cv2.extractChannel(delivered, 0), np.uint8), decode_colours, is_limited=True)


_DECODERS: dict[str, Callable[[NDArray[np.uint8]], CodedImage | None]] = {"MJPG": decode_jpeg, "YUYV": _decode_yuyv}
"""Of what cameras deliver. OpenCV would make BGR of it, whether or not somebody looks at the colours."""
