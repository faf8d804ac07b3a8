"""A live source that is not there yet when its stream begins."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ..errors import SourceError
from .base import Notify, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..frame import Frame

_MIN_BACK_OFF, _MAX_BACK_OFF = 0.5, 8.0  # seconds between two attempts to open it
_USUAL_RATE = 30.0  # frames per second, until it tells its own


class LateSource(Source):
    """What is opened again and again, until it is there; then its frames.

    Args:
        open_source: opens it.
        notify: told in a line when it is there.
    """

    live = True

    def __init__(self, open_source: Callable[[], Source], notify: Notify) -> None:
        self.rate, self.description = _USUAL_RATE, "not there at the start"
        self._open, self._notify = open_source, notify
        self._source: Source | None = None
        self._changing = threading.Lock()  # of the one above, and of whether it may still be opened
        self._closed = threading.Event()

    @property
    def is_there(self) -> bool:
        """Whether it was ever opened."""
        return self._source is not None

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames from when it is there, until it is closed.

        Raises:
            SourceError: as the source raises it, once it was there.
        """
        back_off = _MIN_BACK_OFF
        while not self._closed.wait(back_off):
            try:
                source = self._open()
            except SourceError:
                back_off = min(2 * back_off, _MAX_BACK_OFF)
                continue
            with self._changing:
                self._source = source
            if self._closed.is_set():  # meanwhile
                self.close()
                return
            self.rate, self.description = source.rate, source.description
            self._notify(source.description)
            yield from source
            return

    def close(self) -> None:
        """Let go of it, or do not open it any more."""
        self._closed.set()
        with self._changing:
            if self._source is not None:
                self._source.close()
