"""Live sources that survive: read in a thread that can be abandoned, watched, connected again when they are lost."""

from __future__ import annotations

import ctypes
import gc
import math
import platform
import threading
import time
from contextlib import contextmanager
from itertools import count
from queue import Empty
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ..errors import MetfaError, SourceError
from ..frame import Frame
from ..handoff import Handoff, Limit
from .base import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..imaging.coded import Image
    from .base import Notify

_NEWEST = Limit(1, "replace")
_STALL_SECONDS = 2.5  # without a frame, after which a source is lost
_STALL_FRAMES = 3  # or the time of so many, where it is slow
_OPEN_SECONDS = 10.0  # that connecting may take; OpenCV's own limits are shorter, where it has any
_CLOSE_SECONDS = 0.2  # that closing waits for a read to come back
_MIN_BACK_OFF, _MAX_BACK_OFF = 0.25, 1.0  # seconds between two attempts to connect
_MAX_BACK_OFF_WHILE_HUNG = 60.0  # the same, where the last attempt still hangs in the driver
_TIDY_SECONDS = 2.0  # after a new connection: by then nothing of the last one is in use


class LostError(Exception):
    """A connection is lost; the message says why, in words that fit behind a colon."""


class Connection(Protocol):
    """What a live source reads from until it is lost.

    Attributes:
        rate: frames per second, nominally; > 0.
        description: what was opened, with the format that was negotiated.
    """

    rate: float
    description: str

    def read(self) -> Image:
        """Wait for the next picture.

        Raises:
            LostError: there will be none.
        """

    def close(self) -> None:
        """Let go of it."""


class LiveSource(Source):
    """Frames of a camera or a network, connected again, for ever, when it is lost.

    It is lost where reading says so, or where no frame comes for 2.5 s (or three frames' time). What a driver still
    holds back is then left alone: its thread lets go of it when it comes back. Frames of the next connection
    have the next ``session``; so have frames of another size. No frame is made up in between.

    Args:
        name: ``source`` of the frames.
        connect: opens the source; called in other threads.
        notify: told in a line when the source is lost, and when it is back.

    Raises:
        SourceError: the first attempt to connect fails.
    """

    live = True

    def __init__(self, name: str, connect: Callable[[], Connection], notify: Notify) -> None:
        self._name = name
        self._connect = connect
        self._notify = notify
        self._closed = threading.Event()
        self._reader = _Reader(connect)
        try:
            with connecting_to(name):
                connection = self._reader.opened(_OPEN_SECONDS)
        except BaseException:  # Ctrl-C, too
            self._reader.abandon()
            raise
        if connection is None:
            self._reader.abandon()
            raise _no_answer(name, f"none within {_OPEN_SECONDS:g} s")
        self.rate = connection.rate
        self.description = connection.description

    def __iter__(self) -> Iterator[Frame]:
        """Yield the newest frame whenever one is asked for, until the source is closed."""
        patience = max(_STALL_SECONDS, _STALL_FRAMES / self.rate)
        session = losses = first_index = next_index = 0
        shape: tuple[int, ...] | None = None
        tidy_at = math.inf
        while not self._closed.is_set():
            picture = self._reader.take(patience)
            if picture is None:
                if not self._reconnect(self._reader.loss or f"no frame for {patience:.2g} s"):
                    return
                session += 1
                losses += 1
                first_index, shape = next_index, None
                tidy_at = time.monotonic() + _TIDY_SECONDS
                continue
            if picture.captured_at > tidy_at:
                _return_free_memory()
                tidy_at = math.inf
            if shape is not None and picture.image.shape != shape:
                session += 1
                self._notify(f"the size changed from {_size(shape)} to {_size(picture.image.shape)} pixels")
            shape = picture.image.shape
            next_index = first_index + picture.number + 1
            yield Frame(picture.image, next_index - 1, picture.captured_at, self._name, session, losses)

    def close(self) -> None:
        """Let go of the source, or leave it to the thread that still waits for it."""
        self._closed.set()
        self._reader.abandon()
        self._reader.join(_CLOSE_SECONDS)

    def _reconnect(self, loss: str) -> bool:
        """Connect again, however often it takes; return whether frames come, False where the source was closed."""
        if self._closed.is_set():
            return False
        lost_at = time.monotonic()
        self._notify(f"lost: {loss}; reconnecting")
        self._reader.abandon()
        back_off, respite, not_before = _MIN_BACK_OFF, _MAX_BACK_OFF, lost_at
        while not self._closed.wait(back_off):
            if self._reader.hangs and time.monotonic() < not_before:
                continue  # every attempt would leave one more thread in the driver
            self._reader = _Reader(self._connect)
            if self._closed.is_set():  # meanwhile, and only the reader before it was told
                self._reader.abandon()
            if self._reader.has_picture(_OPEN_SECONDS):
                self._notify(f"back after {time.monotonic() - lost_at:.1f} s")
                return True
            self._reader.abandon()
            back_off = min(2 * back_off, _MAX_BACK_OFF)
            respite = min(2 * respite, _MAX_BACK_OFF_WHILE_HUNG) if self._reader.hangs else _MAX_BACK_OFF
            not_before = time.monotonic() + respite
        return False


class _Picture(NamedTuple):
    image: Image
    number: int  # in its connection, from 0
    captured_at: float


class _Reader:
    """Connects and reads in a thread of its own, and keeps the newest picture.

    The thread is a daemon: where a driver never comes back, the process must end all the same.

    Attributes:
        loss: why no more pictures will come, once that is so.
    """

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self.loss: str | None = None
        self._connect = connect
        self._connected: Handoff[Connection] = Handoff()
        self._pictures: Handoff[_Picture] = Handoff()
        self._thread = threading.Thread(target=self._run, name="metfa reader", daemon=True)
        self._thread.start()

    def opened(self, timeout: float) -> Connection | None:
        """Wait for the connection, and return it; None where it takes longer than ``timeout`` seconds.

        Raises:
            Exception: what connecting failed with.
        """
        try:
            return self._connected.take(timeout)
        except Empty:
            return None

    def has_picture(self, timeout: float) -> bool:
        """Wait for the first picture; return False where none comes within ``timeout`` seconds, or will ever come."""
        self._pictures.wait(timeout)
        return len(self._pictures) > 0

    def take(self, timeout: float) -> _Picture | None:
        """Wait for a picture that was not taken yet; return None where none comes within ``timeout`` seconds."""
        try:
            return self._pictures.take(timeout)
        except Empty:
            return None

    def abandon(self) -> None:
        """Want nothing more: wake who waits, and let the thread close the connection as soon as it can."""
        self._connected.close()
        self._pictures.close(discard=True)

    def join(self, timeout: float) -> None:
        """Wait until the thread has closed the connection, for at most ``timeout`` seconds."""
        self._thread.join(timeout)

    @property
    def hangs(self) -> bool:
        """Whether the thread is still connecting, or reading."""
        return self.loss is None

    def _run(self) -> None:
        self.loss = self._connect_and_read()
        self._pictures.close()

    def _connect_and_read(self) -> str:
        """Put pictures until there are no more; return why, of nobody's interest where the connection was abandoned."""
        try:
            connection = self._connect()
            try:
                self._connected.put(connection, _NEWEST)
                self._read(connection)
            finally:
                connection.close()
        except Exception as error:  # whatever it is, the stream goes on, or says it where it cannot begin
            self._connected.close(error)
            return _in_words(error)
        return ""

    def _read(self, connection: Connection) -> None:
        for number in count():
            if self._pictures.closed:  # perhaps before it was connected
                return
            image = connection.read()
            self._pictures.put(_Picture(image, number, time.monotonic()), _NEWEST)


def _return_free_memory() -> None:
    """Give the system what the last connection had, a decoder's 20 MB: it would stay beside what the next one took."""
    gc.collect()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


@contextmanager
def connecting_to(name: str) -> Iterator[None]:
    """Turn whatever a library raises while it connects to ``name`` into a :class:`SourceError`."""
    try:
        yield
    except MetfaError:
        raise
    except Exception as cause:
        raise _no_answer(name, _in_words(cause)) from None


def _no_answer(name: str, received: str) -> SourceError:
    return SourceError(
        expected=f"an answer of {name}", received=received, remedy="check the camera or the network, and the driver"
    )


def _in_words(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"
