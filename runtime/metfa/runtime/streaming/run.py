"""A whole stream: the loop in a thread of its own, a thread for each sink, and the main thread free for signals."""

from __future__ import annotations

import math
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING

from ..errors import BackendError
from ..sinks import Feeds, WindowSink
from .loop import stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..command import Interruption
    from ..sinks import Sink
    from ..sources import Source
    from .loop import Classifier
    from .summary import StreamStatistics

_REFRESH_SECONDS = 1 / 30  # how often the window answers the user
_MAX_STEP_SECONDS = 0.8  # that a frame may take after a signal, before the end does not wait for it


def run_stream(
    source: Source,
    classifier: Classifier,
    sinks: Iterable[Sink],
    interruption: Interruption,
    *,
    statistics: StreamStatistics,
    limit: int | None = None,
    seconds: float = math.inf,
    notify: Callable[[str], object] = lambda line: None,
) -> None:
    """Classify and decide what ``source`` shows, and give it to every sink. For the main thread.

    Ends with the source, where a signal interrupts, where a window is closed, or after so many frames or seconds. All
    files are complete then.

    Args:
        source: open; it is not closed.
        classifier: image in, prediction out.
        sinks: taken one after another, and closed at the end. They may be opened as they are taken.
        interruption: entered by the caller.
        statistics: told of every frame, event and miss.
        limit: frames after which to end; None for no limit.
        seconds: after which to end.
        notify: told in a line what happened to a sink that is not required.

    Raises:
        SourceError: the source failed or ended before its time.
        BackendError: the model failed, or did not end within a second of a signal.
        OutputError: a required sink failed.
    """
    feeds = Feeds(
        live=source.live,
        missed=statistics.add_sink_drop,
        notify=notify,
        shutdown_requested=lambda: interruption.requested,
    )
    with feeds:
        window: WindowSink | None = None
        try:
            for sink in sinks:
                feeds.add(sink)
                window = sink if isinstance(sink, WindowSink) else window
            deadline = time.monotonic() + seconds

            def stop() -> bool:
                return (
                    interruption.requested
                    or feeds.failed
                    or time.monotonic() > deadline
                    or statistics.frames == limit
                    or (window is not None and window.was_closed)
                )

            def classify() -> None:
                with closing(stream(source, classifier, stop=stop)) as items:
                    for item in items:
                        statistics.add(item)
                        feeds.put(item)

            _run_aside(classify, interruption, refresh=window.refresh if window is not None else lambda: None)
        finally:
            if window is not None:
                window.destroy()


def _run_aside(work: Callable[[], None], interruption: Interruption, refresh: Callable[[], None]) -> None:
    """Run ``work`` in a thread, so that the main one can answer signals and the window; raise what it raises.

    Raises:
        BackendError: it did not end within a second of a signal, as only the model can be waited for.
    """
    errors: list[Exception] = []

    def run() -> None:
        try:
            work()
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="metfa classification", daemon=True)
    thread.start()
    give_up_at = math.inf
    while thread.is_alive():
        refresh()
        thread.join(_REFRESH_SECONDS)
        if interruption.requested and give_up_at == math.inf:
            give_up_at = time.monotonic() + _MAX_STEP_SECONDS
        if time.monotonic() > give_up_at:
            raise BackendError(
                expected="the model's answer to the last frame",
                received=f"none for {_MAX_STEP_SECONDS:g} s",
                remedy="look after the GPU; what was decided before is in the files",
            )
    if errors:
        raise errors[0]
