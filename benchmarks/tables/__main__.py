"""Tables 1 and 2 and Figure 2 of the paper, measured on two domains.

::

    python -m benchmarks.tables --source mnist --target optdigits --both-directions --output results --no-flip

Options of ``metfa-train`` go to every run alike. A table that was interrupted goes on when the same command is
given again, run by run and step by step. The output directory holds ``table.md``, ``table.csv``, ``runs.json`` (every
run's configuration and scores) and the figures; the bundles are in its ``runs/``.
"""

from __future__ import annotations

import os
import platform
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import torch

from metfa.runtime import Bundle
from metfa.runtime.bundle.contract import software
from metfa.runtime.files import write_text

from .pictures import PICTURED, draw_confusions, draw_embeddings
from .report import Result, csv_table, json_record, markdown, read_result
from .runs import (
    METHODS,
    DomainChoice,
    MethodsType,
    Run,
    Runner,
    claim,
    directions_option,
    make_directions,
    require_options_of_a_run,
    table_command,
    table_options,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from metfa.runtime.bundle.contract import Roi
    from metfa.training.names import MethodName

    from .runs import Direction


@table_command()
@table_options
@directions_option
@click.option("--methods", type=MethodsType(), default="all", help="Rows of the table.")
@click.option("--seeds", type=click.IntRange(min=1), default=3, help="Runs of each method: seeds 0, 1, …")
@click.option(
    "--options-for",
    "special",
    nargs=2,
    multiple=True,
    metavar="PATTERN OPTIONS",
    help="Further options of metfa-train for some methods, as 'metfa-*' '--learning-rate 0.003'; repeatable.",
)
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Directory of tables, figures and runs.")
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="")
def main(
    source: str,
    target: str,
    source_roi: Roi,
    target_roi: Roi,
    both_directions: bool,
    methods: tuple[MethodName, ...],
    seeds: int,
    jobs: int,
    special: tuple[tuple[str, str], ...],
    output: Path,
    options: tuple[str, ...],
) -> None:
    """Train every method on the same two domains with every seed, and tabulate.

    The options of metfa-train that say what a run is, such as --steps, go to every run.
    """
    require_options_of_a_run(options)
    for _, text in special:
        require_options_of_a_run(shlex.split(text))
    domains = DomainChoice(source, source_roi), DomainChoice(target, target_roi)
    directions = make_directions(*domains, both=both_directions)
    claim(output, [source, target, str(source_roi), str(target_roi), *map(shlex.join, special), *options])
    runs = [Run(direction, method, seed) for seed in range(seeds) for direction in directions for method in methods]
    runner = Runner(output / "runs", options, special, jobs)
    failures = runner.carry_out(runs)
    results = [read_result(run, runner.bundle(run)) for run in _in_order(runs) if runner.is_finished(run)]
    if results:
        _write(output, directions, results, runner)
    for run, failure in failures.items():
        click.echo(f"{run.name} failed: {failure}", err=True)
    if failures:
        sys.exit(1)
    click.echo((output / "table.md").read_text(encoding="utf-8"))


def _in_order(runs: Sequence[Run]) -> list[Run]:
    """Return runs in the order of a table: by direction and method, then by seed."""
    return sorted(runs, key=lambda run: (run.direction.name, METHODS.index(run.method), run.seed))


def _write(output: Path, directions: Sequence[Direction], results: Sequence[Result], runner: Runner) -> None:
    host = {
        "software": software(),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }
    command = shlex.join(["python", "-m", "benchmarks.tables", *sys.argv[1:]])
    tables = []
    for direction in directions:
        of_direction = [result for result in results if result.run.direction == direction]
        if not of_direction:
            continue
        tables.append(markdown(of_direction, direction))
        first = {result.run.method: result for result in reversed(of_direction)}
        pictured = [
            (first[method], Bundle.open(runner.bundle(first[method].run))) for method in PICTURED if method in first
        ]
        if pictured:
            draw_confusions(pictured, output / f"confusion-{direction.name}")
            draw_embeddings(pictured, output / f"embedding-{direction.name}")
    write_text(output / "table.md", f"`{command}`\n\n" + "\n\n".join(tables) + "\n")
    write_text(output / "table.csv", csv_table(results))
    write_text(output / "runs.json", json_record(results, host, command))


if __name__ == "__main__":
    main()
