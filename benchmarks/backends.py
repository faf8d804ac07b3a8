"""Every backend, precision and batch that this host can run.

::

    python -m benchmarks.backends --bundle runs/metfa
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click
import numpy as np

from metfa.runtime import Bundle
from metfa.runtime.backends.choice import Precision, load_backend
from metfa.runtime.bundle.directory import DEFAULT_DIRECTORY
from metfa.runtime.command import Command
from metfa.runtime.errors import MetfaError
from metfa.runtime.files import write_text

from .gpu_clock import gpu_clock
from .machine import host

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from metfa.runtime.backends import Backend

    from .gpu_clock import Clock

BATCHES = (1, 2, 4, 8)
SECONDS = 3.0  # of each measurement
TURNS = 3


@dataclass(frozen=True, slots=True)
class Latency:
    """What a call takes, from frames in host memory to logits and embedding in host memory.

    Attributes:
        backend: what ran the model.
        artefact: which file of the bundle.
        sha256: of that file.
        batch: frames in a call.
        calls: how many were timed.
        p50_ms: median of a call.
        p95_ms: 95 % take at most this.
        p99_ms: 99 % take at most this.
        frames_per_second: over all calls.
        gpu_p50_ms: median of a call by the GPU's clock, between CUDA events around what is enqueued; None on the CPU.
        gpu_p95_ms: 95 % take at most this.
        gpu_p99_ms: 99 % take at most this.
    """

    backend: str
    artefact: str
    sha256: str
    batch: int
    calls: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    frames_per_second: float
    gpu_p50_ms: float | None
    gpu_p95_ms: float | None
    gpu_p99_ms: float | None


@click.command(cls=Command)
@click.option("--bundle", "directory", type=click.Path(path_type=Path), default=DEFAULT_DIRECTORY, show_default=True)
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("benchmarks/results/backends.json"), show_default=True
)
def main(directory: Path, output: Path) -> None:
    """Time calls of every backend, precision and batch in turns, and say which cannot run here."""
    bundle = Bundle.open(directory)
    loaded: dict[str, Backend] = {}
    clocks: dict[str, Clock] = {}
    refused: list[str] = []
    for name in ("tensorrt", "cuda", "cpu"):
        for precision in get_args(Precision):
            try:
                backend, _ = load_backend(bundle, name, precision)
            except MetfaError as refusal:  # noqa: PERF203  # there are nine
                refused.append(f"{name} {precision}: {refusal}")
            else:
                loaded[f"{name} {precision}"] = backend
                if (clock := gpu_clock(name, backend, bundle)) is not None:
                    clocks[f"{name} {precision}"] = clock
    size = bundle.contract.input
    frames = np.random.default_rng(0).integers(0, 256, (max(BATCHES), 1, size.height, size.width), np.uint8)
    times: dict[tuple[str, int], list[float]] = {(name, batch): [] for name in loaded for batch in BATCHES}
    gpu_times: dict[tuple[str, int], list[float]] = {(name, batch): [] for name in clocks for batch in BATCHES}
    for turn in range(TURNS):
        for (name, batch), measured in times.items():
            measured.extend(_repeat(partial(_wall, loaded[name], frames[:batch]), warm_up=turn == 0))
        for (name, batch), measured in gpu_times.items():
            measured.extend(_repeat(partial(clocks[name], frames[:batch]), warm_up=turn == 0))
    rows = {}
    for (name, batch), measured in times.items():
        p50, p95, p99 = np.percentile(measured, (50, 95, 99))
        gpu = np.percentile(gpu_times[name, batch], (50, 95, 99)) if name in clocks else (None, None, None)
        gpu_p50, gpu_p95, gpu_p99 = (None if value is None else float(value) for value in gpu)
        artefact = loaded[name].artefact
        rows[name, batch] = Latency(
            backend=loaded[name].description,
            artefact=artefact,
            sha256=bundle.files[artefact],
            batch=batch,
            calls=len(measured),
            p50_ms=float(p50),
            p95_ms=float(p95),
            p99_ms=float(p99),
            frames_per_second=1000 * batch * len(measured) / sum(measured),
            gpu_p50_ms=gpu_p50,
            gpu_p95_ms=gpu_p95,
            gpu_p99_ms=gpu_p99,
        )
    report = {
        "benchmark": "backends",
        "host": host(),
        "latencies": [asdict(row) for row in rows.values()],
        "cannot_run_here": refused,
    }
    write_text(output, json.dumps(report, indent=2) + "\n")
    click.echo(f"{'':14}{'batch':>6}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}{'frames/s':>10}{'GPU p50 ms':>12}")
    for (name, batch), row in rows.items():
        on_gpu = "" if row.gpu_p50_ms is None else f"{row.gpu_p50_ms:12.3f}"
        click.echo(
            f"{name:14}{batch:6}{row.p50_ms:9.2f}{row.p95_ms:9.2f}{row.p99_ms:9.2f}{row.frames_per_second:10.1f}{on_gpu}"
        )
    for line in refused:
        click.echo(f"not {line}")


def _repeat(measure: Callable[[], float], *, warm_up: bool) -> list[float]:
    """Return the milliseconds of each of the calls that there is time for."""
    for _ in range(10 if warm_up else 1):
        measure()
    times: list[float] = []
    end = time.perf_counter() + SECONDS / TURNS
    while not times or time.perf_counter() < end:
        times.append(measure())
    return times


def _wall(backend: Backend, frames: NDArray[np.uint8]) -> float:
    """Return the milliseconds of a call, which returns once the results are in host memory."""
    began = time.perf_counter()
    backend.infer(frames)
    return 1000 * (time.perf_counter() - began)


if __name__ == "__main__":
    main()
