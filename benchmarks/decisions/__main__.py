"""What decisions are worth on scans whose truth is known: the phantom sweeps over planes and what lies between them.

::

    python -m benchmarks.decisions
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

import click

from metfa.runtime import Bundle
from metfa.runtime.benchmark.machine import host
from metfa.runtime.bundle.directory import ONNX
from metfa.runtime.command import Command
from metfa.runtime.files import write_text

from .figure import draw
from .quality import calibration_error, compare_on_scan, judge, runs
from .scans import (
    DECISIONS,
    EACH_FRAME,
    OPTIONS,
    SCANNER,
    SYSTEMS,
    Recorded,
    load_classifiers,
    network_options,
    record,
    without_transitions,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .quality import Quality

FIRST_SEED = 600
"""Of the scans. Others were trained on; settings are chosen on those of ``benchmarks.studies.settings``."""


@click.command(cls=Command)
@network_options
@click.option("--scans", type=click.IntRange(min=3), default=4, show_default=True)
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("benchmarks/results/decisions.json"), show_default=True
)
@click.option("--figure", type=click.Path(path_type=Path), default=Path("docs/images/decisions.png"), show_default=True)
def main(directory: Path, seeds: int, scans: int, seconds: int, output: Path, figure: Path) -> None:
    """Score labels of each frame by itself, and what is decided, by each of SEEDS networks on SCANS scans."""
    classifiers = load_classifiers(directory, seeds)
    by_scan = [record(classifiers, FIRST_SEED + number, seconds) for number in range(scans)]
    recorded = [
        Recorded(scan, classifier.contract)
        for of_scan in by_scan
        for scan, classifier in zip(of_scan, classifiers, strict=True)
    ]
    rejects = any(each.contract.decision.rejection for each in recorded)
    shown = {
        name: [system(each) for each in recorded]
        for name, system in SYSTEMS.items()
        if rejects or name in {EACH_FRAME, DECISIONS}
    }
    qualities = {
        name: [judge(labelled, each.scan.truth) for labelled, each in zip(of_system, recorded, strict=True)]
        for name, of_system in shown.items()
    }
    report = {
        "benchmark": "decisions",
        "host": host(),
        "training": f"metfa-train {' '.join(OPTIONS)}, seeds 0 to {seeds - 1}",
        "networks": [
            {"model_sha256": Bundle.open(directory / str(seed)).files[ONNX], "decision": asdict(each.contract.decision)}
            for seed, each in enumerate(classifiers)
        ],
        "scans": {"scanner": f"phantom:{SCANNER}", "first_seed": FIRST_SEED, "number": scans, "seconds": seconds},
        "order": "scan by scan, of each the networks",
        "planes_in_truth": [len(runs(of_scan[0].truth)) for of_scan in by_scan],
        "systems": {name: [asdict(quality) for quality in each] for name, each in qualities.items()},
        "rejection": [compare_on_scan(*each) for each in recorded],
        "rejection_without_transitions": [
            compare_on_scan(without_transitions(scan), contract) for scan, contract in recorded
        ],
        "calibration_error": {
            "as trained": [calibration_error(each, 1.0) for each in recorded],
            "calibrated": [calibration_error(each, each.contract.decision.temperature) for each in recorded],
        },
    }
    write_text(output, json.dumps(report, indent=2) + "\n")
    _say(report, qualities)
    strips = {"truth": by_scan[0][0].truth, EACH_FRAME: shown[EACH_FRAME][0], DECISIONS: shown[DECISIONS][0]}
    draw(strips, qualities, figure)


def _spread(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "none"
    return f"{mean(known):.2f} ({min(known):.2f} to {max(known):.2f})"


_COLUMNS: Mapping[str, str] = {
    "precision": "precision",
    "recall": "recall",
    "false_per_minute": "false/min",
    "seconds_to_detection": "delay, s",
    "labelled_background": "background labelled",
    "wrong_label": "wrong plane",
}


def _say(report: Mapping[str, Any], qualities: Mapping[str, Sequence[Quality]]) -> None:
    """Print mean, least and most over the scans."""
    width = max(map(len, qualities))
    click.echo(f"\n{'':{width}}  " + "  ".join(f"{title:>22}" for title in _COLUMNS.values()))
    for name, each in qualities.items():
        cells = (_spread([getattr(quality, column) for quality in each]) for column in _COLUMNS)
        click.echo(f"{name:{width}}  " + "  ".join(f"{cell:>22}" for cell in cells))
    for key in ("rejection", "rejection_without_transitions"):
        for score in report[key][0]:
            click.echo(f"{key}, AUROC of {score}: {_spread([each[score]['auroc'] for each in report[key]])}")
    for key, each in report["calibration_error"].items():
        click.echo(f"calibration error {key}: {_spread(each)}")


if __name__ == "__main__":
    main()
