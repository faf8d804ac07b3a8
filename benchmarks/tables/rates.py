"""Each method at the learning rate that the rule of ``metfa-tune`` prefers, of three, without target labels.

::

    python -m benchmarks.tables.rates --source mnist --target optdigits --output rates --methods mme,metfa-vi --no-flip

A method's own rate was chosen by its authors, for other networks and data. Here each is trained at a third of it, at
it, and at three times it, and each seed takes the run that the rule prefers. Domains, seeds, jobs and options are as
for ``benchmarks.tables``, and so is what happens after an interruption. The output directory holds ``rates.md``,
``rates.json`` and, in ``runs/``, the bundles.
"""

from __future__ import annotations

import shlex
import statistics
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from metfa.runtime.benchmark.machine import host
from metfa.runtime.files import write_text
from metfa.training.development import adapts
from metfa.training.methods import METHODS
from metfa.training.names import DEFAULTS
from metfa.training.tuning.trials import Model, Trial, winner

from .report import COLUMNS, Result, read_result, record_of_runs, spread
from .runs import (
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
    from collections.abc import Mapping, Sequence

    from metfa.runtime.bundle.contract import Roi
    from metfa.training.names import MethodName

    from .runs import Direction

FACTORS: Mapping[float, str] = {1.0: "its own rate", 0.33: "a third of it", 3.0: "three times it"}
"""Of a method's learning rate, whose own comes first: of equals, the rule takes the earliest."""

SCORE = COLUMNS["target F1"]

Results = dict[Run, dict[float, Result]]
"""The finished runs, by the run at the method's own rate and by the factor."""


@table_command()
@table_options
@directions_option
@click.option("--methods", type=MethodsType(), required=True, help="Rows of the table.")
@click.option("--seeds", type=click.IntRange(min=1), default=5, help="Runs of each row: seeds 0, 1, …")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Directory of table, record and runs.")
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
    output: Path,
    options: tuple[str, ...],
) -> None:
    """Train methods at three learning rates each, and take what the rule prefers."""
    require_options_of_a_run(options)
    claim(output, [source, target, str(source_roi), str(target_roi), *options])
    domains = DomainChoice(source, source_roi), DomainChoice(target, target_roi)
    directions = make_directions(*domains, both=both_directions)
    runs = [Run(direction, method, seed) for seed in range(seeds) for direction in directions for method in methods]
    results: Results = {run: {} for run in runs}
    failed = False
    for factor in FACTORS:
        rates = [(method, f"--learning-rate {factor * DEFAULTS[method].learning_rate:g}") for method in methods]
        runner = Runner(output / "runs" / f"{factor:g}", options, rates, jobs)
        for run, failure in runner.carry_out(runs).items():
            click.echo(f"{run.name} at {FACTORS[factor]} failed: {failure}", err=True)
            failed = True
        for run in runs:
            if runner.is_finished(run):
                results[run][factor] = read_result(run, runner.bundle(run))
    if results := {run: of_run for run, of_run in results.items() if of_run}:
        _write(output, directions, results)
    if failed:
        sys.exit(1)


def _write(output: Path, directions: Sequence[Direction], results: Results) -> None:
    command = shlex.join(["python", "-m", "benchmarks.tables.rates", *sys.argv[1:]])
    tables = [
        f"### {direction.source.specification} → {direction.target.specification}\n\n"
        + _table({run: of_run for run, of_run in results.items() if run.direction == direction})
        for direction in directions
    ]
    text = "\n\n".join(tables)
    write_text(output / "rates.md", f"`{command}`\n\n{text}\n")
    write_text(output / "rates.json", _record(results, command))
    click.echo(text)


def preferred(of_run: Mapping[float, Result]) -> float:
    """Return the factor of the rate that the rule of ``metfa-tune`` prefers; at least one run has ended."""
    trials = []
    (method,) = {result.run.method for result in of_run.values()}
    for number, (factor, result) in enumerate(of_run.items(), 1):
        selected = result.evaluation.selected_step
        (validators,) = (each.validators for each in result.evaluation.candidates if each.step == selected)
        trials.append(Trial(number, {"factor": factor}, Model(selected, validators), "finished"))
    return float(winner(trials, adapts=adapts(METHODS[method])).parameters["factor"])


def _table(results: Results) -> str:
    headings = ["method", *FACTORS.values(), "chosen by the rule", "how often each", "best rate on average"]
    lines = [f"| {' | '.join(headings)} |", "|---" * len(headings) + "|"]
    for method in dict.fromkeys(run.method for run in results):
        of_method = [of_run for run, of_run in results.items() if run.method == method]
        at_each = {
            factor: [SCORE(of_run[factor].evaluation) for of_run in of_method if factor in of_run] for factor in FACTORS
        }
        chosen = [preferred(of_run) for of_run in of_method]
        counts = Counter(chosen)
        cells = [
            *(spread(scores) if scores else "–" for scores in at_each.values()),
            spread([SCORE(of_run[factor].evaluation) for factor, of_run in zip(chosen, of_method, strict=True)]),
            ", ".join(f"{name}: {counts[factor]}" for factor, name in FACTORS.items() if counts[factor]),
            f"{max(statistics.mean(scores) for scores in at_each.values() if scores):.3f}",
        ]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _record(results: Results, command: str) -> str:
    runs: Sequence[dict[str, object]] = [
        {
            "direction": run.direction.name,
            "method": run.method,
            "seed": run.seed,
            "factor": factor,
            "preferred": factor == preferred(of_run),
            "learning_rate": result.config.learning_rate,
            **{name: COLUMNS[name](result.evaluation) for name in ("source F1", "target F1", "target F1, oracle")},
        }
        for run, of_run in results.items()
        for factor, result in of_run.items()
    ]
    return record_of_runs({"benchmark": "rates", "command": command, "host": host()}, runs)


if __name__ == "__main__":
    main()
