"""Work in other processes, of which each may crash or hang without taking the run with it."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import time
from collections import deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pickle import UnpicklingError
from types import ModuleType
from typing import TYPE_CHECKING, Generic, TypeVar

import cv2

from metfa.runtime.command import HANG_UP
from metfa.runtime.cores import available_cores
from metfa.runtime.errors import DataError, SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

Item = TypeVar("Item")
Result = TypeVar("Result")

PATIENCE = 120
"""Seconds without a result after which a process is taken for hung."""

_CHUNK = 16  # items that a process is given at a time, at most
_TICK = 1.0  # seconds; silence is counted in these, so that a suspended computer is not taken for a hung process

# Forking this process would copy PyTorch's threads in any state; on Linux, a server that is forked instead has none.
# Windows cannot fork, and on macOS a fork of a process that has loaded frameworks may crash.
if sys.platform == "linux":
    _CONTEXT = multiprocessing.get_context("forkserver")
    _CONTEXT.set_forkserver_preload([__name__, "metfa.training.data.decoding", "metfa.training.data.readers"])
else:
    _CONTEXT = multiprocessing.get_context("spawn")


@dataclass(frozen=True, slots=True)
class ItemResult(Generic[Result]):
    """One result of an item.

    Attributes:
        item: the index of the item.
        result: what came of it.
    """

    item: int
    result: Result


@dataclass(frozen=True, slots=True)
class ItemEnd:
    """The end of an item.

    Attributes:
        item: its index.
        error: why it ended before all of its results were made; None where it did not.
    """

    item: int
    error: str | None


def work(
    function: Callable[[Item], Iterator[Result]], items: Sequence[Item], *, patience: float = PATIENCE
) -> Generator[ItemResult[Result] | ItemEnd, None, None]:
    """Yield what ``function`` yields of each item, as it comes, and the end of each item.

    There are as many processes as cores. An item at which one crashes or hangs ends with that error, and so does one
    at which the function raises any exception; the others are not affected. Where the iterator is closed, or Ctrl-C
    interrupts it, the processes are ended at once.

    Args:
        function: what to do with an item; it and the items are pickled.
        items: what to work on.
        patience: seconds without a result after which a process is taken for hung.

    Raises:
        DataError: no process can be started.
    """
    waiting = deque(range(len(items)))
    count = min(available_cores(), len(items))
    chunk = min(_CHUNK, -(-len(items) // (4 * count))) if items else 0
    workers: list[_Worker[Item, Result]] = []
    try:
        workers += [_Worker(function) for _ in range(count)]
        while True:
            for worker in workers:
                if not worker.pending and waiting:
                    numbers = [waiting.popleft() for _ in range(min(chunk, len(waiting)))]
                    worker.give({number: items[number] for number in numbers})
            busy = [(index, worker) for index, worker in enumerate(workers) if worker.pending]
            if not busy:
                return
            before = time.monotonic()
            ready = wait([worker.connection for _, worker in busy], _TICK)
            waited = min(time.monotonic() - before, _TICK)
            for index, worker in busy:
                if worker.connection in ready:
                    message = worker.receive()
                    if message is not None:
                        yield message
                        continue
                    error = f"its decoder crashed{worker.ended_by()}"
                else:
                    worker.silence += waited
                    if worker.silence < patience:
                        continue
                    error = f"nothing came of it in {patience:.0f} seconds"
                worker.end()
                workers[index] = _Worker(function)
                yield ItemEnd(worker.pending.popleft(), error)
                waiting.extendleft(reversed(worker.pending))
    finally:
        for worker in workers:
            worker.end()


class _Worker(Generic[Item, Result]):
    """A process that works on the items it is given, in their order.

    Attributes:
        connection: to it.
        pending: the items that it was given and that have not ended.
        silence: seconds since its last result, as far as they were spent waiting for it.
    """

    def __init__(self, function: Callable[[Item], Iterator[Result]]) -> None:
        self.pending: deque[int] = deque()
        self.silence = 0.0
        try:
            self.connection, theirs = _CONTEXT.Pipe()
            self._process = _CONTEXT.Process(target=_serve, args=(theirs, function), daemon=True)
            with _unknown_main():
                self._process.start()
        except (OSError, EOFError) as cause:  # the latter where the server that is forked ended at once
            raise DataError(
                expected="to be able to start a process that decodes",
                received=getattr(cause, "strerror", None) or str(cause) or "one that ended at once",
                remedy="raise the limits on files and processes (ulimit -n, -u), or set TMPDIR to a shorter path",
            ) from None
        theirs.close()
        try:
            self.connection.recv()
        except EOFError:
            self.end()
            raise DataError(
                expected="to be able to start a process that decodes",
                received="one that ended at once",
                remedy="free memory, or raise the limit on processes",
            ) from None

    def give(self, items: Mapping[int, Item]) -> None:
        """Give it items to work on, by their number."""
        self.pending.extend(items)
        self.silence = 0.0
        with suppress(OSError):  # it has crashed in the meantime, as receive() will find
            self.connection.send(items)

    def receive(self) -> ItemResult[Result] | ItemEnd | None:
        """Return what it has sent; None where it has crashed."""
        try:
            message: ItemResult[Result] | ItemEnd = self.connection.recv()
        except (EOFError, OSError, UnpicklingError):
            return None
        self.silence = 0.0
        if isinstance(message, ItemEnd):
            self.pending.popleft()
        return message

    def ended_by(self) -> str:
        """Return the signal that ended the process, as a message tells it; nothing where it was none."""
        self._process.join(_TICK)
        code = self._process.exitcode or 0
        return f" ({signal.Signals(-code).name})" if code < 0 else ""

    def end(self) -> None:
        """End the process, whatever it is doing."""
        self._process.kill()
        self._process.join()
        self.connection.close()


@contextmanager
def _unknown_main() -> Iterator[None]:
    """Keep processes that are started from importing the script that runs, which need not expect that."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _serve(connection: Connection, function: Callable[[Item], Iterator[Result]]) -> None:
    for ignored in (signal.SIGINT, HANG_UP):  # they reach every process; the one that asked ends this one
        signal.signal(ignored, signal.SIG_IGN)
    cv2.setNumThreads(1)  # every core has a process
    with suppress(EOFError, OSError):  # nobody listens any more
        connection.send(None)
        while True:
            for number, item in connection.recv().items():
                error = None
                try:
                    for result in function(item):
                        connection.send(ItemResult(number, result))
                except SourceError as cause:
                    error = cause.received
                except Exception as cause:
                    error = f"{type(cause).__name__} while it was decoded"
                connection.send(ItemEnd(number, error))
