"""How well the scores that frames can be rejected by tell classes that were trained on from one that was not.

::

    METFA_DATA=… python -m benchmarks.studies.rejection

Each class of the organs is left out of training once, in both domains; its frames on scanner B stand for what shows no
plane that the model knows.
"""

from __future__ import annotations

import csv
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from metfa.runtime import PlaneClassifier
from metfa.runtime.benchmark.machine import host
from metfa.runtime.command import Command
from metfa.runtime.files import write_text
from metfa.runtime.imaging.images import read_image

from ..commands import run
from ..decisions.quality import compare_scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from metfa.runtime import Prediction

OPTIONS = ("--input-size", "64x64", "--steps", "300", "--candidates", "3", "--threads", "1")


@click.command(cls=Command)
@click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True)
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("benchmarks/results/rejection.json"), show_default=True
)
def main(seeds: int, output: Path) -> None:
    """Train without each class in turn, and compare the scores on frames of scanner B."""
    if "METFA_DATA" not in os.environ:
        raise click.UsageError("METFA_DATA does not name the folder of real data")
    organs = Path(os.environ["METFA_DATA"], "ultrasound", "organs")
    with (organs / "manifest.csv").open(newline="", encoding="utf-8") as file:
        of_scanner = [row for row in csv.DictReader(file) if row["domain"] == "B"]
    labels = sorted({row["label"] for row in of_scanner})
    comparisons = []
    for left_out in labels:
        known = [row["path"] for row in of_scanner if row["label"] != left_out and row["split"] == "test"]
        unknown = [row["path"] for row in of_scanner if row["label"] == left_out]
        for seed in range(seeds):
            with tempfile.TemporaryDirectory() as temporary:
                classifier = _train(organs, [label for label in labels if label != left_out], seed, Path(temporary))
            scores = compare_scores(_classify(classifier, organs, known), _classify(classifier, organs, unknown))
            comparisons.append(
                {"left_out": left_out, "seed": seed, "known": len(known), "unknown": len(unknown), "scores": scores}
            )
            click.echo(json.dumps(comparisons[-1]))
    report = {
        "benchmark": "rejection",
        "host": host(),
        "training": f"metfa-train {' '.join(OPTIONS)}",
        "comparisons": comparisons,
    }
    write_text(output, json.dumps(report, indent=2) + "\n")


def _train(organs: Path, labels: Sequence[str], seed: int, directory: Path) -> PlaneClassifier:
    """Return a classifier that was adapted from scanner A to scanner B on the images of some classes."""
    manifest = directory / "known.csv"
    with (organs / "manifest.csv").open(newline="", encoding="utf-8") as file, manifest.open("w", newline="") as known:
        reader = csv.DictReader(file)
        writer = csv.DictWriter(known, reader.fieldnames or ())
        writer.writeheader()
        writer.writerows(row for row in reader if row["label"] in labels)
    for folder in "AB":  # the manifest's paths are relative to its own folder
        (directory / folder).symlink_to(organs / folder)
    bundle = directory / "bundle"
    domains = ("--source", f"{manifest}?domain=A", "--target", f"{manifest}?domain=B")
    run("metfa-train", *domains, "--bundle", bundle, "--seed", seed, *OPTIONS)
    run("metfa-export", bundle)
    return PlaneClassifier.load(bundle, backend="cpu")


def _classify(classifier: PlaneClassifier, organs: Path, paths: Sequence[str]) -> list[Prediction]:
    return [classifier(read_image(organs / path)) for path in paths]


if __name__ == "__main__":
    main()
