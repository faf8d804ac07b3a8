"""What other times and thresholds of the decisions trade, and what false events are, on the scans to choose them on.

::

    python -m benchmarks.studies.settings
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Literal

import click
import numpy as np

from metfa.runtime import Bundle
from metfa.runtime.backends import Inference
from metfa.runtime.benchmark.machine import host
from metfa.runtime.bundle.directory import ONNX
from metfa.runtime.command import Command
from metfa.runtime.files import write_text

from ..decisions.quality import compare_on_scan, judge, runs
from ..decisions.scans import OPTIONS, SCANNER, Scan, decide, load_classifiers, network_options, record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from metfa.runtime import ModelContract, PlaneClassifier

    from ..decisions.quality import Quality, Run

FIRST_SEED, SCANS = 500, 3
"""Of the scans; ``benchmarks.decisions`` measures on others."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Fields of the contract's ``decision``; the temperature is the fitted one or 1."""

    temperature: Literal["fitted", "1"]
    enter: float
    exit: float
    smoothing_ms: float
    dwell_ms: float


TIMES_AND_THRESHOLDS = (
    (0.8, 0.5, 150.0, 100.0),  # the defaults
    (0.8, 0.5, 200.0, 100.0),
    (0.8, 0.5, 300.0, 200.0),
    (0.8, 0.3, 200.0, 100.0),
    (0.9, 0.5, 300.0, 200.0),
    (0.9, 0.5, 500.0, 400.0),
    (0.9, 0.5, 150.0, 50.0),
    (0.7, 0.5, 200.0, 100.0),
    (0.7, 0.5, 200.0, 200.0),
    (0.7, 0.4, 150.0, 100.0),
    (0.7, 0.3, 200.0, 100.0),
    (0.6, 0.4, 300.0, 200.0),
    (0.6, 0.4, 200.0, 100.0),
    (0.6, 0.4, 200.0, 200.0),
    (0.6, 0.3, 150.0, 200.0),
)
SETTINGS = tuple(Settings(temperature, *each) for temperature in ("fitted", "1") for each in TIMES_AND_THRESHOLDS)
SCORES = ("precision", "recall", "false_per_minute", "seconds_to_detection", "labelled_background", "wrong_label")


@click.command(cls=Command)
@network_options
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("benchmarks/results/settings.json"), show_default=True
)
def main(directory: Path, seeds: int, seconds: int, output: Path) -> None:
    """Score what is decided with each of some settings."""
    classifiers = load_classifiers(directory, seeds)
    recorded = [record(classifiers, FIRST_SEED + number, seconds) for number in range(SCANS)]
    scans = [list(of_network) for of_network in zip(*recorded, strict=True)]  # by network
    rows = []
    for settings in SETTINGS:
        pairs = [
            (_shown(scan, classifier, settings), scan.truth)
            for classifier, each in zip(classifiers, scans, strict=True)
            for scan in each
        ]
        kinds = sum((classify_events(*pair) for pair in pairs), Counter[Kind]())
        rows.append({**asdict(settings), **_means([judge(*pair) for pair in pairs]), "kinds": dict(kinds)})
        click.echo(json.dumps(rows[-1]))
    report = {
        "benchmark": "settings",
        "host": host(),
        "training": f"metfa-train {' '.join(OPTIONS)}, seeds 0 to {seeds - 1}",
        "networks": [
            {
                "model_sha256": Bundle.open(directory / str(seed)).files[ONNX],
                "decision": asdict(classifier.contract.decision),
                **_describe(each, classifier.contract),
            }
            for seed, (classifier, each) in enumerate(zip(classifiers, scans, strict=True))
        ],
        "scans": {"scanner": f"phantom:{SCANNER}", "first_seed": FIRST_SEED, "number": SCANS, "seconds": seconds},
        "settings": rows,
    }
    write_text(output, json.dumps(report, indent=2) + "\n")
    click.echo(json.dumps(report["networks"], indent=1))


def _shown(scan: Scan, classifier: PlaneClassifier, settings: Settings) -> list[str | None]:
    """Return what is decided on each frame of a scan with these settings."""
    spec = replace(
        classifier.contract.decision,
        smoothing_ms=settings.smoothing_ms,
        enter=settings.enter,
        exit=settings.exit,
        dwell_ms=settings.dwell_ms,
    )
    if settings.temperature == "1":
        spec, scan = replace(spec, temperature=1.0), at_temperature(scan, 1.0)
    return decide(scan, spec, classifier.contract.labels)


def at_temperature(scan: Scan, temperature: float) -> Scan:
    """Return the scan with the probabilities that another temperature would give."""
    predictions = []
    for prediction in scan.predictions:
        inference = Inference(prediction.logits[np.newaxis], prediction.embedding[np.newaxis])
        probabilities = inference.calibrated(temperature)[0].astype(np.float32)
        confidence = float(probabilities.max())
        predictions.append(replace(prediction, probabilities=probabilities, confidence=confidence))
    return Scan(predictions, scan.truth)


def _means(qualities: Sequence[Quality]) -> dict[str, float | None]:
    """Return the mean of each score over the scans that have it."""
    means: dict[str, float | None] = {}
    for score in SCORES:
        known = [value for quality in qualities if (value := getattr(quality, score)) is not None]
        means[score] = mean(known) if known else None
    return means


Kind = Literal["right", "repeated", "of another plane", "on background alone"]


def classify_events(shown: Sequence[str | None], truth: Sequence[str | None]) -> Counter[Kind]:
    """Count events by what is wrong with them.

    A repeated one is of a plane that an earlier event was right on; one on background alone overlaps with no plane.
    """
    kinds: Counter[Kind] = Counter()
    found: set[Run] = set()
    for event in runs(shown):
        planes = [plane for plane in runs(truth) if plane.first < event.end and event.first < plane.end]
        own = {plane for plane in planes if plane.label == event.label}
        if not planes:
            kinds["on background alone"] += 1
        elif not own:
            kinds["of another plane"] += 1
        else:
            kinds["repeated" if own <= found else "right"] += 1
            found |= own
    return kinds


def _describe(scans: Sequence[Scan], contract: ModelContract) -> dict[str, object]:
    """Return how often a network is right on frames of planes, by plane, too, and what its scores tell."""
    frames = Scan(
        [each for scan in scans for each in scan.predictions], [each for scan in scans for each in scan.truth]
    )
    pairs = [(prediction.label, true) for prediction, true in zip(*frames, strict=True)]
    planes = sorted({true for _, true in pairs if true is not None})
    return {
        "right_on_planes": mean(said == true for said, true in pairs if true is not None),
        "said_of": {
            plane: dict(Counter(said for said, true in pairs if true == plane).most_common()) for plane in planes
        },
        "said_of_background": dict(Counter(said for said, true in pairs if true is None).most_common()),
        "rejection": compare_on_scan(frames, contract),
    }


if __name__ == "__main__":
    main()
