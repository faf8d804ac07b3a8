"""Whole streams: each with its loop in a thread of its own, a thread for each sink, and the main thread for signals."""

from __future__ import annotations

import math
import threading
import time
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, NamedTuple

from ..errors import BackendError
from ..sinks import Feeds, WindowSink
from .loop import stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ..command import Interruption
    from ..sinks import Sink
    from ..sources import Source
    from .loop import Deployment
    from .summary import StreamStatistics

_REFRESH_SECONDS = 1 / 30  # how often windows answer the user
_MAX_STEP_SECONDS = 0.8  # that a frame may take after a signal, before the end does not wait for it


class Stream(NamedTuple):
    """What is streamed: a source, what classifies it, and where what is decided goes.

    Attributes:
        source: open; it is not closed.
        classifier: image in, prediction out.
        sinks: taken one after another, and closed at the end. They may be opened as they are taken.
        statistics: told of every frame, event and miss.
        notify: told in a line what happened to a sink that is not required.
        failed: told, in the thread of the stream, the error that ended it.
    """

    source: Source
    classifier: Deployment
    sinks: Iterable[Sink]
    statistics: StreamStatistics
    notify: Callable[[str], object] = lambda line: None
    failed: Callable[[Exception], object] = lambda error: None


def run_streams(
    streams: Sequence[Stream], interruption: Interruption, *, limit: int | None = None, seconds: float = math.inf
) -> list[Exception | None]:
    """Classify and decide what each source shows, and give it to its sinks. For the main thread.

    A stream ends with its source, where a signal interrupts, where its window is closed, or after so many frames or
    seconds; its files are complete then. It does not matter to the others how it ends.

    Args:
        streams: side by side.
        interruption: entered by the caller.
        limit: frames of each after which it ends; None for no limit.
        seconds: after which all end.

    Returns:
        What ended each of them: a SourceError of a source that failed or ended before its time, a BackendError of the
        model, an OutputError of a required sink; None where it came to its end.

    Raises:
        BackendError: the model did not end within a second of a signal.
        MetfaError: what opening a sink raises; nothing has begun then.
    """
    with ExitStack() as stack:
        running = [_Running(each, interruption, stack) for each in streams]
        deadline = time.monotonic() + seconds
        for each in running:
            each.start(limit, deadline)
        give_up_at = math.inf
        while any([each.is_alive() for each in running]):  # noqa: C419  # each answers its window
            running[0].join(_REFRESH_SECONDS)
            if interruption.requested and give_up_at == math.inf:
                give_up_at = time.monotonic() + _MAX_STEP_SECONDS
            if time.monotonic() > give_up_at and not all(each.decided for each in running):
                raise BackendError(
                    expected="the model's answer to the last frame",
                    received=f"none for {_MAX_STEP_SECONDS:g} s",
                    remedy="look after the GPU; what was decided before is in the files",
                )
    return [each.error for each in running]


class _Running:
    """A stream in a thread of its own.

    Args:
        stream: its sinks are opened.
        interruption: what ends it.
        stack: closes the sinks and the window where the thread cannot.

    Attributes:
        error: what ended it, if something did.
        decided: whether no more frames are classified.
    """

    def __init__(self, stream: Stream, interruption: Interruption, stack: ExitStack) -> None:
        self.error: Exception | None = None
        self.decided = False
        self._stream = stream
        self._interruption = interruption
        self._window: WindowSink | None = None
        self._feeds = Feeds(
            live=stream.source.live,
            missed=stream.statistics.add_sink_drop,
            notify=stream.notify,
            shutdown_requested=lambda: interruption.requested,
        )
        # A daemon: where a model never answers, the process must end all the same.
        self._thread = threading.Thread(target=self._run, name="metfa classification", daemon=True)
        stack.callback(self._close)
        for sink in stream.sinks:
            self._feeds.add(sink)
            self._window = sink if isinstance(sink, WindowSink) else self._window

    def start(self, limit: int | None, deadline: float) -> None:
        """Begin; end after ``limit`` frames, or at ``deadline`` on the monotonic clock."""
        self._limit, self._deadline = limit, deadline
        self._thread.start()

    def is_alive(self) -> bool:
        """Let the window answer the user, and return whether the stream goes on, or its files are being written."""
        if self._thread.is_alive():
            if self._window is not None:
                self._window.refresh()
            return True
        if self._window is not None:
            self._window.destroy()
        return False

    def join(self, seconds: float) -> None:
        """Wait for the end, for so long at most."""
        self._thread.join(seconds)

    def _run(self) -> None:
        try:
            with self._feeds:
                try:
                    self._classify()
                finally:
                    self.decided = True
        except Exception as error:
            self.error = error
            self._stream.failed(error)

    def _classify(self) -> None:
        source, classifier, statistics = self._stream.source, self._stream.classifier, self._stream.statistics
        with closing(stream(source, classifier, stop=self._must_end)) as items:
            for item in items:
                statistics.add(item)
                self._feeds.put(item)

    def _must_end(self) -> bool:
        return (
            self._interruption.requested
            or self._feeds.failed
            or time.monotonic() > self._deadline
            or self._stream.statistics.frames == self._limit
            or (self._window is not None and self._window.was_closed)
        )

    def _close(self) -> None:
        """Close the sinks and the window, unless the thread has."""
        if self._window is not None:
            self._window.destroy()
        has_ended = self._thread.ident is not None and not self._thread.is_alive()
        if not has_ended:
            self._feeds.close()
