"""Every backend, precision and batch that this host can run.

::

    python -m benchmarks.backends --bundle runs/metfa
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click
import numpy as np

from metfa.runtime import Bundle
from metfa.runtime.backends.choice import BackendName, Precision, load_backend
from metfa.runtime.bundle import DEFAULT_DIRECTORY
from metfa.runtime.command import Command
from metfa.runtime.errors import MetfaError
from metfa.runtime.files import write_text

from .machine import host

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from metfa.runtime.backends import Backend

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


@click.command(cls=Command)
@click.option("--bundle", "directory", type=click.Path(path_type=Path), default=DEFAULT_DIRECTORY, show_default=True)
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("benchmarks/results/backends.json"), show_default=True
)
def main(directory: Path, output: Path) -> None:
    """Time calls of every backend, precision and batch in turns, and say which cannot run here."""
    bundle = Bundle.open(directory)
    loaded: dict[str, Backend] = {}
    refused: list[str] = []
    for name in get_args(BackendName):
        for precision in get_args(Precision):
            try:
                backend, _ = load_backend(bundle, name, precision)
            except MetfaError as refusal:  # noqa: PERF203  # there are nine
                refused.append(f"{name} {precision}: {refusal}")
            else:
                loaded.setdefault(f"{name} {precision}", backend)
    size = bundle.contract.input
    frames = np.random.default_rng(0).integers(0, 256, (max(BATCHES), 1, size.height, size.width), np.uint8)
    times: dict[tuple[str, int], list[float]] = {(name, batch): [] for name in loaded for batch in BATCHES}
    for turn in range(TURNS):
        for (name, batch), measured in times.items():
            measured.extend(_time(loaded[name], frames[:batch], warm_up=turn == 0))
    rows = {}
    for (name, batch), measured in times.items():
        p50, p95, p99 = np.percentile(measured, (50, 95, 99))
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
        )
    report = {
        "benchmark": "backends",
        "host": host(),
        "latencies": [asdict(row) for row in rows.values()],
        "cannot_run_here": refused,
    }
    write_text(output, json.dumps(report, indent=2) + "\n")
    click.echo(f"{'':14}{'batch':>6}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}{'frames/s':>10}")
    for (name, batch), row in rows.items():
        click.echo(
            f"{name:14}{batch:6}{row.p50_ms:9.2f}{row.p95_ms:9.2f}{row.p99_ms:9.2f}{row.frames_per_second:10.1f}"
        )
    for line in refused:
        click.echo(f"not {line}")


def _time(backend: Backend, frames: NDArray[np.uint8], *, warm_up: bool) -> list[float]:
    """Return the milliseconds of each call; ``infer`` returns once the results are in host memory."""
    for _ in range(10 if warm_up else 1):
        backend.infer(frames)
    times: list[float] = []
    end = time.perf_counter() + SECONDS / TURNS
    while not times or time.perf_counter() < end:
        began = time.perf_counter()
        backend.infer(frames)
        times.append(1000 * (time.perf_counter() - began))
    return times


if __name__ == "__main__":
    main()
