"""One stage at one size, in a process of its own, so that its peak of memory is its own; and stages as they grow."""

from __future__ import annotations

import multiprocessing
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from .stages import STAGES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

PATIENCE = 8
"""A process is ended that takes so many times the budget, with what it makes its inputs in."""

MEMORY_SHARE = 0.5
"""Of the machine's free memory, that a process may take."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a stage takes.

    Attributes:
        size: N.
        seconds: of the work, without making its inputs.
        peak_bytes: of memory beyond what the process held before the work, such as its inputs.
    """

    size: int
    seconds: float
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class Growth:
    """A stage at growing sizes.

    Attributes:
        costs: by size.
        ending: why there are no larger ones.
    """

    costs: tuple[Cost, ...]
    ending: str


def grow(stage: str, sizes: list[int], budget: float) -> Growth:
    """Measure a stage at one size after another until a run takes longer than the budget.

    Args:
        stage: its name.
        sizes: ascending.
        budget: seconds.

    Raises:
        EOFError: a process failed, other than for want of memory.
    """
    costs: list[Cost] = []
    for size in sizes:
        answer = _measure_apart(stage, size, PATIENCE * budget)
        if isinstance(answer, str):
            return Growth(tuple(costs), f"{size:,} {answer}")
        costs.append(answer)
        if answer.seconds > budget:
            return Growth(tuple(costs), f"{size:,} took over {budget:g} s")
    return Growth(tuple(costs), "")


def _measure_apart(stage: str, size: int, patience: float) -> Cost | str:
    """Return the cost, measured in a copy of this process, or why there is none.

    Raises:
        EOFError: the process failed.
    """
    context = multiprocessing.get_context("fork")  # which has all modules already
    receiving, sending = context.Pipe(duplex=False)
    with TemporaryDirectory(prefix="metfa-scale-") as directory:
        process = context.Process(target=_measure, args=(stage, size, Path(directory), sending))
        process.start()
        sending.close()
        if receiving.poll(patience):
            answer = receiving.recv()
        else:
            answer = f"with its inputs took over {patience:g} s"
            process.kill()
        process.join()
    return answer  # type: ignore[no-any-return]  # as sent


def _measure(stage: str, size: int, directory: Path, sending: Connection) -> None:
    """Send the cost; in its place a reason, where it wants too much memory."""
    memory = int(MEMORY_SHARE * _kernel_bytes("/proc/meminfo", "MemAvailable"))
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    try:
        work = STAGES[stage].prepare(size, directory)
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before = _kernel_bytes("/proc/self/status", "VmRSS")
        began = time.perf_counter()
        work()
        seconds = time.perf_counter() - began
    except MemoryError:
        sending.send("wanted over half of the free memory")
        return
    peak = _kernel_bytes("/proc/self/status", "VmHWM") - before
    sending.send(Cost(size, seconds, max(0, peak)))


def sizes_between(smallest: int, largest: int) -> list[int]:
    """Return 1 and 3 times the powers of ten from one size to another."""
    return list(_sizes(smallest, largest))


def _sizes(smallest: int, largest: int) -> Iterator[int]:
    decade = smallest
    while decade <= largest:
        yield decade
        if 3 * decade <= largest:
            yield 3 * decade
        decade *= 10


def _kernel_bytes(path: str, field: str) -> int:
    """Return the bytes that the kernel tells in kB."""
    line = next(line for line in Path(path).read_text().splitlines() if line.startswith(f"{field}:"))
    return 1024 * int(line.split()[1])
