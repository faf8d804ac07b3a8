"""Times every way of running a bundle, in turns, so that other load hits all alike."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from .candidates import BATCHES
from .record import Latency

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from ..backends import Backend
    from .candidates import Candidate

TURNS = 10


@dataclass(slots=True)
class _Times:
    """Milliseconds of the calls of one candidate with one batch."""

    wall: list[float] = field(default_factory=list)
    gpu: list[float] = field(default_factory=list)


def measure(
    candidates: Sequence[Candidate],
    frames: NDArray[np.uint8],
    seconds: float,
    *,
    stopped: Callable[[], bool],
    progress: Callable[[str], object],
) -> list[tuple[Latency, ...]]:
    """Return the latencies of each candidate, one for each batch that was measured.

    Args:
        candidates: what to measure.
        frames: uint8 [N, 1, H, W], as many as the largest batch.
        seconds: to spend on each candidate and batch.
        stopped: ends the measurement when it returns true.
        progress: told in a few words what is done next.
    """
    times = {(index, batch): _Times() for index in range(len(candidates)) for batch in BATCHES}
    for turn in range(TURNS):
        for (index, batch), taken in times.items():
            if stopped():
                break
            candidate = candidates[index]
            progress(f"turn {turn + 1} of {TURNS}: {candidate.name} {candidate.precision}, batch {batch}")
            _time(candidate, frames[:batch], seconds / TURNS, taken)
    return [
        tuple(_latency(batch, times[index, batch]) for batch in BATCHES if times[index, batch].wall)
        for index in range(len(candidates))
    ]


def _time(candidate: Candidate, frames: NDArray[np.uint8], seconds: float, taken: _Times) -> None:
    """Time calls for so long; where the GPU has a clock, as long again by it."""
    taken.wall.extend(_repeat(partial(_wall, candidate.backend, frames), seconds))
    if candidate.clock is not None:
        taken.gpu.extend(_repeat(partial(candidate.clock, frames), seconds))


def _repeat(measure: Callable[[], float], seconds: float) -> list[float]:
    """Return the milliseconds of each call that there is time for, of one at least; the first is not counted."""
    measure()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        times.append(measure())
    return times


def _wall(backend: Backend, frames: NDArray[np.uint8]) -> float:
    """Return the milliseconds of a call, which returns once the results are in host memory."""
    began = time.perf_counter()
    backend.infer(frames)
    return 1000 * (time.perf_counter() - began)


def _latency(batch: int, taken: _Times) -> Latency:
    p50, p95, p99 = (float(value) for value in np.percentile(taken.wall, (50, 95, 99)))
    gpu = np.percentile(taken.gpu, (50, 95, 99)) if taken.gpu else (None, None, None)
    gpu_p50, gpu_p95, gpu_p99 = (None if value is None else float(value) for value in gpu)
    return Latency(
        batch=batch,
        calls=len(taken.wall),
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        frames_per_second=1000 * batch * len(taken.wall) / sum(taken.wall),
        gpu_p50_ms=gpu_p50,
        gpu_p95_ms=gpu_p95,
        gpu_p99_ms=gpu_p99,
    )
