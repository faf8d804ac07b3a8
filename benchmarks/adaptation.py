"""Macro F1 on held-out frames of both devices, source-only against MetFA, as mean and spread over seeds.

Source-only is shown a second time with the target's batch-norm statistics, which need no labels either, so that one can
see how much of the gain is theirs. The source's column is with the source's statistics, but in that row.

::

    python -m benchmarks.adaptation --seeds 3

Options after ``--`` go to ``metfa-train``; without any, they are the demonstration's.
"""

from __future__ import annotations

import json
import platform
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
from metfa.training.config import CONFIG, TrainingConfig
from metfa.training.data.domain import Domain, Split, read_domain
from metfa.training.data.store import FrameStore, load_store
from metfa.training.evaluate import evaluate
from metfa.training.train import EVALUATION
from metfa.training.weights import load_network

from .commands import run

DEMO_OPTIONS = ("--input-size", "56x72", "--steps", "800")
"""Small enough for two CPU cores; enough for the phantom."""

ROWS = ("source-only", "source-only, target's batch norm", "metfa-v")
DOMAINS = ("source", "target")
RESULTS = Path("benchmarks/results")


@click.command(cls=Command)
@click.option("--source", default="phantom:A", show_default=True)
@click.option("--target", default="phantom:B", show_default=True, help="With labels, which only score.")
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS / "adaptation.json", show_default=True)
@click.argument("options", nargs=-1)
def main(source: str, target: str, seeds: int, output: Path, options: tuple[str, ...]) -> None:
    """Train each method with seeds 0, 1, … and tabulate."""
    options = options or DEMO_OPTIONS
    scores: dict[str, dict[str, list[float]]] = {row: {domain: [] for domain in DOMAINS} for row in ROWS}
    with tempfile.TemporaryDirectory() as directory:
        for seed in range(seeds):
            unadapted, adapted = Path(directory, f"source-only-{seed}"), Path(directory, f"metfa-v-{seed}")
            for method, bundle in (("source-only", unadapted), ("metfa-v", adapted)):
                domains = ("--source", source, "--target", target)
                run("metfa-train", "--method", method, *domains, "--bundle", bundle, "--seed", seed, *options)
            rows = (_macro_f1(unadapted), _with_target_statistics(unadapted), _macro_f1(adapted))
            for row, f1 in zip(ROWS, rows, strict=True):
                for domain in DOMAINS:
                    scores[row][domain].append(f1[domain])
    gains = [after - before for before, after in zip(scores[ROWS[0]]["target"], scores[ROWS[2]]["target"], strict=True)]
    report = {
        "benchmark": "adaptation",
        "command": f"python -m benchmarks.adaptation --source {source} --target {target} --seeds {seeds} -- "
        + " ".join(options),
        "host": {"software": software(), "torch": torch.__version__, "machine": platform.machine()},
        "macro_f1": scores,
        "mean_and_deviation": {
            row: {domain: _mean_and_deviation(values) for domain, values in of_row.items()}
            for row, of_row in scores.items()
        },
        "gain_on_target": {"seeds": gains, "mean_and_deviation": _mean_and_deviation(gains)},
    }
    write_text(output, json.dumps(report, indent=2) + "\n")
    click.echo(f"\n{'macro F1':34} {'source':>15} {'target':>15}   ({seeds} seeds)")
    for row in ROWS:
        click.echo(f"{row:34} " + " ".join(f"{_spread(scores[row][domain]):>15}" for domain in DOMAINS))
    click.echo(f"gain of metfa-v over source-only on the target: {_spread(gains)}")


def _macro_f1(bundle: Path) -> dict[str, float]:
    """Return macro F1 by domain, as ``metfa-train`` measured it."""
    evaluation = json.loads((bundle / EVALUATION).read_text(encoding="utf-8"))
    return {domain: evaluation[domain]["f1"] for domain in DOMAINS}


def _with_target_statistics(directory: Path) -> dict[str, float]:
    """Return macro F1 by domain of a bundle's network with the target's batch-norm statistics (AdaBN)."""
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
    return {
        "source": evaluate(network, store(source, "test")).f1,
        "target": evaluate(network, store(target, "test")).f1,
    }


def _mean_and_deviation(values: list[float]) -> tuple[float, float]:
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def _spread(values: list[float]) -> str:
    mean, deviation = _mean_and_deviation(values)
    return f"{mean:.3f} ± {deviation:.3f}"


if __name__ == "__main__":
    main()
