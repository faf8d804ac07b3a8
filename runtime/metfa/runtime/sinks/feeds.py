"""A thread for each sink, so that none of them delays the stream, or another."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ..errors import MetfaError, OutputError
from ..frame import Observation, PlaneEvent
from ..handoff import Handoff, Limit

if TYPE_CHECKING:
    from collections.abc import Callable

    from .base import Kind, Sink

_Item = Observation | PlaneEvent

_LIVE: dict[Kind, dict[type[_Item], Limit]] = {
    "view": {Observation: Limit(1, "replace"), PlaneEvent: Limit(30, "replace")},
    "pictures": {Observation: Limit(30, "replace"), PlaneEvent: Limit(30, "refuse")},
    "inputs": {Observation: Limit(30, "replace"), PlaneEvent: Limit(30, "refuse")},
    "records": {Observation: Limit(10_000, "refuse"), PlaneEvent: Limit(10_000, "refuse")},
}
"""What may wait for a sink: of pictures a second, and 30 events, each with its own; of records, a few kB each, minutes.
"""

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

    def put(self, item: _Item) -> None:
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
        self._limits = _LIVE[sink.kind]
        if not (live or sink.kind == "view"):
            self._limits = {kind: limit._replace(when_full="wait") for kind, limit in self._limits.items()}
        self._missed = missed
        self._notify = notify
        self._handoff: Handoff[_Item] = Handoff()
        self._broken = False  # nothing is written any more
        self._failing = threading.Lock()
        # A daemon: where a disk or a display never answers, the process must end all the same.
        self._thread = threading.Thread(target=self._run, name=f"metfa {sink.name}", daemon=True)
        self._thread.start()

    def put(self, item: _Item, shutdown_requested: Callable[[], bool]) -> None:
        """Let ``item`` wait; where nothing may be missed, wait for room until a shutdown is requested."""
        kind, limit = self._sink.kind, self._limits[type(item)]
        if kind in {"inputs", "records"}:
            item = _without_frame(item)
        if kind == "records" and isinstance(item, Observation):
            item = replace(item, prediction=replace(item.prediction, picture=_NO_PICTURE))
        outcome = self._handoff.put(item, limit, shutdown_requested)
        if outcome == "refused":
            self._fail(
                self._too_slow(f"{limit.capacity} {'records' if kind == 'records' else 'events'} behind the stream")
            )
        elif outcome == "replaced" and kind != "view":
            self._missed(self._sink.name)

    def finish(self) -> None:
        """Let the thread end when everything is written."""
        self._handoff.close()

    def join(self, shutdown_requested: Callable[[], bool]) -> None:
        """Wait until the sink is closed."""
        shutdown_since: float | None = None
        while self._thread.is_alive():
            if shutdown_since is None and (shutdown_requested() or self._sink.kind == "view"):
                shutdown_since = time.monotonic()
            if shutdown_since is not None and time.monotonic() > shutdown_since + self._SHUTDOWN_SECONDS:
                if waiting := len(self._handoff):
                    self._fail(self._too_slow(f"an end before the last {waiting} observations"))
                elif self._sink.required:
                    self._fail(self._too_slow("an end before it was complete"))
                return
            self._thread.join(_POLL_SECONDS)

    def _run(self) -> None:
        try:
            while (item := self._handoff.take()) is not None:
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

    def _report(self, error: Exception) -> None:
        if not isinstance(error, MetfaError):
            error = OutputError(
                expected=f"the {self._sink.name} to go on",
                received=f"{type(error).__name__}: {error}",
                remedy="report this as a bug",
            )
        self._fail(error)

    def _fail(self, error: MetfaError) -> None:
        with self._failing:
            if self._broken:
                return
            self._broken = True
        self._handoff.close(discard=True)
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


def _without_frame(item: _Item) -> _Item:
    if isinstance(item, PlaneEvent):
        return replace(item, best=replace(item.best, pixels=_NO_PICTURE))
    return replace(item, frame=replace(item.frame, pixels=_NO_PICTURE))
