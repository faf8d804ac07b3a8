"""How close ``metfa-stream`` is to the limit of the machine, side by side in one process.

::

    python -m benchmarks.stream --bundle runs/metfa
    python -m benchmarks.stream --bundle runs/metfa --peer ultralytics=/path/to/its/python
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import click
import cv2

from metfa.runtime import Bundle, PlaneClassifier, open_source
from metfa.runtime.backends.choice import load_backend
from metfa.runtime.benchmark.machine import host
from metfa.runtime.bundle.directory import DEFAULT_DIRECTORY, ONNX
from metfa.runtime.command import Command
from metfa.runtime.files import sha256, write_text

from ..clips import make_clip
from .passes import measure_age, time_decoding, time_inference, time_rest, time_stream
from .peers import time_opencv, time_ultralytics
from .start import BARE, METFA, measure_start

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from metfa.runtime.backends import Backend

    from .passes import Cost

RATES = (30.0, 60.0)  # frames per second of live sources


@click.command(cls=Command)
@click.option("--bundle", "directory", type=click.Path(path_type=Path), default=DEFAULT_DIRECTORY, show_default=True)
@click.option("--clip", type=click.Path(path_type=Path), help="A video; by default one of 1280x720 pixels is made.")
@click.option("--repetitions", type=click.IntRange(min=1), default=7, show_default=True)
@click.option("--peer", metavar="ultralytics=PYTHON", help="Measure it, too, in the environment of that interpreter.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("benchmarks/results/stream.json"),
    show_default=True,
)
def main(directory: Path, clip: Path | None, repetitions: int, peer: str | None, output: Path) -> None:
    """Time a frame of bare decoding, of bare inference and of the stream, in turns; starts, memory, ages, peers."""
    cv2.setNumThreads(1)  # as metfa-stream does
    bundle = Bundle.open(directory)
    backend, _ = load_backend(bundle)
    classifier = PlaneClassifier(bundle.contract, backend)
    with tempfile.TemporaryDirectory() as temporary:
        video = clip or make_clip(Path(temporary, "clip.mp4"))
        costs, notes = _take_turns(bundle, classifier, backend, video, repetitions)
        scripts = {"metfa": METFA, "numpy, OpenCV and ONNX Runtime": BARE}
        starts = {
            name: [asdict(measure_start(script, directory, video)) for _ in range(repetitions)]
            for name, script in scripts.items()
        }
        ages = [asdict(measure_age(video, classifier, rate)) for rate in RATES]
        peers: dict[str, Any] = {}
        if peer:
            try:
                python = Path(peer.removeprefix("ultralytics="))
                peers["ultralytics"] = time_ultralytics(python, bundle.directory / ONNX, video, Path(temporary))
            except (OSError, subprocess.CalledProcessError) as refusal:
                notes.append(f"ultralytics: {getattr(refusal, 'stderr', None) or refusal}".strip().splitlines()[-1])
        with open_source(str(video)) as opened:
            description = opened.description.replace(str(video), video.name)
        digest = sha256(video)
    ratios = _ideal_ratios(costs)
    report = {
        "benchmark": "stream",
        "host": host(),
        "backend": backend.description,
        "artefacts": {name: hash_ for name, hash_ in bundle.files.items() if name.endswith((".onnx", ".engine"))},
        "source": {"clip": str(clip) if clip else "synthetic", "sha256": digest, "description": description},
        "repetitions": repetitions,
        "costs": {name: [asdict(cost) for cost in values] for name, values in costs.items()},
        "stream_to_ideal": ratios,
        "median_stream_to_ideal": median(ratios),
        "starts": starts,
        "live": ages,
        "peers": peers,
        "notes": notes,
    }
    write_text(output, json.dumps(report, indent=2) + "\n")
    _say(report)


def _take_turns(
    bundle: Bundle, classifier: PlaneClassifier, backend: Backend, video: Path, repetitions: int
) -> tuple[dict[str, list[Cost]], list[str]]:
    """Return what a frame takes in each pass, turn by turn, and why a pass was left out."""
    size = bundle.contract.input
    passes: dict[str, Callable[[], Cost]] = {
        "decoding": lambda: time_decoding(video),
        "inference": lambda: time_inference(backend, size),
        "stream": lambda: time_stream(video, classifier),
        "rest": lambda: time_rest(video, classifier),
        "opencv-dnn": lambda: time_opencv(bundle.directory / ONNX, video, size),
    }
    notes = []
    try:
        passes["opencv-dnn"]()
    except cv2.error as refusal:
        notes.append(f"opencv-dnn: cannot run the graph ({str(refusal).splitlines()[0]})")
        del passes["opencv-dnn"]
    costs: dict[str, list[Cost]] = {name: [] for name in passes}
    for _ in range(repetitions):
        for name, measure in passes.items():
            costs[name].append(measure())
    return costs, notes


def _ideal_ratios(costs: Mapping[str, Sequence[Cost]]) -> list[float]:
    """Return, turn by turn, the stream's time relative to that of a pipeline that wastes nothing.

    There, inference never waits, and no core is ever idle.
    """
    cores = os.cpu_count() or 1
    return [
        streamed.wall_ms / max(inference.wall_ms, (inference.cpu_ms + decoding.cpu_ms + rest.cpu_ms) / cores)
        for streamed, inference, decoding, rest in zip(
            costs["stream"], costs["inference"], costs["decoding"], costs["rest"], strict=True
        )
    ]


def _say(report: Mapping[str, Any]) -> None:
    """Print the medians of a report."""
    click.echo(f"{report['backend']}\n{report['source']['description']}\n")
    click.echo(f"{'':12}{'wall':>8}{'CPU':>8}   ms a frame, median of {report['repetitions']}")
    median_wall = {}
    for name, costs in report["costs"].items():
        walls = [cost["wall_ms"] for cost in costs]
        median_wall[name] = median(walls)
        cpu = median(cost["cpu_ms"] for cost in costs)
        click.echo(f"{name:12}{median_wall[name]:8.2f}{cpu:8.2f}   ({min(walls):.2f} to {max(walls):.2f})")
    ratios = report["stream_to_ideal"]
    click.echo(f"\nstream / ideal = {median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")
    for name, values in report["starts"].items():
        seconds, megabytes = (median(each[key] for each in values) for key in ("seconds", "megabytes"))
        click.echo(f"first prediction of {name}: {seconds:.2f} s after the start, {megabytes:.0f} MB")
    for age in report["live"]:
        click.echo(
            f"live, {age['rate']:.0f} frames/s: age at decision {age['p50_ms']:.1f} ms, p99 {age['p99_ms']:.1f} ms, "
            f"{age['dropped']} dropped"
        )
    for name, cost in report["peers"].items():
        beside = cost["wall_ms"] - cost["inference_ms"] - median_wall["decoding"]
        click.echo(
            f"{name}: {cost['wall_ms']:.1f} ms a frame, {cost['inference_ms']:.1f} of them inference; beside that "
            f"and decoding {beside:.1f}, {beside / median_wall['rest']:.1f} times metfa-stream's"
        )
    for note in report["notes"]:
        click.echo(note)


if __name__ == "__main__":
    main()
