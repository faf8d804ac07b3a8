"""Whether training diverges: on few and many classes, at the default learning rate and above it.

::

    METFA_DATA=… python -m benchmarks.studies.stability

A run that is finished is not repeated, so an interrupted benchmark goes on where it stopped.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from shutil import unpack_archive
from statistics import mean, stdev
from typing import TYPE_CHECKING

import click

from metfa.runtime.benchmark.machine import host
from metfa.runtime.command import Command
from metfa.runtime.files import write_text
from metfa.training.metrics import read_metrics
from metfa.training.names import DEFAULTS, MethodName
from metfa.training.outcome import EVALUATION
from metfa.training.warnings import exploded_terms

from ..tables.runs import Direction, DomainChoice, Run, Runner

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

OPTIONS = ("--preset", "small", "--input-size", "64x64", "--candidates", "1", "--select", "last")
FACTORS = (1.0, 3.0)
"""Times the method's default learning rate."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the runs of one method on one pair at one learning rate.

    Attributes:
        classes: how many the pair has.
        method: that was trained.
        learning_rate: at the first step.
        runs: how many.
        diverged: how many ended in a number that is not finite.
        exploded: how many others metfa warns of.
        highest_prior: the largest value of the prior's term in any step of any run; None where there is no such term.
        target_f1: macro F1 of each finished run on the target's test images.
    """

    classes: int
    method: MethodName
    learning_rate: float
    runs: int
    diverged: int
    exploded: int
    highest_prior: float | None
    target_f1: tuple[float, ...]


@click.command(cls=Command, context_settings={"show_default": True})
@click.option("--method", "methods", type=click.Choice(list(DEFAULTS)), multiple=True, default=["metfa-v"])
@click.option(
    "--classes", type=click.Choice(["2", "3", "6", "10", "14"]), multiple=True, default=[], help="[default: all]"
)
@click.option("--factor", "factors", type=click.FloatRange(min=0, min_open=True), multiple=True, default=FACTORS)
@click.option("--seeds", type=click.IntRange(min=1), default=8)
@click.option("--steps", type=click.IntRange(min=1), default=300)
@click.option("--jobs", type=click.IntRange(min=1), default=2, help="Runs at a time.")
@click.option("--runs", "directory", type=click.Path(path_type=Path), default=Path("runs/stability"))
@click.option("--output", type=click.Path(path_type=Path), default=Path("benchmarks/results/stability.json"))
def main(
    methods: tuple[MethodName, ...],
    classes: tuple[str, ...],
    factors: tuple[float, ...],
    seeds: int,
    steps: int,
    jobs: int,
    directory: Path,
    output: Path,
) -> None:
    """Train on pairs of 2, 3, 6, 10 and 14 classes, and count the runs that diverge or explode."""
    if "METFA_DATA" not in os.environ:
        raise click.UsageError("METFA_DATA does not name the folder of real data")
    pairs = make_pairs(Path(os.environ["METFA_DATA"]), directory)
    outcomes = []
    for count in [int(each) for each in classes] or pairs:
        for method in methods:
            for factor in factors:
                rate = factor * DEFAULTS[method].learning_rate
                options = (*OPTIONS, "--steps", str(steps), "--learning-rate", f"{rate:g}")
                runner = Runner(directory / f"{steps}-steps" / f"{rate:g}", options, (), jobs)
                runs = [Run(pairs[count], method, seed) for seed in range(seeds)]
                outcomes.append(_judge(count, method, rate, runner, runs))
                click.echo(_line(outcomes[-1]))
    report = {
        "benchmark": "stability",
        "host": host(),
        "options": [*OPTIONS, "--steps", str(steps)],
        "outcomes": [asdict(outcome) for outcome in outcomes],
    }
    write_text(output, json.dumps(report, indent=2) + "\n")


def make_pairs(data: Path, directory: Path) -> Mapping[int, Direction]:
    """Return a pair of domains for each number of classes; of digits, organs and breasts together for fourteen."""
    ultrasound = data / "ultrasound"
    digits = {"A": directory / "optdigits", "B": directory / "mnist"}
    for folder in digits.values():
        if not folder.exists():
            unpack_archive(data / "digits" / f"{folder.name}.zip", directory)
    breast = {"A": ultrasound / "breast" / "logiq7", "B": ultrasound / "breast" / "logiq5"}
    for domain, folder in digits.items():
        mixed = directory / "fourteen" / domain
        mixed.mkdir(parents=True, exist_ok=True)
        parts = [*(folder / "train").iterdir(), *(ultrasound / "organs" / domain).iterdir()]
        for name, part in {**{each.name: each for each in parts}, "breast": breast[domain]}.items():
            if not (mixed / name).exists():
                (mixed / name).symlink_to(part.resolve())
    manifests = ultrasound / "breast" / "manifest.csv", ultrasound / "organs" / "manifest.csv"
    specifications = {
        2: (f"{manifests[0]}?device=GE Logiq 7", f"{manifests[0]}?device=GE Logiq 5"),
        3: (f"{manifests[1]}?domain=A", f"{manifests[1]}?domain=B"),
        6: ("phantom:A", "phantom:B"),
        10: (str(digits["A"]), str(digits["B"])),
        14: (str(directory / "fourteen" / "A"), str(directory / "fourteen" / "B")),
    }
    return {
        count: Direction(f"{count}-classes", DomainChoice(source, None), DomainChoice(target, None))
        for count, (source, target) in specifications.items()
    }


def _judge(classes: int, method: MethodName, rate: float, runner: Runner, runs: Sequence[Run]) -> Outcome:
    """Carry the runs out, and see what became of them.

    Raises:
        SystemExit: a run failed for another reason than divergence.
    """
    failures = runner.carry_out(runs)
    for run, failure in failures.items():
        if "finite" not in failure:
            raise SystemExit(f"{run.name} failed: {failure}")
    finished = [runner.bundle(run) for run in runs if runner.is_finished(run)]
    metrics = [read_metrics(bundle) for bundle in finished]
    priors = [line["prior"] for of_run in metrics for line in of_run if "prior" in line]
    return Outcome(
        classes=classes,
        method=method,
        learning_rate=rate,
        runs=len(runs),
        diverged=len(failures),
        exploded=sum(any(exploded_terms(of_run)) for of_run in metrics),
        highest_prior=max(priors, default=None),
        target_f1=tuple(_target_f1(finished)),
    )


def _target_f1(bundles: Sequence[Path]) -> Iterator[float]:
    for bundle in bundles:
        yield json.loads((bundle / EVALUATION).read_text(encoding="utf-8"))["target"]["f1"]


def _line(outcome: Outcome) -> str:
    scores = outcome.target_f1
    spread = f"{mean(scores):.3f} ± {stdev(scores):.3f}" if len(scores) > 1 else "-"
    prior = "-" if outcome.highest_prior is None else f"{outcome.highest_prior:.0f}"
    return (
        f"{outcome.classes:2} classes, {outcome.method}, learning rate {outcome.learning_rate:g}: {outcome.runs} runs, "
        f"{outcome.diverged} diverged, {outcome.exploded} exploded, prior up to {prior}, F1 on B {spread}"
    )


if __name__ == "__main__":
    main()
