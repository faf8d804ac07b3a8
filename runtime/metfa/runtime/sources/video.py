"""Videos, cameras and network streams, through OpenCV."""

from __future__ import annotations

import re
import threading
import time
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ..errors import SourceError
from ..files import reading, utf8, utf8_name
from ..frame import Frame
from .base import Source

if TYPE_CHECKING:
    from collections.abc import Iterator

_CAMERA_FORMAT = "MJPG"  # uncompressed 720p does not fit through USB 2 at 30 frames/s
_CAMERA_WIDTH, _CAMERA_HEIGHT, _CAMERA_RATE = 1280, 720, 30
_NETWORK_TIMEOUT_MS = 5000
_DEFAULT_RATE = 30.0  # where the source does not tell


class _Capture(Source):
    """Frames from a ``cv2.VideoCapture``.

    Args:
        name: ``source`` of the frames.
        capture: what OpenCV opened.
        live: whether it is live.
    """

    def __init__(self, name: str, capture: cv2.VideoCapture, *, live: bool) -> None:
        self.live = live
        self._name = name
        self._capture = capture
        self._in_use = threading.Lock()
        rate = capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate if 0 < rate < 1000 else _DEFAULT_RATE
        self._size = (
            f"{capture.get(cv2.CAP_PROP_FRAME_WIDTH):.0f}x{capture.get(cv2.CAP_PROP_FRAME_HEIGHT):.0f} pixels, "
            f"{self.rate:.4g} frames/s"
        )

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames until the source ends."""
        position = 0.0  # of the last frame, in ms
        for index in count():
            with self._in_use:
                received, image = self._capture.read()
                captured_at = time.monotonic()
                if not received:
                    break
                position = self._capture.get(cv2.CAP_PROP_POS_MSEC)
            yield Frame(np.asarray(image, np.uint8), index, captured_at, self._name)
        if self.live:
            raise SourceError(
                expected=f"the next frame from {self._name}",
                received="none: the source was lost",
                remedy="check the connection and start again",
            )
        if index == 0:
            raise SourceError(
                expected=f"frames in {self._name}",
                received="none that can be decoded",
                remedy="record or copy it again",
            )
        seconds, duration = (position + 1000 / self.rate) / 1000, _duration(self._capture)
        if seconds < 0.9 * duration:  # what containers say of their length is often a little off
            raise SourceError(
                expected=f"{duration:.1f} s of video in {self._name}",
                received=f"a file that ends after {seconds:.1f} s ({index} frames)",
                remedy="copy it again; the frames up to there were processed",
            )

    def close(self) -> None:
        """Let go of the device, unless another thread still waits for it: then the end of the process does."""
        if self._in_use.acquire(timeout=0.2):
            self._capture.release()
            self._in_use.release()


class VideoFile(_Capture):
    """A video file, every frame of it.

    Raises:
        SourceError: the file cannot be read or is no video.
    """

    def __init__(self, path: Path) -> None:
        with reading(path), path.open("rb") as file:
            is_empty = not file.read(1)
        if is_empty:
            raise _no_video(path, "an empty file")
        with utf8_name(path) as name:
            capture = cv2.VideoCapture(name, cv2.CAP_FFMPEG)
        if not capture.isOpened():
            raise _no_video(path, "a file that is truncated or no video")
        super().__init__(str(path), capture, live=False)
        self.description = f"video {path}, {self._size}"


class NetworkStream(_Capture):
    """What a URL delivers: a recording, every frame of it, where its length is known, otherwise live.

    Raises:
        SourceError: nothing that can be decoded is there.
    """

    def __init__(self, url: str) -> None:
        name = _without_credentials(url)
        timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC]
        capture = cv2.VideoCapture(
            utf8(url), cv2.CAP_FFMPEG, [value for timeout in timeouts for value in (timeout, _NETWORK_TIMEOUT_MS)]
        )
        if not capture.isOpened():
            raise SourceError(
                expected=f"a video stream at {name}",
                received=f"none within {_NETWORK_TIMEOUT_MS / 1000:g} s",
                remedy="check the address and the network, or try it with ffplay",
            )
        live = _duration(capture) <= 0
        super().__init__(name, capture, live=live)
        self.description = f"{'live stream' if live else 'recording'} {name}, {self._size}"


class Camera(_Capture):
    """A V4L2 camera.

    Args:
        device: number or path.

    Raises:
        SourceError: there is no such camera, or it cannot be opened.
    """

    def __init__(self, device: str) -> None:
        path = Path(f"/dev/video{device}" if device.isdecimal() else device)
        capture = cv2.VideoCapture(utf8(str(path)), cv2.CAP_V4L2)
        if not capture.isOpened():
            raise SourceError(
                expected=f"a camera at {path}",
                received="a device that is busy, not permitted or no camera" if path.exists() else "no such device",
                remedy="list cameras with: ls /dev/video*",
            )
        # The format comes first: changing it later would reset size and rate. One buffer: the newest frame only.
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*_CAMERA_FORMAT))
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, _CAMERA_WIDTH)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, _CAMERA_HEIGHT)
        capture.set(cv2.CAP_PROP_FPS, _CAMERA_RATE)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        super().__init__(str(path), capture, live=True)
        negotiated = int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little").decode("ascii", "replace")
        self.description = (
            f"camera {path}, {self._size}, {negotiated} "
            f"(asked for {_CAMERA_WIDTH}x{_CAMERA_HEIGHT}, {_CAMERA_RATE}, {_CAMERA_FORMAT})"
        )


def _duration(capture: cv2.VideoCapture) -> float:
    """Return the seconds that a video should last, 0 or less where it is not known."""
    rate = capture.get(cv2.CAP_PROP_FPS)
    return capture.get(cv2.CAP_PROP_FRAME_COUNT) / rate if rate > 0 else 0.0


def _without_credentials(url: str) -> str:
    """Return ``url`` without user and password, which must not end up in files and on screens."""
    return re.sub("//[^/]*@", "//", url)


def _no_video(path: Path, received: str) -> SourceError:
    return SourceError(expected=f"a video in {path}", received=received, remedy="record or copy it again")
