"""What frames that were collected while streaming are worth: a model of scanner A meets scanner B, and is adapted.

A model that was trained on the phantom's scanner A alone labels the live scan of scanner B, collects frames of it, and
is adapted to them. Both are scored on the labelled stills of B, and so is a model that was adapted to stills of B,
among which there is background, too::

    python -m benchmarks.studies.collect
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from metfa.runtime import Bundle
from metfa.runtime.benchmark.machine import host
from metfa.runtime.command import Command
from metfa.runtime.files import write_text
from metfa.runtime.phantom import PLANES
from metfa.training.data.decoding import Preparation
from metfa.training.data.prepared import read_domain
from metfa.training.data.readers import list_domain
from metfa.training.data.readers.phantom import PHANTOM_IMAGES
from metfa.training.evaluation.model import evaluate
from metfa.training.weights import load_network

from ..commands import run

OPTIONS = ("--preset", "small", "--input-size", "56x72", "--steps", "400")
"""Small enough for two CPU cores."""


@dataclass(frozen=True, slots=True)
class Row:
    """One model.

    Attributes:
        model: how it came about.
        unlabelled: how many frames of scanner B it was adapted to.
        f1: macro F1 on the stills of scanner B that are for testing.
    """

    model: str
    unlabelled: int
    f1: float


@click.command(cls=Command)
@click.option("--seconds", type=click.IntRange(min=10), default=240, show_default=True, help="Of the scan of B.")
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("benchmarks/results/collect.json"), show_default=True
)
def main(seconds: int, output: Path) -> None:
    """Train, stream and collect, adapt, score."""
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        alone, collected, stills = directory / "source-only", directory / "collected", directory / "stills"
        frames = directory / "frames"
        run("metfa-train", "--method", "source-only", "--bundle", alone, *OPTIONS)
        run("metfa-export", alone)
        stream = ("--device", "phantom:B", "--seconds", seconds, "--no-window")
        run("metfa-stream", "--bundle", alone, *stream, "--collect", frames)
        run("metfa-train", "--target", frames, "--bundle", collected, *OPTIONS)
        run("metfa-train", "--bundle", stills, *OPTIONS)
        rows = [
            Row("source only", 0, _f1(alone)),
            Row(f"adapted to frames collected in {seconds} s", len(list(frames.iterdir())), _f1(collected)),
            Row("adapted to stills", (len(PLANES) + 2) * PHANTOM_IMAGES["train"], _f1(stills)),
        ]
    report = {"benchmark": "collect", "host": host(), "options": OPTIONS, "rows": [asdict(row) for row in rows]}
    write_text(output, json.dumps(report, indent=2) + "\n")
    for row in rows:
        click.echo(f"{row.model:40} {row.unlabelled:5d} frames of B   macro F1 on B {row.f1:.3f}")


def _f1(directory: Path) -> float:
    """Return the macro F1 of a bundle's network on the test stills of scanner B."""
    bundle = Bundle.open(directory)
    size = bundle.contract.input
    domain = read_domain(list_domain("phantom:B"), Preparation(size.height, size.width, None))
    return evaluate(load_network(bundle), domain.store(domain.rows("test"), bundle.contract.labels)).f1


if __name__ == "__main__":
    main()
