"""A recording at the pace at which it was recorded."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import SourceError
from .base import Source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..frame import Frame


class PacedSource(Source):
    """Every frame of a recording, none before its time. Where they are taken too slowly, none is left out.

    Args:
        source: the recording, open; it is not closed with this.

    Raises:
        SourceError: the source is live, and has a pace of its own.
    """

    live = False

    def __init__(self, source: Source) -> None:
        if source.live:
            raise SourceError(
                expected="a recording or images for --realtime",
                received=f"{source.description}, which is live",
                remedy="leave out --realtime: a live source has its own pace",
            )
        self.continuous = source.continuous
        self.rate = source.rate
        self.description = f"{source.description}, in real time"
        self._source = source
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[Frame]:
        """Yield each frame when it is due, counted from the first."""
        begin: float | None = None
        for frame in self._source:
            due = self._source.seconds_of(frame)
            if begin is None:
                begin = time.monotonic() - due
            if self._closed.wait(max(0.0, begin + due - time.monotonic())):
                return
            yield replace(frame, captured_at=time.monotonic())

    def seconds_of(self, frame: Frame) -> float:
        """Return when a frame is shown, in seconds since the first."""
        return self._source.seconds_of(frame)

    def close(self) -> None:
        """Wait for no more frames."""
        self._closed.set()
