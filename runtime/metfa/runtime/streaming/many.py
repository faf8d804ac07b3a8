"""Several sources through one model."""

from __future__ import annotations

import threading
from contextlib import closing
from queue import SimpleQueue
from typing import TYPE_CHECKING

from .loop import stream

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from ..classifier import PlaneClassifier
    from ..frame import Observation, PlaneEvent
    from ..sources import Source
    from .exchange import ExchangeableClassifier
    from .loop import Deployment

_JOIN_SECONDS = 0.5  # how long to wait for a thread that may be blocked in the model


def stream_many(
    sources: Mapping[str, Source],
    classifier: PlaneClassifier | ExchangeableClassifier,
    *,
    stop: Callable[[], bool] = lambda: False,
) -> Generator[tuple[str, Observation | PlaneEvent | Exception], None, None]:
    """Classify the frames of several sources side by side, and decide for each on its own what it shows.

    Frames of several that wait for the model together are inferred as one batch. Each source is streamed as
    :func:`~metfa.runtime.streaming.loop.stream` does: of a live one only the newest frame is kept while the caller is
    busy. A source that fails disturbs no other.

    Args:
        sources: open, by the names that are yielded; each is iterated over in another thread, and not closed.
        classifier: its model is used, and its contract.
        stop: asked before each frame, and ten times a second while none comes, whether to end; by several threads.

    Yields:
        The name of a source with what :func:`~metfa.runtime.streaming.loop.stream` yields of it, as it comes; or with
        the error that has ended it, which is the last that comes of it.
    """
    ended = threading.Event()
    items: SimpleQueue[tuple[str, Observation | PlaneEvent | Exception | None]] = SimpleQueue()
    handled = {name: threading.Semaphore(0) for name in sources}

    def run(name: str, source: Source, own: Deployment) -> None:
        last: Exception | None = None
        try:
            with closing(stream(source, own, stop=lambda: ended.is_set() or stop())) as of_source:
                for item in of_source:
                    items.put((name, item))
                    handled[name].acquire()  # before the next frame is taken, or that would age while it waits
                    if ended.is_set():
                        return
        except Exception as error:
            last = error
        items.put((name, last))

    threads = [
        threading.Thread(target=run, args=(name, source, own), name=f"metfa classification of {name}", daemon=True)
        for (name, source), own in zip(sources.items(), classifier.shared(len(sources)), strict=True)
    ]
    for thread in threads:
        thread.start()
    going = len(threads)
    try:
        while going:
            name, item = items.get()
            if item is None or isinstance(item, Exception):
                going -= 1
            if item is not None:
                yield name, item
                handled[name].release()
    finally:
        ended.set()
        for semaphore in handled.values():
            semaphore.release()
        for thread in threads:
            thread.join(_JOIN_SECONDS)
