"""Network streams, through OpenCV's FFmpeg."""

from __future__ import annotations

import threading
import time
from queue import SimpleQueue
from typing import TYPE_CHECKING

import cv2

from ..errors import SourceError
from ..files import utf8
from .live import LiveSource, LostError, connecting_to
from .opencv import OpenCVConnection, duration_of, without_credentials
from .video import Recording

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from .base import Notify, Source

_LIVE_SCHEMES = ("rtmp", "rtp", "rtsp", "rtsps", "srt", "udp")
_OPEN_TIMEOUT_MS, _READ_TIMEOUT_MS = 5000, 2000
_SILENCE_SECONDS = 0.95 * _READ_TIMEOUT_MS / 1000  # a read that takes longer has met its timeout
_SET_BACK_MS = 1000.0  # a sender whose clock goes back by more was started again


def open_url(url: str, notify: Notify) -> Source:
    """Open what a URL delivers: a recording, every frame of it, where its length is known, otherwise a live stream.

    Raises:
        SourceError: nothing that can be decoded is there.
    """
    name = without_credentials(url)
    opened: list[cv2.VideoCapture] = []
    if not url.startswith(tuple(f"{scheme}://" for scheme in _LIVE_SCHEMES)):
        with connecting_to(name):
            opened.append(_in_thread(lambda: _open(url)))
        if duration_of(opened[0]) > 0:
            return Recording(name, opened[0], f"recording {name}")

    def connect() -> _Stream:
        return _Stream(opened.pop() if opened else _open(url), f"live stream {name}")

    return LiveSource(name, connect, notify)


def _open(url: str) -> cv2.VideoCapture:
    # One thread: FFmpeg's decoders hold back a frame for each further one, half a second on sixteen cores.
    parameters = {
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC: _OPEN_TIMEOUT_MS,
        cv2.CAP_PROP_READ_TIMEOUT_MSEC: _READ_TIMEOUT_MS,
        cv2.CAP_PROP_N_THREADS: 1,
    }
    capture = cv2.VideoCapture(utf8(url), cv2.CAP_FFMPEG, [number for pair in parameters.items() for number in pair])
    if not capture.isOpened():
        raise SourceError(
            expected=f"a video stream at {without_credentials(url)}",
            received=f"none within {_OPEN_TIMEOUT_MS / 1000:g} s",
            remedy="check the address and the network, or try it with ffplay",
        )
    return capture


class _Stream(OpenCVConnection):
    """Ends where its clock is set back: what another sender sends would be scaled to the size of the first."""

    _position = 0.0

    def read(self) -> NDArray[np.uint8]:
        """Wait for the next picture.

        Raises:
            LostError: the stream ended, fell silent or was started again.
        """
        asked_at = time.monotonic()
        image = super().read()
        # What a decoder held back comes out when it gives up waiting: a picture of the past.
        if time.monotonic() - asked_at > _SILENCE_SECONDS:
            raise LostError(f"nothing came for {_READ_TIMEOUT_MS / 1000:g} s")
        last, self._position = self._position, self._capture.get(cv2.CAP_PROP_POS_MSEC)
        if self._position < last - _SET_BACK_MS:
            raise LostError(f"its clock went back from {last / 1000:.1f} s to {self._position / 1000:.1f} s")
        return image


def _in_thread(call: Callable[[], cv2.VideoCapture]) -> cv2.VideoCapture:
    """Return what ``call`` does, and let Ctrl-C and SIGTERM through while it waits in OpenCV."""
    answers: SimpleQueue[cv2.VideoCapture | Exception] = SimpleQueue()

    def answer() -> None:
        try:
            answers.put(call())
        except Exception as error:  # whatever it is, somebody waits
            answers.put(error)

    threading.Thread(target=answer, name="metfa opening", daemon=True).start()
    result = answers.get()
    if isinstance(result, Exception):
        raise result
    return result
