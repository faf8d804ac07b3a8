"""A thread for each sink, so that none of them delays the stream, or another."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ..errors import MetfaError, OutputError
from ..frame import Frame, Observation, PlaneEvent

if TYPE_CHECKING:
    from collections.abc import Callable

    from .base import Kind, Sink

_CAPACITY: dict[Kind, int] = {"view": 1, "pictures": 30, "records": 10_000}
"""How many observations may wait for a sink: of pictures a second, of records (a few kB each) minutes."""

_MAX_EVENTS = 30
"""How many events, each with a picture, may wait beside them."""

_POLL_SECONDS = 0.05
_NO_PICTURE = np.zeros((0, 0), np.uint8)
_Feeds = TypeVar("_Feeds", bound="Feeds")


class Feeds:
    """Hands every observation and event to sinks that each write in a thread of their own; closes them in the end.

    What happens where a sink is slow or fails is told in :class:`~metfa.runtime.sinks.base.Sink`. Where the source
    is not live, only views miss anything: the stream waits for the others instead.

    Args:
        live: whether the source is live.
        missed: told the name of a sink for each observation that it misses.
        notify: told in a line that a sink failed that is not required.
        shutdown_requested: asked while a file is slow whether to end within a second, even if it loses what
            it has not written.
    """

    def __init__(
        self,
        *,
        live: bool,
        missed: Callable[[str], object] = lambda _: None,
        notify: Callable[[str], object] = lambda _: None,
        shutdown_requested: Callable[[], bool] = lambda: False,
    ) -> None:
        self._live = live
        self._missed = missed
        self._notify = notify
        self._shutdown_requested = shutdown_requested
        self._feeds: list[_Feed] = []

    def add(self, sink: Sink) -> None:
        """Start to feed one more sink; it is closed with the others."""
        self._feeds.append(_Feed(sink, self._live, self._missed, self._notify))

    def put(self, item: Observation | PlaneEvent) -> None:
        """Hand over one observation or event. Does not wait for views, nor where the source is live."""
        for feed in self._feeds:
            feed.put(item, self._shutdown_requested)

    @property
    def failed(self) -> bool:
        """Whether the stream must end because of a required sink."""
        return any(feed.error is not None for feed in self._feeds)

    def close(self) -> None:
        """Let the sinks write what they were given, and close them all, side by side.

        Raises:
            OutputError: a required sink failed, or was not ready in time where a shutdown was requested.
        """
        for feed in self._feeds:
            feed.finish()
        for feed in self._feeds:
            feed.join(self._shutdown_requested)
        errors = [feed.error for feed in self._feeds if feed.error is not None]
        for error in errors[1:]:
            self._notify(str(error))
        if errors:
            raise errors[0]

    def __enter__(self: _Feeds) -> _Feeds:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Feed:
    """The thread of one sink, and what waits for it.

    Attributes:
        error: why the stream must end, where it must.
    """

    _SHUTDOWN_SECONDS = 1.0

    def __init__(
        self, sink: Sink, live: bool, missed: Callable[[str], object], notify: Callable[[str], object]
    ) -> None:
        self.error: MetfaError | None = None
        self._sink = sink
        self._drops = live or sink.kind == "view"
        self._missed = missed
        self._notify = notify
        self._waiting: deque[Observation | PlaneEvent] = deque()
        self._capacity = _CAPACITY[sink.kind]
        self._finished = False  # nothing will be put any more
        self._broken = False  # nothing is written any more
        self._changed = threading.Condition()
        # A daemon: where a disk or a display never answers, the process must end all the same.
        self._thread = threading.Thread(target=self._run, name=f"metfa {sink.name}", daemon=True)
        self._thread.start()

    def put(self, item: Observation | PlaneEvent, shutdown_requested: Callable[[], bool]) -> None:
        """Let ``item`` wait; where nothing may be missed, wait for room until a shutdown is requested."""
        if self._sink.kind == "records":
            item = _without_pictures(item)
        with self._changed:
            while not (self._drops or self._broken or len(self._waiting) < self._capacity or shutdown_requested()):
                self._changed.wait(_POLL_SECONDS)
            if self._broken or (self._drops and not self._has_room(item)):
                return
            self._waiting.append(item)
            self._changed.notify_all()

    def _has_room(self, item: Observation | PlaneEvent) -> bool:
        """Make room for ``item`` at the cost of the oldest of its kind; return False where that ends the stream."""
        kind = self._sink.kind
        if kind == "records":
            if len(self._waiting) >= self._capacity:
                self._fail(self._too_slow(f"{self._capacity} records behind the stream"))
            return not self._broken
        alike = [place for place, other in enumerate(self._waiting) if type(other) is type(item)]
        is_event = isinstance(item, PlaneEvent)
        if len(alike) < (_MAX_EVENTS if is_event else self._capacity):
            return True
        if kind == "pictures":
            if is_event:
                self._fail(self._too_slow(f"{_MAX_EVENTS} events behind the stream"))
                return False
            self._missed(self._sink.name)
        del self._waiting[alike[0]]
        return True

    def finish(self) -> None:
        """Let the thread end when everything is written."""
        with self._changed:
            self._finished = True
            self._changed.notify_all()

    def join(self, shutdown_requested: Callable[[], bool]) -> None:
        """Wait until the sink is closed."""
        shutdown_since: float | None = None
        while self._thread.is_alive():
            if shutdown_since is None and (shutdown_requested() or self._sink.kind == "view"):
                shutdown_since = time.monotonic()
            if shutdown_since is not None and time.monotonic() > shutdown_since + self._SHUTDOWN_SECONDS:
                with self._changed:
                    if self._waiting:
                        self._fail(self._too_slow(f"an end before the last {len(self._waiting)} observations"))
                    elif self._sink.required:
                        self._fail(self._too_slow("an end before it was complete"))
                return
            self._thread.join(_POLL_SECONDS)

    def _run(self) -> None:
        try:
            while (item := self._take()) is not None:
                if isinstance(item, PlaneEvent):
                    self._sink.write_event(item)
                else:
                    self._sink.write(item)
        except Exception as error:
            self._report(error)
        try:
            self._sink.close()
        except Exception as error:
            self._report(error)

    def _take(self) -> Observation | PlaneEvent | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._finished or self._broken)
            if self._broken or not self._waiting:
                return None
            self._changed.notify_all()
            return self._waiting.popleft()

    def _report(self, error: Exception) -> None:
        if not isinstance(error, MetfaError):
            error = OutputError(
                expected=f"the {self._sink.name} to go on",
                received=f"{type(error).__name__}: {error}",
                remedy="report this as a bug",
            )
        with self._changed:
            self._fail(error)

    def _fail(self, error: MetfaError) -> None:
        if self._broken:
            return
        self._broken = True
        self._waiting.clear()
        self._changed.notify_all()
        if self._sink.required:
            self.error = error
        else:
            self._notify(f"{self._sink.name}: left out from here on: {error}")

    def _too_slow(self, received: str) -> OutputError:
        return OutputError(
            expected=f"the {self._sink.name} to be written as fast as the stream",
            received=received,
            remedy="write it to a faster disk, or leave it out",
        )


def _without_pictures(item: Observation | PlaneEvent) -> Observation | PlaneEvent:
    if isinstance(item, PlaneEvent):
        return replace(item, best=_without_picture(item.best))
    prediction = replace(item.prediction, picture=_NO_PICTURE)
    return replace(item, frame=_without_picture(item.frame), prediction=prediction)


def _without_picture(frame: Frame) -> Frame:
    return replace(frame, image=_NO_PICTURE)
