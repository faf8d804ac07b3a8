"""How close training is to the limit of the machine.

::

    python -m benchmarks.train
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from statistics import median

import click
import torch

from metfa.runtime.benchmark.machine import host
from metfa.runtime.command import Command
from metfa.runtime.files import write_text
from metfa.runtime.parameters import SizeType
from metfa.training.presets import PRESETS

from .loading import measure_loading
from .steps import configuration, measure, measure_compilation, measure_games

METHODS = ("source-only", "dann", "adda", "mme", "metfa-v")
SCALING_STEPS = 4


@click.command(cls=Command)
@click.option("--preset", type=click.Choice(list(PRESETS)), default="compact", show_default=True)
@click.option("--size", type=SizeType(), default=(288, 224), show_default="288x224", help="Width and height.")
@click.option("--steps", type=click.IntRange(min=1), default=15, show_default=True, help="Of each measurement.")
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("benchmarks/results/train.json"), show_default=True
)
def main(preset: str, size: tuple[int, int], steps: int, output: Path) -> None:
    """Time a step of every method, its parts and its limit; compiled, two games, two processes, two ways of loading."""
    width, height = size
    compilation = measure_compilation(configuration("metfa-v", preset, (height, width)), steps)
    click.echo(
        f"MetFA-V compiled: {compilation.to_plain:.2f} of the time of a step, after {compilation.first_step:.0f} s"
    )
    costs = {name: measure(configuration(name, preset, (height, width)), steps) for name in METHODS}
    click.echo(
        f"{'':13}{'whole':>9}{'sampling':>10}{'augment':>9}{'step':>9}{'limit':>9}   ms; {preset}, {width}x{height}"
    )
    for name, cost in costs.items():
        click.echo(
            f"{name:13}{cost.whole:9.1f}{cost.sampling:10.2f}{cost.augmentation:9.1f}{cost.step:9.1f}{cost.limit:9.1f}"
            f"   {1000 * cost.images / cost.whole:.0f} images/s, {cost.of_the_limit:.3f} of the limit"
        )
    metfa, source = costs["metfa-v"], costs["source-only"]
    own = metfa.own_terms / metfa.step
    per_image = (metfa.whole / metfa.images) / (source.whole / source.images)
    games = measure_games(configuration("metfa-v", preset, (height, width)), steps)
    click.echo(f"MetFA-V's own terms: {own:.1%} of its step; per image {per_image:.2f} times source-only")
    click.echo(f"alternating: {games:.2f} times a single pass")
    loading = measure_loading((height, width))
    click.echo(
        f"the store: {loading.store:,.0f} images/s; a DataLoader that decodes, {loading.workers} workers: "
        f"{loading.loader:,.0f} images/s"
    )
    processes: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(3):
        for count, times in processes.items():
            times.append(_time_processes(count))
    speedup = median(processes[1]) / median(processes[2])
    click.echo(f"two processes, one core each: {speedup:.2f} times as fast as one (compact, 288x224)")
    report = {
        "benchmark": "train",
        "host": host(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "preset": preset,
        "height": height,
        "width": width,
        "ms_per_step": {name: asdict(cost) for name, cost in costs.items()},
        "own_terms_share": own,
        "metfa_to_source_only_per_image": per_image,
        "alternating_to_one_pass": games,
        "compilation": compilation._asdict(),
        "images_per_second": asdict(loading),
        "ms_per_step_by_processes": processes,
        "two_processes_speedup": speedup,
    }
    write_text(output, json.dumps(report, indent=2) + "\n")


def _time_processes(count: int) -> float:
    command = [sys.executable, "-m", "benchmarks.train.scaling", str(count), str(SCALING_STEPS)]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    return float(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
