"""How time and memory of each stage grow from a thousand images to a million.

::

    python -m benchmarks.scale
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from metfa.runtime.benchmark.machine import host
from metfa.runtime.command import Command
from metfa.runtime.files import write_text
from metfa.runtime.text import aligned

from .figure import draw
from .fit import CLEAR, exponent
from .measure import Growth, grow, sizes_between
from .stages import STAGES

if TYPE_CHECKING:
    from collections.abc import Sequence


@click.command(cls=Command)
@click.option("--largest", type=click.IntRange(min=1000), default=1_000_000, show_default=True, help="Images.")
@click.option(
    "--budget",
    type=click.FloatRange(min=0, min_open=True),
    default=20.0,
    show_default=True,
    help="Seconds; a stage that takes longer grows no further.",
)
@click.option("--stage", "chosen", type=click.Choice(list(STAGES)), multiple=True, help="Only this; may be repeated.")
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("benchmarks/results/scale.json"), show_default=True
)
@click.option("--figure", type=click.Path(path_type=Path), default=Path("docs/images/scale.png"), show_default=True)
def main(largest: int, budget: float, chosen: Sequence[str], output: Path, figure: Path) -> None:
    """Time each stage at growing sizes, each in a process of its own, and fit how its time grows."""
    growths: dict[str, Growth] = {}
    load = os.getloadavg()[0]
    for name in chosen or STAGES:
        stage = STAGES[name]
        growths[name] = grow(name, sizes_between(stage.smallest, min(largest, stage.largest or largest)), budget)
        click.echo(f"{name}: {growths[name].costs[-1] if growths[name].costs else growths[name].ending}", err=True)
    report = {
        "benchmark": "scale",
        "host": host(),
        "load": load,
        "budget_seconds": budget,
        "counted_from_times_the_least": CLEAR,
        "stages": {
            name: {"counts": STAGES[name].counts, "exponent": _exponent(growth), **asdict(growth)}
            for name, growth in growths.items()
        },
    }
    write_text(output, json.dumps(report, indent=2) + "\n")
    rows = [("", "exponent", "largest", "seconds", "MB", "")]
    rows += [(name, *_cells(growth)) for name, growth in growths.items()]
    click.echo("\n".join(aligned(rows, 0)))
    draw(growths, figure)


def _exponent(growth: Growth) -> float | None:
    return exponent([cost.size for cost in growth.costs], [cost.seconds for cost in growth.costs])


def _cells(growth: Growth) -> tuple[str, str, str, str, str]:
    if not growth.costs:
        return "", "", "", "", growth.ending
    last, slope = growth.costs[-1], _exponent(growth)
    shown = "none" if slope is None else f"{slope:.2f}"
    return shown, f"{last.size:,}", f"{last.seconds:.3g}", f"{last.peak_bytes / 1e6:.0f}", growth.ending


if __name__ == "__main__":
    main()
