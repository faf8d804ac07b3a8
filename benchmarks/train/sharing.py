"""A step of MetFA-V on a quiet machine, beside two busy processes, and with a quota of one core.

::

    python -m benchmarks.train.sharing

metfa chooses the number of threads when a run begins, and its threads sleep while they wait. PyTorch's own choice is
all cores, and its threads wait in a loop. A quota takes a control group, so that part needs root.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import click

from metfa.runtime.benchmark.machine import host
from metfa.runtime.command import Command
from metfa.runtime.files import write_text

if TYPE_CHECKING:
    from collections.abc import Iterator

BUSY = "while True: pass"
STEP = """
import sys, time
chosen, height, width, seconds = sys.argv[1] == "metfa", *map(int, sys.argv[2:])
if chosen:
    import metfa.training  # before PyTorch, which reads how its threads are to wait
import torch
from statistics import median
from benchmarks.train.steps import Bench, configuration
from metfa.training.parallel import make_fabric
from metfa.training.threads import choose_threads
config = configuration("metfa-v", "small", (height, width))
fabric = make_fabric("cpu")
fabric.launch()
if chosen:
    torch.set_num_threads(choose_threads(config, 6, fabric))
bench = Bench(config)
images = bench.augment(bench.sample())
bench.train(images)
times, began = [], time.perf_counter()
while time.perf_counter() - began < seconds or len(times) < 3:
    start = time.perf_counter()
    bench.train(images)
    times.append(time.perf_counter() - start)
print(torch.get_num_threads(), 1000 * median(times))
"""
GROUPS = Path("/sys/fs/cgroup")


@click.command(cls=Command, context_settings={"show_default": True})
@click.option("--turns", type=click.IntRange(min=1), default=3)
@click.option("--seconds", type=click.IntRange(min=1), default=6, help="Of steps in each turn.")
@click.option("--output", type=click.Path(path_type=Path), default=Path("benchmarks/results/sharing.json"))
def main(turns: int, seconds: int, output: Path) -> None:
    """Time steps in turns; each figure is a median of medians, in milliseconds a step."""
    places = {"quiet": nothing, "beside two busy processes": two_busy_processes, "a quota of one core": one_core}
    times: dict[str, list[float]] = {}
    threads: dict[str, list[int]] = {}
    for _ in range(turns):
        for place, enter in places.items():
            with enter() as prefix:
                if prefix is None:
                    continue
                for who in ("metfa", "PyTorch"):
                    count, taken = _step(prefix, who, seconds)
                    times.setdefault(f"{who}, {place}", []).append(taken)
                    threads.setdefault(f"{who}, {place}", []).append(count)
    for name, taken_each in times.items():
        who = name.split(",", maxsplit=1)[0]
        ratio = median(taken_each) / median(times[f"{who}, quiet"])
        click.echo(f"{name}: {median(taken_each):.0f} ms a step, {ratio:.2f} times quiet, threads {threads[name]}")
    report = {"benchmark": "train.sharing", "host": host(), "ms_per_step": times, "threads": threads}
    write_text(output, json.dumps(report, indent=2) + "\n")


@contextmanager
def nothing() -> Iterator[list[str] | None]:
    """Leave the machine as it is."""
    yield []


@contextmanager
def two_busy_processes() -> Iterator[list[str] | None]:
    """Keep two cores busy."""
    with ExitStack() as stack:
        for _ in range(2):
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", BUSY]))
            stack.callback(process.kill)
        yield []


@contextmanager
def one_core() -> Iterator[list[str] | None]:
    """Yield what puts a command into a control group with a quota of one core; None where there can be none."""
    first, second = GROUPS / "cpu" / "metfa-benchmark", GROUPS / "metfa-benchmark"
    group, quota, value = (
        (first, "cpu.cfs_quota_us", "100000") if (GROUPS / "cpu").is_dir() else (second, "cpu.max", "100000 100000")
    )
    try:
        group.mkdir()
        (group / quota).write_text(value)
    except OSError as error:
        click.echo(f"a quota of one core: not measured, no control group can be made ({error.strerror})")
        yield None
        return
    try:
        yield ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh"]
    finally:
        group.rmdir()


def _step(prefix: list[str], who: str, seconds: int) -> tuple[int, float]:
    """Return with how many threads a step was taken, and its milliseconds."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    command = [*prefix, sys.executable, "-c", STEP, who, "56", "72", str(seconds)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    count, taken = done.stdout.split()
    return int(count), float(taken)


if __name__ == "__main__":
    main()
