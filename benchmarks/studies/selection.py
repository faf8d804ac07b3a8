"""Which rule chooses best among the candidates of a run? Computed from the records that ``benchmarks.tables`` leaves.

::

    python -m benchmarks.studies.selection benchmarks/results/*/runs.json
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from metfa.runtime.bundle import records
from metfa.runtime.command import Command
from metfa.runtime.errors import DataError
from metfa.training.selection.rule import choose, sound_ones
from metfa.training.selection.validators import Validators

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ENSEMBLE = ("ami", "information_maximisation", "nuclear_norm")
"""The validators whose ranks the ensemble adds up."""

_NO_CHOICE = {"source-only", "fine-tuned", "fully-supervised"}
"""Methods whose candidates are judged by labels, and of which there is nothing to learn here."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """The candidates of one run.

    Attributes:
        record: the table that the run is of.
        pair: which domains, in which direction.
        method: that was trained.
        validators: of each candidate, in the order of their steps.
        target_f1: of each, macro F1 on the target's test frames, which no rule may look at.
    """

    record: str
    pair: str
    method: str
    validators: tuple[Validators, ...]
    target_f1: tuple[float, ...]


def _best(value: Callable[[Validators], float]) -> Callable[[Sequence[Validators]], int]:
    """Return the rule that takes the greatest value among sound candidates; of equals, the latest."""

    def rule(candidates: Sequence[Validators]) -> int:
        sound = _sound(candidates)
        return max(sound, key=lambda index: (value(candidates[index]), index))

    return rule


def _ensemble(candidates: Sequence[Validators]) -> int:
    sound = _sound(candidates)
    values = np.array([[getattr(candidates[index], name) for name in ENSEMBLE] for index in sound])
    ranks = (values[:, None] > values[None]).sum(axis=(1, 2))
    return max(zip(sound, ranks.tolist(), strict=True), key=lambda pair: (pair[1], pair[0]))[0]


def _sound(candidates: Sequence[Validators]) -> list[int]:
    return sound_ones(candidates) or list(range(len(candidates)))


RULES: dict[str, Callable[[Sequence[Validators]], int]] = {
    "last step": lambda candidates: len(candidates) - 1,
    "the rule of metfa: the last sound step": lambda candidates: choose(candidates, adapts=True),
    "AMI": _best(lambda each: each.ami),
    "information maximisation": _best(lambda each: each.information_maximisation),
    "nuclear norm": _best(lambda each: each.nuclear_norm),
    "neighbourhood density": _best(lambda each: each.neighbourhood_density),
    "source accuracy": _best(lambda each: each.supervised_accuracy),
    "ensemble of ranks": _ensemble,
}


@click.command(cls=Command)
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUNS.json…")
@click.option("--each", is_flag=True, help="Also say what metfa's rule of today takes in each row of each table.")
def main(paths: tuple[Path, ...], *, each: bool) -> None:
    """Compare rules of selection: mean target F1 of what each chooses, and what it loses against the oracle."""
    runs = [run for path in paths for run in read_runs(path)]
    if not runs:
        raise DataError(expected="runs of methods that adapt", received="none", remedy="name the runs.json of a table")
    methods = sorted({run.method for run in runs})
    click.echo(f"Runs: {len(runs)}, of {', '.join(methods)}; pairs: {len({run.pair for run in runs})}")
    click.echo(f"{'':38}  {'target F1':>9}  {'lost':>6}  {'at worst':>8}")
    for name, (f1, lost, worst) in compare(runs).items():
        click.echo(f"{name:38}  {f1:9.4f}  {lost:6.4f}  {worst:8.4f}")
    for row, scores in by_row(runs).items() if each else ():
        deviation = f" ± {stdev(scores):.3f}" if len(scores) > 1 else ""
        click.echo(f"{', '.join(row)}: {mean(scores):.3f}{deviation} ({len(scores)})")


def by_row(runs: Sequence[Candidates]) -> dict[tuple[str, str, str], list[float]]:
    """Return the target F1 of what metfa's rule takes of each run, by record, pair and method."""
    rows: dict[tuple[str, str, str], list[float]] = {}
    for run in runs:
        row = rows.setdefault((run.record, run.pair, run.method), [])
        row.append(run.target_f1[choose(run.validators, adapts=True)])
    return rows


def read_runs(path: Path) -> list[Candidates]:
    """Return the runs of a table whose method adapts.

    Raises:
        DataError: there is no such record.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["runs"]
        return [_candidates(path.parent.name, run) for run in found if run["method"] not in _NO_CHOICE]
    except (OSError, ValueError, KeyError, TypeError) as cause:
        raise DataError(
            expected=f"runs.json as benchmarks.tables writes it in {path}",
            received=str(cause).splitlines()[0],
            remedy="name such a file, or make the table again",
        ) from None


def compare(runs: Sequence[Candidates]) -> dict[str, tuple[float, float, float]]:
    """Return of each rule the mean target F1, and what it loses against the best candidate: on average, at worst."""
    compared = {}
    for name, rule in RULES.items():
        chosen = [run.target_f1[rule(run.validators)] for run in runs]
        lost = [max(run.target_f1) - f1 for run, f1 in zip(runs, chosen, strict=True)]
        compared[name] = (mean(chosen), mean(lost), max(lost))
    return compared


def _candidates(record: str, run: dict[str, Any]) -> Candidates:
    kept = run["evaluation"]["candidates"]
    validators = [
        records.from_json(
            Validators,
            json.dumps({"accuracy_error": 0.0, **each["validators"]}),  # which older records lack
            origin="a run",
            remedy="make it again",
            error=DataError,
        )
        for each in kept
    ]
    config = run["config"]
    return Candidates(
        record=record,
        pair=f"{config['source']} → {config['target']}",
        method=run["method"],
        validators=tuple(validators),
        target_f1=tuple(each["target_f1"] for each in kept),
    )


if __name__ == "__main__":
    main()
