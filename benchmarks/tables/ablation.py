"""What each part of MetFA-VI is worth: the method without it, or with something else in its place.

::

    python -m benchmarks.tables.ablation --source mnist --target optdigits --output ablation --no-flip

Domains, seeds, jobs and options are as for ``benchmarks.tables``, and so is what happens after an interruption. The
output directory holds ``ablation.md``, ``ablation.json`` and, in ``runs/``, the bundles.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from metfa.runtime.benchmark.machine import host
from metfa.runtime.files import write_text

from .report import COLUMNS, Result, read_result, record_of_runs, spread
from .runs import Direction, DomainChoice, Run, Runner, claim, require_options_of_a_run, table_command, table_options

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from metfa.runtime.bundle.contract import Roi

VARIANTS: Mapping[str, str] = {
    "MetFA-VI": "",
    "without the source first": "--source-first 0",
    "without consistency": "--lambda-consistency 0",
    "without balanced batches": "--no-balance",
    "without equal shares": "--equal-shares 0",
    "entirely equal shares": "--equal-shares 1",
    "without MCC": "--lambda-mcc 0",
    "L_H in place of MCC": "--lambda-mcc 0 --lambda-h 5",
    "L_H beside MCC": "--lambda-h 5",
    "the paper's augmentation": "--paper-augmentation",
    "MetFA-V's terms": "--source-first 0 --lambda-consistency 0 --no-balance --lambda-mcc 0 --lambda-h 5",
}
"""The options of ``metfa-train`` that make each row; the last has the terms of MetFA-V."""

SCORES = ("target F1", "target F1, last step", "target F1, oracle")


@table_command()
@table_options
@click.option("--seeds", type=click.IntRange(min=1), default=5, help="Runs of each row: seeds 0, 1, …")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Directory of table, record and runs.")
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="")
def main(
    source: str,
    target: str,
    source_roi: Roi,
    target_roi: Roi,
    seeds: int,
    jobs: int,
    output: Path,
    options: tuple[str, ...],
) -> None:
    """Train MetFA-VI whole and without each of its parts, from the same source to the same target."""
    require_options_of_a_run(options)
    variants = [f"{variant}: {own}" for variant, own in VARIANTS.items()]
    claim(output, [source, target, str(source_roi), str(target_roi), *variants, *options])
    direction = Direction("source-to-target", DomainChoice(source, source_roi), DomainChoice(target, target_roi))
    runs = [Run(direction, "metfa-vi", seed) for seed in range(seeds)]
    results: dict[str, list[Result]] = {}
    for number, (variant, own) in enumerate(VARIANTS.items()):
        runner = Runner(output / "runs" / str(number), (*options, *own.split()), (), jobs)
        for run, failure in runner.carry_out(runs).items():
            click.echo(f"{variant}, seed {run.seed} failed: {failure}", err=True)
        results[variant] = [read_result(run, runner.bundle(run)) for run in runs if runner.is_finished(run)]
    command = shlex.join(["python", "-m", "benchmarks.tables.ablation", *sys.argv[1:]])
    table = _table(results, seeds)
    write_text(output / "ablation.md", f"`{command}`\n\n{table}\n")
    write_text(output / "ablation.json", _record(results, command))
    click.echo(table)
    if any(len(of_variant) < seeds for of_variant in results.values()):
        sys.exit(1)


def _table(results: Mapping[str, Sequence[Result]], seeds: int) -> str:
    lines = [
        f"Macro F1 on the target, mean ± standard deviation over {seeds} seeds; **the oracle needs target labels**.",
        "",
        "| | options | chosen by validators | last step | oracle |",
        "|---|---|---|---|---|",
    ]
    for variant, of_variant in results.items():
        if not of_variant:
            continue
        cells = [spread([COLUMNS[name](each.evaluation) for each in of_variant]) for name in SCORES]
        lines.append(f"| {variant} | `{VARIANTS[variant] or ' '}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def _record(results: Mapping[str, Sequence[Result]], command: str) -> str:
    runs = [
        {
            "variant": variant,
            "options": VARIANTS[variant],
            "seed": each.run.seed,
            **{name: COLUMNS[name](each.evaluation) for name in SCORES},
        }
        for variant, of_variant in results.items()
        for each in of_variant
    ]
    return record_of_runs({"benchmark": "ablation", "command": command, "host": host()}, runs)


if __name__ == "__main__":
    main()
