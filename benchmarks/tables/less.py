"""What adaptation loses without the source's images, and what a few labels of the target bring.

::

    python -m benchmarks.tables.less --source mnist --target optdigits --both-directions --output less --no-flip

A network that was trained on the source alone is adapted with the source's images, and without them from its bundle.
Then a few images of each class of the target's training split are labelled. Domains, jobs and options are as for
``benchmarks.tables``, and so is what happens after an interruption. ``--model`` holds the options that make the model,
which rows without the source's images take from the bundle. The output directory holds ``less.md``, ``less.json`` and,
in ``runs/``, the bundles.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click
import cv2
import numpy as np

from metfa.runtime.benchmark.machine import host
from metfa.runtime.files import write_text
from metfa.runtime.imaging.preprocess import to_grey
from metfa.training.cli.run_options import make_config
from metfa.training.cli.train import main as metfa_train
from metfa.training.data.decoding import Preparation
from metfa.training.data.prepared import read_domain
from metfa.training.data.readers import list_domain

from .report import COLUMNS, Result, read_result, record_of_runs, spread
from .runs import (
    NOT_OF_A_RUN,
    Direction,
    DomainChoice,
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


class Row(NamedTuple):
    """A row of the table.

    Attributes:
        method: that is trained.
        source: whether the source's images are there.
        labels: of each class of the target.
    """

    method: MethodName
    source: bool
    labels: int


FIRST = "source-only"

ROWS: Mapping[str, Row] = {
    FIRST: Row("source-only", True, 0),
    "adabn": Row("adabn", False, 0),
    "metfa-vi": Row("metfa-vi", True, 0),
    "metfa-vi, source-free": Row("metfa-vi", False, 0),
    "shot": Row("shot", True, 0),
    "shot, source-free": Row("shot", False, 0),
    **{f"metfa-vi, source-free, {n} label{'s' * (n > 1)}": Row("metfa-vi", False, n) for n in (1, 3, 5)},
    "fully-supervised": Row("fully-supervised", True, 0),
}


@table_command()
@table_options
@directions_option
@click.option("--seeds", type=click.IntRange(min=1), default=5, help="Runs of each row: seeds 0, 1, …")
@click.option("--model", default="", help="Options of metfa-train that make the model, as '--input-size 64x64'.")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Directory of table, record and runs.")
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="")
def main(
    source: str,
    target: str,
    source_roi: Roi,
    target_roi: Roi,
    both_directions: bool,
    seeds: int,
    model: str,
    jobs: int,
    output: Path,
    options: tuple[str, ...],
) -> None:
    """Adapt with the source's images and without, with no label of the target and with a few."""
    of_model = shlex.split(model)
    require_options_of_a_run((*options, *of_model))
    claim(output, [source, target, str(source_roi), str(target_roi), model, *options])
    domains = DomainChoice(source, source_roi), DomainChoice(target, target_roi)
    directions = make_directions(*domains, both=both_directions)
    results: dict[str, list[Result]] = {}
    for number, (name, row) in enumerate(ROWS.items()):
        runner = Runner(output / "runs" / str(number), (*options, *(of_model if row.source else ())), (), jobs)
        runs = [
            Run(direction, row.method, seed, _own_options(output, direction, row, seed, (*options, *of_model)))
            for direction in directions
            for seed in range(seeds)
        ]
        for run, failure in runner.carry_out(runs).items():
            click.echo(f"{name}, {run.direction.name}, seed {run.seed} failed: {failure}", err=True)
        results[name] = [read_result(run, runner.bundle(run)) for run in runs if runner.is_finished(run)]
    command = shlex.join(["python", "-m", "benchmarks.tables.less", *sys.argv[1:]])
    table = "\n\n".join(_table(results, direction, seeds) for direction in directions)
    write_text(output / "less.md", f"`{command}`\n\n{table}\n")
    write_text(output / "less.json", _record(results, command))
    click.echo(table)
    if any(len(of_row) < seeds * len(directions) for of_row in results.values()):
        sys.exit(1)


def _own_options(output: Path, direction: Direction, row: Row, seed: int, options: Sequence[str]) -> tuple[str, ...]:
    """Return the options of a run that depend on its direction and seed."""
    own: list[str] = []
    if not row.source:
        own += ["--from", str(output / "runs" / "0" / Run(direction, FIRST, seed).name)]
    if row.labels:
        directory = output / "labelled" / direction.name / str(seed) / str(row.labels)
        if not directory.exists():
            _label(directory, direction.target, row.labels, seed, options)
        own += ["--labelled-target", str(directory)]
    return tuple(own)


def _label(directory: Path, target: DomainChoice, number: int, seed: int, options: Sequence[str]) -> None:
    """Write ``number`` images of each class of the target's training split into a folder of each class."""
    values = metfa_train.make_context("metfa-train", ["--seed", str(seed), *options]).params
    config = make_config(**{name: value for name, value in values.items() if name not in NOT_OF_A_RUN})
    listing = list_domain(target.specification)
    domain = read_domain(listing, Preparation(config.height, config.width, target.region))
    domain = domain.divide(config.seed, by_class=False)
    order = np.random.default_rng(seed).permutation(domain.rows("train")).tolist()
    for label in domain.classes:
        (directory / label).mkdir(parents=True)
        for row in [row for row in order if domain.labels[row] == label][:number]:
            cv2.imwrite(str(directory / label / f"{row}.png"), to_grey(domain.image(row)))


def _table(results: Mapping[str, Sequence[Result]], direction: Direction, seeds: int) -> str:
    lines = [
        f"{direction.source.specification} → {direction.target.specification}: macro F1 on the target, mean ± standard "
        f"deviation over {seeds} seeds, and what is to be had without labels or images of the source.",
        "",
        "| | chosen without target labels | last step |",
        "|---|---|---|",
    ]
    for name, of_row in results.items():
        here = [each.evaluation for each in of_row if each.run.direction == direction]
        if here:
            cells = [spread([COLUMNS[score](each) for each in here]) for score in ("target F1", "target F1, last step")]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _record(results: Mapping[str, Sequence[Result]], command: str) -> str:
    runs = [
        {
            "row": name,
            **ROWS[name]._asdict(),
            "direction": each.run.direction.name,
            "seed": each.run.seed,
            "target F1": COLUMNS["target F1"](each.evaluation),
            "target F1, last step": COLUMNS["target F1, last step"](each.evaluation),
        }
        for name, of_row in results.items()
        for each in of_row
    ]
    return record_of_runs({"benchmark": "less", "command": command, "host": host()}, runs)


if __name__ == "__main__":
    main()
