"""What is left of scanners A and B, once a model has been adapted from A to B and on to C without their images.

::

    python -m benchmarks.studies.continual --first mnist --second optdigits --third semeion --output continual --no-flip

Each bundle of the chain is scored on the test split of each domain: that of ``source-only``, that which was adapted to
the second domain, that which was adapted from there to the third, and one that was adapted from the first to the third
at once. Options go to ``metfa-train``; ``--model`` holds those that make the model.
"""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from metfa.runtime.benchmark.machine import host
from metfa.runtime.bundle.directory import Bundle
from metfa.runtime.command import Command
from metfa.runtime.files import write_text
from metfa.runtime.parameters import RoiType
from metfa.training.evaluation.held_out import read_held_out
from metfa.training.evaluation.model import evaluate
from metfa.training.weights import load_network

from ..commands import make_bundle
from ..tables.report import spread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from metfa.runtime.bundle.contract import Roi

MODELS = ("A", "A → B", "A → B → C", "A → C")


@click.command(
    cls=Command,
    context_settings={"show_default": True, "max_content_width": 120, "ignore_unknown_options": True},
    options_metavar="[OPTIONS] [OPTIONS OF metfa-train]",
)
@click.option("--first", required=True, help="The labelled domain A.")
@click.option("--second", required=True, help="The domain B, with labels that score the result.")
@click.option("--third", required=True, help="The domain C, likewise.")
@click.option("--first-roi", type=RoiType(), default="full", help="Part of the first domain's images.")
@click.option("--seeds", type=click.IntRange(min=1), default=5, help="Chains: seeds 0, 1, …")
@click.option("--model", default="", help="Options of metfa-train that make the model.")
@click.option(
    "--output", type=click.Path(path_type=Path), required=True, help="Directory of table, record and bundles."
)
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="")
def main(
    first: str,
    second: str,
    third: str,
    first_roi: Roi,
    seeds: int,
    model: str,
    output: Path,
    options: tuple[str, ...],
) -> None:
    """Adapt from A to B and on to C, and score every bundle on every domain."""
    scores: dict[str, dict[str, list[float]]] = {name: {domain: [] for domain in "ABC"} for name in MODELS}
    region = ["--source-roi", str(first_roi)] if first_roi else []
    for seed in range(seeds):
        directory = output / "runs" / str(seed)
        common = [*options, "--seed", str(seed)]
        begin = ["--source", first, *region, "--target", second, "--method", "source-only", *shlex.split(model)]
        a, ab, abc, ac = (directory / name for name in ("a", "ab", "abc", "ac"))
        make_bundle(a, *begin, *common, export=False)
        make_bundle(ab, "--from", a, "--target", second, *common, export=False)
        make_bundle(abc, "--from", ab, "--target", third, *common, export=False)
        make_bundle(ac, "--from", a, "--target", third, *common, export=False)
        for name, bundle in zip(MODELS, (a, ab, abc, ac), strict=True):
            for domain, specification in zip("ABC", (first, second, third), strict=True):
                scores[name][domain].append(_score(bundle, specification, first_roi if domain == "A" else None))
        table = _table(scores)
        write_text(output / "continual.md", table + "\n")
        write_text(output / "continual.json", _record(scores))
    click.echo(table)


def _score(directory: Path, specification: str, region: Roi) -> float:
    bundle = Bundle.open(directory)
    return evaluate(load_network(bundle), read_held_out(bundle, specification, region=region).store).f1


def _table(scores: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    lines = ["| bundle | macro F1 on A | on B | on C |", "|---|---|---|---|"]
    for name, of_model in scores.items():
        lines.append(f"| {name} | {' | '.join(map(spread, of_model.values()))} |")
    return "\n".join(lines)


def _record(scores: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    command = shlex.join(["python", "-m", "benchmarks.studies.continual", *sys.argv[1:]])
    return json.dumps({"benchmark": "continual", "command": command, "host": host(), "scores": scores}) + "\n"


if __name__ == "__main__":
    main()
