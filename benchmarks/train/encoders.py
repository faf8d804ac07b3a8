"""What training costs with each encoder: as it is, compiled, in bfloat16, and both.

::

    python -m benchmarks.train.encoders --device cuda
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple, get_args

import click
import torch

from metfa.runtime.benchmark.machine import host
from metfa.runtime.command import Command
from metfa.runtime.files import write_text
from metfa.training.config import TrainingPrecision
from metfa.training.parallel import Encoding, make_fabric

from .steps import Bench, configuration

if TYPE_CHECKING:
    from collections.abc import Sequence

SIZES = {"edge": (112, 144), "compact": (112, 144), "sononet16": (112, 144), "small": (28, 28)}
"""Height and width of the frames, by preset."""


class Way(NamedTuple):
    """How an encoder runs.

    Attributes:
        precision: of its convolutions.
        compiled: whether PyTorch compiles it.
    """

    precision: TrainingPrecision
    compiled: bool

    def __str__(self) -> str:
        return f"{self.precision}{', compiled' if self.compiled else ''}"


WAYS = tuple(Way(precision, compiled) for compiled in (False, True) for precision in get_args(TrainingPrecision))


@dataclass(frozen=True, slots=True)
class EncoderCost:
    """A step of MetFA-VI with an encoder.

    Attributes:
        preset: which encoder and embedding.
        way: how it runs.
        height: of the frames.
        width: of the frames.
        step_ms: median of a step.
        images_per_second: that the encoder sees.
        to_plain: the step as a share of that in float32, not compiled.
        first_step_s: seconds of the first step, with nothing compiled before.
        peak_mb: the most memory of the GPU at once; on a CPU, of the process.
    """

    preset: str
    way: str
    height: int
    width: int
    step_ms: float
    images_per_second: float
    to_plain: float
    first_step_s: float
    peak_mb: float


@click.command(cls=Command)
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@click.option("--presets", default=",".join(SIZES), show_default=True, help="With commas between.")
@click.option("--steps", type=click.IntRange(min=1), default=15, show_default=True, help="Of each way.")
@click.option("--threads", type=click.IntRange(min=1), default=None, help="Of the CPU.  [default: PyTorch's]")
@click.option("--of", "preset", hidden=True, help="Measure this one only, and print it: a process of its own.")
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("benchmarks/results/encoders.json"), show_default=True
)
def main(device: str, presets: str, steps: int, threads: int | None, preset: str | None, output: Path) -> None:
    """Time steps of MetFA-VI with each encoder, in turns: plain, in bfloat16, compiled, both."""
    if threads is not None:
        torch.set_num_threads(threads)
    if preset is not None:
        click.echo(json.dumps([asdict(cost) for cost in measure(preset, device, steps)]))
        return
    costs = []
    for each in presets.split(","):
        arguments = ["--of", each, "--device", device, "--steps", str(steps)]
        arguments += [] if threads is None else ["--threads", str(threads)]
        command = [sys.executable, "-m", "benchmarks.train.encoders", *arguments]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        costs += json.loads(done.stdout.splitlines()[-1])
        _write(costs, device, output)  # what is there, is there
    click.echo(f"{'':12}{'':16}{'step ms':>10}{'images/s':>10}{'to plain':>10}{'first s':>9}{'MB':>8}")
    for cost in costs:
        click.echo(
            f"{cost['preset']:12}{cost['way']:16}{cost['step_ms']:10.1f}{cost['images_per_second']:10.0f}"
            f"{cost['to_plain']:10.2f}{cost['first_step_s']:9.1f}{cost['peak_mb']:8.0f}"
        )


def _write(costs: list[dict[str, object]], device: str, output: Path) -> None:
    report = {
        "benchmark": "encoders",
        "host": host(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "costs": costs,
    }
    write_text(output, json.dumps(report, indent=2) + "\n")


def measure(preset: str, device: str, steps: int, ways: Sequence[Way] = WAYS) -> list[EncoderCost]:
    """Return the cost of each way, timed in turns on the same images; ``to_plain`` compares with the first."""
    size = SIZES[preset]
    config = configuration("metfa-vi", preset, size)
    benches = [Bench(config, device) for _ in ways]
    for way, bench in zip(ways, benches, strict=True):
        fabric = make_fabric(device, precision=way.precision)
        bench.method.run_encoder = Encoding(fabric, bench.method, compiled=way.compiled)
    images = benches[0].augment(benches[0].sample())
    times: list[list[float]] = [[] for _ in ways]
    peaks = [0.0] * len(ways)
    with TemporaryDirectory() as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
        for _ in range(steps + 1):
            for number, bench in enumerate(benches):
                if device == "cuda":
                    torch.cuda.reset_peak_memory_stats()
                times[number].append(bench.timed_step(images))
                peaks[number] = max(peaks[number], _peak_mb(device))
    plain = median(times[0][1:])
    encoded = len(images) * benches[0].batch_size
    return [
        EncoderCost(
            preset=preset,
            way=str(way),
            height=size[0],
            width=size[1],
            step_ms=median(measured[1:]),
            images_per_second=1000 * encoded / median(measured[1:]),
            to_plain=median(measured[1:]) / plain,
            first_step_s=measured[0] / 1000,
            peak_mb=peak,
        )
        for way, measured, peak in zip(ways, times, peaks, strict=True)
    ]


def _peak_mb(device: str) -> float:
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


if __name__ == "__main__":
    main()
