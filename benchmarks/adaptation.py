"""Macro F1 on held-out frames of both devices, source-only against MetFA, as mean and spread over seeds.

::

    python -m benchmarks.adaptation --seeds 3

Options after ``--`` go to ``metfa-train``; without any, they are the demonstration's.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from pathlib import Path

import click

from metfa.runtime.command import Command
from metfa.runtime.contract import software
from metfa.runtime.files import write_text
from metfa.training.train import EVALUATION

from .commands import run

DEMO_OPTIONS = ("--input-size", "56x72", "--steps", "800")
"""Small enough for two CPU cores; enough for the phantom."""

METHODS = ("source-only", "metfa-v")
DOMAINS = ("source", "target")
RESULTS = Path("benchmarks/results")


@click.command(cls=Command)
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS / "adaptation.json", show_default=True)
@click.argument("options", nargs=-1)
def main(seeds: int, output: Path, options: tuple[str, ...]) -> None:
    """Train each method with seeds 0, 1, … and tabulate."""
    options = options or DEMO_OPTIONS
    scores: dict[str, dict[str, list[float]]] = {method: {domain: [] for domain in DOMAINS} for method in METHODS}
    with tempfile.TemporaryDirectory() as directory:
        for seed in range(seeds):
            for method in METHODS:
                bundle = Path(directory, f"{method}-{seed}")
                run("metfa-train", "--method", method, "--seed", seed, "--bundle", bundle, *options)
                evaluation = json.loads((bundle / EVALUATION).read_text(encoding="utf-8"))
                for domain in DOMAINS:
                    scores[method][domain].append(evaluation[domain]["f1"])
    gains = [
        adapted - before
        for before, adapted in zip(scores["source-only"]["target"], scores["metfa-v"]["target"], strict=True)
    ]
    report = {
        "benchmark": "adaptation",
        "software": software(),
        "options": list(options),
        "seeds": seeds,
        "macro_f1": scores,
        "gain_on_target": gains,
    }
    write_text(output, json.dumps(report, indent=2) + "\n")
    click.echo(f"\n{'macro F1':12} {'source':>15} {'target':>15}   ({seeds} seeds)")
    for method in METHODS:
        click.echo(f"{method:12} " + " ".join(f"{_spread(scores[method][domain]):>15}" for domain in DOMAINS))
    click.echo(f"gain on the target: {_spread(gains)}")


def _spread(values: list[float]) -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.3f} ± {deviation:.3f}"


if __name__ == "__main__":
    main()
