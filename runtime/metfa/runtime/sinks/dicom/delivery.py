"""Delivers what waits in a queue, in a thread of its own, whenever the peer takes it."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from .store import RefusedError, connected

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ...application_entity import ApplicationEntity
    from .queue import Queue

_MIN_PAUSE, _MAX_PAUSE = 1.0, 30.0  # seconds between two attempts
_END_SECONDS = 0.8  # within which the end of a stream is told what is left


class Delivery:
    """Gives the files of a queue to a peer until it is closed.

    Args:
        queue: what waits.
        peer: who gets it.
        calling: the title of the one who sends.
        say: told in a line when the peer is away, when it is back, what it refuses, and what is left at the end.
    """

    def __init__(self, queue: Queue, peer: ApplicationEntity, calling: str, say: Callable[[str], object]) -> None:
        self._queue = queue
        self._peer = peer
        self._calling = calling
        self._say = say
        self._reason: str | None = None  # why it is away, where it is
        self._refusals: set[str] = set()  # those that were told
        self._changed = threading.Event()
        self._closing = False
        # A daemon: where a peer never answers, the process must end all the same.
        self._thread = threading.Thread(target=self._run, name="metfa DICOM", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Let it be delivered at once that something new waits."""
        self._changed.set()

    def close(self) -> None:
        """Deliver what waits as long as the peer takes it, and tell what is left; may be called twice."""
        if self._closing:
            return
        self._closing = True
        self._changed.set()
        self._thread.join(_END_SECONDS)
        if self._thread.is_alive():
            left = len(self._queue.waiting())
            self._say(f"objects that go to {self._peer} yet: {left}; Ctrl-C leaves them in {self._queue.directory}")
            self._thread.join()
        if left := len(self._queue.waiting()):
            self._say(
                f"objects that wait for {self._peer}: {left}, in {self._queue.directory}; another stream sends them"
            )

    def _run(self) -> None:
        pause = _MIN_PAUSE
        while True:
            last = self._closing
            something_is_left = self._deliver()
            if last or (self._closing and something_is_left):
                return
            if something_is_left:
                self._wait(pause)
                pause = min(2 * pause, _MAX_PAUSE)
            else:
                pause = _MIN_PAUSE
                self._changed.wait(_MAX_PAUSE)  # so long waits what another stream leaves behind
                self._changed.clear()

    def _wait(self, seconds: float) -> None:
        """Wait for so long, whatever comes in the meantime, but not beyond the end."""
        until = time.monotonic() + seconds
        while not self._closing and (left := until - time.monotonic()) > 0:
            self._changed.wait(left)
            self._changed.clear()

    def _deliver(self) -> bool:
        """Deliver what waits; return whether something is left."""
        try:
            with self._queue.alone() as alone:
                if not alone:
                    return bool(self._queue.waiting())
                if not self._queue.waiting():
                    return False
                with connected(self._peer, self._calling) as give:
                    while waiting := self._queue.waiting():
                        for path in waiting:
                            self._give(path, give)
        except Exception as error:  # whatever it is, the stream goes on, and the next attempt may succeed
            self._tell_away(" ".join(str(error).split()) or type(error).__name__)
            return True
        return False

    def _give(self, path: Path, give: Callable[[Path], None]) -> None:
        try:
            give(path)
        except RefusedError as refusal:
            self._queue.refuse(path)
            if str(refusal) not in self._refusals:
                self._refusals.add(str(refusal))
                self._say(f"{self._peer} refuses {path.name}: {refusal}; what it refuses is in {self._queue.refused}")
        else:
            path.unlink()
        if self._reason is not None:
            self._reason = None
            self._say(f"{self._peer} is back")

    def _tell_away(self, reason: str) -> None:
        if reason != self._reason:
            self._reason = reason
            self._say(f"{self._peer} is away ({reason}); what it is to get waits in {self._queue.directory}")
