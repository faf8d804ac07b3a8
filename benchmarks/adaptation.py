"""Macro F1 on held-out frames of both devices, source-only against MetFA, as mean and spread over seeds.

Source-only is shown a second time with the target's batch-norm statistics, which need no labels either, so that one can
see how much of the gain is theirs.

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
import torch

from metfa.runtime import Bundle, records
from metfa.runtime.command import Command
from metfa.runtime.contract import software
from metfa.runtime.errors import BundleError
from metfa.runtime.files import write_text
from metfa.training.batch_norm import adopt_statistics
from metfa.training.config import TrainingConfig
from metfa.training.data.domain import Domain, Split, read_domain
from metfa.training.data.store import FrameStore, load_store
from metfa.training.evaluate import evaluate
from metfa.training.train import CONFIG, EVALUATION
from metfa.training.weights import load_network

from .commands import run

DEMO_OPTIONS = ("--input-size", "56x72", "--steps", "800")
"""Small enough for two CPU cores; enough for the phantom."""

STATISTICS_ONLY = "source-only, B's batch norm"
ROWS = ("source-only", STATISTICS_ONLY, "metfa-v")
DOMAINS = ("source", "target")
RESULTS = Path("benchmarks/results")


@click.command(cls=Command)
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS / "adaptation.json", show_default=True)
@click.argument("options", nargs=-1)
def main(seeds: int, output: Path, options: tuple[str, ...]) -> None:
    """Train each method with seeds 0, 1, … and tabulate."""
    options = options or DEMO_OPTIONS
    scores: dict[str, dict[str, list[float]]] = {row: {domain: [] for domain in DOMAINS} for row in ROWS}
    with tempfile.TemporaryDirectory() as directory:
        for seed in range(seeds):
            for method in ("source-only", "metfa-v"):
                bundle = Path(directory, f"{method}-{seed}")
                run("metfa-train", "--method", method, "--seed", seed, "--bundle", bundle, *options)
                evaluation = json.loads((bundle / EVALUATION).read_text(encoding="utf-8"))
                for domain in DOMAINS:
                    scores[method][domain].append(evaluation[domain]["f1"])
            for domain, f1 in zip(
                DOMAINS, _with_target_statistics(Path(directory, f"source-only-{seed}")), strict=True
            ):
                scores[STATISTICS_ONLY][domain].append(f1)
    gains = [
        adapted - before
        for before, adapted in zip(scores["source-only"]["target"], scores["metfa-v"]["target"], strict=True)
    ]
    report = {
        "benchmark": "adaptation",
        "software": software(),
        "torch": torch.__version__,
        "options": list(options),
        "seeds": seeds,
        "macro_f1": scores,
        "gain_on_target": gains,
    }
    write_text(output, json.dumps(report, indent=2) + "\n")
    click.echo(f"\n{'macro F1':28} {'source':>15} {'target':>15}   ({seeds} seeds)")
    for row in ROWS:
        click.echo(f"{row:28} " + " ".join(f"{_spread(scores[row][domain]):>15}" for domain in DOMAINS))
    click.echo(f"gain of metfa-v over source-only on the target: {_spread(gains)}")


def _with_target_statistics(directory: Path) -> tuple[float, float]:
    """Return macro F1 on source and target of a bundle's network with the target's batch-norm statistics (AdaBN)."""
    bundle = Bundle.open(directory)
    network = load_network(bundle)
    config = records.from_json(
        TrainingConfig, bundle.path(CONFIG).read_bytes(), origin=CONFIG, remedy="train again", error=BundleError
    )
    target = read_domain(config.target, seed=config.seed, by_class=False)

    def store(domain: Domain, split: Split) -> FrameStore:
        region = config.target_region if domain is target else config.source_region
        labels = bundle.contract.labels
        return load_store(domain, split, labels, height=config.height, width=config.width, region=region)

    adopt_statistics(network, store(target, "train").frames)
    source = read_domain(config.source, seed=config.seed, by_class=True)
    return evaluate(network, store(source, "test")).f1, evaluate(network, store(target, "test")).f1


def _spread(values: list[float]) -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.3f} ± {deviation:.3f}"


if __name__ == "__main__":
    main()
