"""Which operators a frame's time on the CPU goes to, by ONNX Runtime's own profiler.

::

    python -m benchmarks.studies.operators --bundle runs/metfa
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from itertools import product
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click
import numpy as np
import onnxruntime

from metfa.runtime import Bundle
from metfa.runtime.benchmark.machine import host
from metfa.runtime.bundle.directory import DEFAULT_DIRECTORY, ONNX, ONNX_INT8
from metfa.runtime.command import Command
from metfa.runtime.files import write_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

CALLS = 100  # in each turn
TURNS = 3
WHOLE = "whole"


@click.command(cls=Command)
@click.option("--bundle", "directory", type=click.Path(path_type=Path), default=DEFAULT_DIRECTORY, show_default=True)
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("benchmarks/results/operators.json"), show_default=True
)
def main(directory: Path, output: Path) -> None:
    """Profile FP32 and INT8 in turns, frame by frame, on one thread and on one for each core."""
    bundle = Bundle.open(directory)
    size = bundle.contract.input
    frame = np.random.default_rng(0).integers(0, 256, (1, 1, size.height, size.width), np.uint8)
    models = {"fp32": bundle.directory / ONNX, "int8": bundle.directory / ONNX_INT8}
    threads = sorted({1, len(os.sched_getaffinity(0))})
    turns: dict[tuple[str, int], list[dict[str, float]]] = {each: [] for each in product(models, threads)}
    for _ in range(TURNS):
        for (precision, number), profiles in turns.items():
            profiles.append(profile(models[precision], frame, number))
    rows = []
    for (precision, number), profiles in turns.items():
        costs = {kind: median(each[kind] for each in profiles) for kind in profiles[0]}
        whole = costs.pop(WHOLE)
        rows.append({"precision": precision, "threads": number, "ms": whole, "ms_by_operator": costs})
        dearest = sorted(costs.items(), key=lambda item: -item[1])[:4]
        click.echo(
            f"{precision} on {number} {'thread' if number == 1 else 'threads'}: {whole:.2f} ms, of which "
            + ", ".join(f"{kind} {cost:.2f}" for kind, cost in dearest)
        )
    report = {"benchmark": "operators", "host": host(), "profiles": rows}
    write_text(output, json.dumps(report, indent=2) + "\n")


def profile(model: Path, frame: NDArray[np.uint8], threads: int) -> dict[str, float]:
    """Return the milliseconds that a call spends in each kind of operator, and as a whole, by the profiler's clock."""
    with TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # as the runtime has it
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder, "profile"))
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        for _ in range(CALLS):
            session.run(None, {"frame": frame})
        events = json.loads(Path(session.end_profiling()).read_text())
    costs: dict[str, float] = defaultdict(float)
    for event in events:
        if event["name"] == "model_run":
            costs[WHOLE] += event["dur"] / 1000 / CALLS
        elif event["name"].endswith("_kernel_time"):
            costs[event["args"]["op_name"]] += event["dur"] / 1000 / CALLS
    return dict(costs)


if __name__ == "__main__":
    main()
