"""Network streams, and recordings that are reached over a network."""

from __future__ import annotations

import threading
import time
from queue import SimpleQueue
from typing import TYPE_CHECKING

from .live import LiveSource, LostError, connecting_to
from .opencv import without_credentials
from .video import Recording

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..imaging.coded import Image
    from .base import Notify, Source
    from .pyav import Video

LIVE_SCHEMES = ("rtmp", "rtp", "rtsp", "rtsps", "srt", "udp")
_OPEN_SECONDS, _READ_SECONDS = 5.0, 2.0
_SILENCE_SECONDS = 0.95 * _READ_SECONDS  # a read that takes longer has met its timeout
_SET_BACK_SECONDS = 1.0  # a sender whose clock goes back by more was started again


def open_url(url: str, notify: Notify) -> Source:
    """Open what a URL delivers: a recording, every frame of it, where its length is known, otherwise a live stream.

    Raises:
        SourceError: nothing that can be decoded is there.
    """
    from .pyav import open_stream  # decoders are loaded when there is something to decode

    name = without_credentials(url)
    opened: list[Video] = []

    def open_video() -> Video:
        return open_stream(url, name, _OPEN_SECONDS, _READ_SECONDS)

    if not url.startswith(tuple(f"{scheme}://" for scheme in LIVE_SCHEMES)):
        with connecting_to(name):
            opened.append(_in_thread(open_video))
        if opened[0].duration is not None:
            return Recording(name, opened[0], f"recording {name}")

    return LiveSource(name, lambda: _Stream(opened.pop() if opened else open_video(), f"live stream {name}"), notify)


class _Stream:
    """A live stream; see :class:`~metfa.runtime.sources.live.Connection`."""

    def __init__(self, video: Video, description: str) -> None:
        self.rate = video.rate
        self.description = f"{description}, {video.description}"
        self._video = video
        self._pictures = iter(video)
        self._time = 0.0

    def read(self) -> Image:
        """Wait for the next picture.

        Raises:
            LostError: the stream ended, fell silent or was started again.
        """
        asked_at = time.monotonic()
        picture = next(self._pictures, None)
        # What was held back comes out when FFmpeg gives up waiting: a picture of the past.
        if time.monotonic() - asked_at > _SILENCE_SECONDS:
            raise LostError(f"nothing came for {_READ_SECONDS:g} s")
        if picture is None:
            raise LostError(self._video.fault or "it delivers nothing any more")
        last, self._time = self._time, self._time if picture.time is None else picture.time
        if self._time < last - _SET_BACK_SECONDS:
            raise LostError(f"its clock went back from {last:.1f} s to {self._time:.1f} s")
        return picture.image

    def close(self) -> None:
        """Close the connection."""
        self._pictures.close()
        self._video.close()


def _in_thread(call: Callable[[], Video]) -> Video:
    """Return what ``call`` does, and let Ctrl-C and SIGTERM through while it waits for the network."""
    answers: SimpleQueue[Video | Exception] = SimpleQueue()

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
