"""Whether labels of a live scan gain from LAME, which adjusts them to those of similar frames of the same scan.

Bundles of the phantom label scans of scanner B. LAME sees the last frames of the scan, and adjusts the probabilities of
the newest one. Frames and decisions are scored with and without it, and with simpler adjustments::

    python -m benchmarks.studies.online
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import mean, median, stdev
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from sklearn.metrics import f1_score

from metfa.runtime import Bundle, PlaneClassifier
from metfa.runtime.benchmark.machine import host
from metfa.runtime.bundle.directory import ONNX
from metfa.runtime.command import Command
from metfa.runtime.files import write_text
from metfa.runtime.phantom import BACKGROUND

from ..commands import make_bundle
from ..decisions.quality import judge
from ..decisions.scans import OPTIONS, SCANNER, Scan, decide, record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TypeAlias

    from numpy.typing import NDArray

    from metfa.runtime import ModelContract

    Affinity: TypeAlias = Callable[[NDArray[np.floating]], NDArray[np.float64]]
    Adjustment: TypeAlias = Callable[[NDArray[np.floating], NDArray[np.floating]], NDArray[np.float64]]

MODELS = (("source-only", 600), ("metfa-vi", 600), ("metfa-vi", 1500))
"""Methods and steps: not adapted, adapted briefly, and adapted for as long as is the default."""

TRAINING = (*OPTIONS, "--input-size", "56x72", "--threads", "1")
"""Small enough for one CPU core."""

FIRST_SEED = 700
"""Of the scans; no network was trained on them, and no setting was chosen on them."""

MIN_PROBABILITY = 1e-10  # as in the authors' code, so that its logarithm is finite
MAX_ITERATIONS = 100
TOLERANCE = 1e-6


def adjust(probabilities: NDArray[np.floating], affinity: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return probabilities that agree more with those of similar frames, float64 [N, M].

    This is LAME, Laplacian adjusted maximum-likelihood estimation (Boudiaf et al., "Parameter-free Online Test-time
    Adaptation", CVPR 2022). Each of the concave-convex iterations takes ``softmax(log p + W z)`` for ``z``. They end
    where no probability changes by more than 1e-6, after 100 at the latest.

    Args:
        probabilities: the model's, [N, M]; each row sums to one.
        affinity: how similar frames are to each other, [N, N].
    """
    evidence = np.log(np.maximum(probabilities, MIN_PROBABILITY))
    adjusted = _softmax(evidence)
    for _ in range(MAX_ITERATIONS):
        previous, adjusted = adjusted, _softmax(evidence + affinity @ adjusted)
        if np.abs(adjusted - previous).max() <= TOLERANCE:
            break
    return adjusted


def _softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True), np.float64)


def nearest(embeddings: NDArray[np.floating], *, neighbours: int) -> NDArray[np.float64]:
    """Return 1 for the nearest other frames of each frame and 0 for the rest, float64 [N, N].

    Args:
        embeddings: [N, D]; their directions are compared, not their lengths.
        neighbours: how many are nearest; all others where there are fewer.
    """
    similarity = cosines(embeddings)
    np.fill_diagonal(similarity, -np.inf)
    number = min(neighbours, len(embeddings) - 1)
    affinity = np.zeros_like(similarity)
    np.put_along_axis(affinity, np.argsort(-similarity, axis=1, kind="stable")[:, :number], 1.0, axis=1)
    return affinity


def radial(embeddings: NDArray[np.floating], *, neighbours: int) -> NDArray[np.float64]:
    """Return a Gaussian of the distance between directions, float64 [N, N].

    Its width is the mean distance to that of so many nearest frames that is farthest; a frame is its own nearest.

    Args:
        embeddings: [N, D].
        neighbours: how many frames are nearest.
    """
    squares = np.maximum(2 - 2 * cosines(embeddings), 0.0)
    np.fill_diagonal(squares, 0.0)
    number = min(neighbours, len(embeddings)) - 1
    width = np.sqrt(np.partition(squares, number, axis=1)[:, number]).mean()
    return np.asarray(np.exp(-squares / (2 * max(width, 1e-6) ** 2)))


def cosines(embeddings: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the cosine between each two embeddings, float64 [N, N]."""
    directions = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
    return np.asarray(directions @ directions.T, np.float64)


def lame(
    probabilities: NDArray[np.floating], embeddings: NDArray[np.floating], affinity: Affinity
) -> NDArray[np.float64]:
    """Return the adjusted probabilities of the newest frame of a window, float64 [M]; the arguments are [N, …]."""
    return np.asarray(adjust(probabilities, affinity(embeddings))[-1])


def average(probabilities: NDArray[np.floating], _embeddings: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the mean probabilities of a window, float64 [M]: smoothing without LAME, to compare with."""
    return np.asarray(probabilities.mean(axis=0), np.float64)


def sharpen(probabilities: NDArray[np.floating], _embeddings: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return what a quarter of the temperature makes of the last probabilities, float64 [M], to compare with."""
    powers = probabilities[-1].astype(np.float64) ** 4
    return np.asarray(powers / powers.sum())


@dataclass(frozen=True, slots=True)
class Variant:
    """A way to adjust the probabilities of the newest frame.

    Attributes:
        frames: how many of the last frames it sees.
        adjustment: probabilities [N, M] and embeddings [N, D] of a window to probabilities [M] of its last frame.
    """

    frames: int
    adjustment: Adjustment


@dataclass(frozen=True, slots=True)
class Network:
    """A network that labels the scans.

    Attributes:
        method: it was trained with.
        steps: of training.
        seed: of training.
    """

    method: str
    steps: int
    seed: int

    @property
    def options(self) -> tuple[str, ...]:
        """Return the options of ``metfa-train`` that make it."""
        return ("--method", self.method, "--steps", str(self.steps), "--seed", str(self.seed))


VARIANTS: Mapping[str, Variant] = {
    "nothing": Variant(1, average),
    **{
        f"LAME, 5 neighbours, {frames} frames": Variant(frames, partial(lame, affinity=partial(nearest, neighbours=5)))
        for frames in (8, 16, 32, 64)
    },
    "LAME, 3 neighbours, 32 frames": Variant(32, partial(lame, affinity=partial(nearest, neighbours=3))),
    "LAME, radial, 32 frames": Variant(32, partial(lame, affinity=partial(radial, neighbours=5))),
    "LAME, cosine, 32 frames": Variant(32, partial(lame, affinity=cosines)),
    "mean of 8 frames": Variant(8, average),
    "a quarter of the temperature": Variant(1, sharpen),
}

SETTINGS: Mapping[str, tuple[float, float, float]] = {
    "defaults": (0.8, 150.0, 100.0),
    "low threshold": (0.55, 150.0, 100.0),
    "slow": (0.8, 300.0, 900.0),
}
"""What frames are decided with: ``enter``, ``smoothing_ms`` and ``dwell_ms``."""


@click.command(cls=Command)
@click.option(
    "--bundles",
    "directory",
    type=click.Path(path_type=Path),
    default=Path("runs/online"),
    show_default=True,
    help="Bundles METHOD-STEPS/SEED; those that are not there are trained and exported.",
)
@click.option(
    "--seeds", type=click.IntRange(min=1), default=2, show_default=True, help="How many networks of each model."
)
@click.option("--scans", type=click.IntRange(min=2), default=4, show_default=True)
@click.option("--seconds", type=click.IntRange(min=10), default=45, show_default=True, help="Of each scan.")
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("benchmarks/results/online.json"), show_default=True
)
def main(directory: Path, seeds: int, scans: int, seconds: int, output: Path) -> None:
    """Score what networks say of SCANS scans, and what is decided, with and without LAME."""
    networks = [Network(method, steps, seed) for method, steps in MODELS for seed in range(seeds)]
    bundles = [directory / f"{network.method}-{network.steps}" / str(network.seed) for network in networks]
    for bundle, network in zip(bundles, networks, strict=True):
        make_bundle(bundle, *TRAINING, *network.options, export=True)
    classifiers = [PlaneClassifier.load(bundle, backend="cpu") for bundle in bundles]
    rows = []
    for number in range(FIRST_SEED, FIRST_SEED + scans):
        recorded = record(classifiers, number, seconds)
        for network, classifier, scan in zip(networks, classifiers, recorded, strict=True):
            for name, variant in VARIANTS.items():
                rows += [
                    {**asdict(network), "scan": number, "variant": name, **scores}
                    for scores in score(scan, classifier.contract, variant)
                ]
    report = {
        "benchmark": "online",
        "host": host(),
        "training": f"metfa-train {' '.join(TRAINING)}",
        "networks": [
            {
                **asdict(network),
                "model_sha256": Bundle.open(bundle).files[ONNX],
                "decision": asdict(classifier.contract.decision),
            }
            for network, bundle, classifier in zip(networks, bundles, classifiers, strict=True)
        ],
        "scans": {"scanner": f"phantom:{SCANNER}", "first_seed": FIRST_SEED, "number": scans, "seconds": seconds},
        "rows": rows,
    }
    write_text(output, json.dumps(report, indent=2) + "\n")
    for method, steps in MODELS:
        of_model = [row for row in rows if (row["method"], row["steps"]) == (method, steps)]
        for settings in SETTINGS:
            of_settings = [row for row in of_model if row["settings"] == settings]
            click.echo(f"\n{method}, {steps} steps; {settings}\n{table(of_settings)}")


def score(scan: Scan, contract: ModelContract, variant: Variant) -> list[dict[str, Any]]:
    """Return the scores of frames and decisions on a scan that is adjusted, for each of the settings of decisions."""
    adjusted, microseconds = adjust_scan(scan, contract.labels, variant)
    labels = [prediction.label for prediction in adjusted.predictions]
    truth = [plane or BACKGROUND for plane in scan.truth]
    of_frames = {
        "f1": float(f1_score(truth, labels, labels=contract.labels, average="macro")),
        "accuracy": mean(label == true for label, true in zip(labels, truth, strict=True)),
        "microseconds": microseconds,
    }
    scores = []
    for name, (enter, smoothing_ms, dwell_ms) in SETTINGS.items():
        spec = replace(contract.decision, enter=enter, smoothing_ms=smoothing_ms, dwell_ms=dwell_ms)
        of_events = asdict(judge(decide(adjusted, spec, contract.labels), scan.truth))
        scores.append({"settings": name, **of_frames, **of_events})
    return scores


def adjust_scan(scan: Scan, labels: Sequence[str], variant: Variant) -> tuple[Scan, float]:
    """Return the scan with predictions that are adjusted by past frames, and the median time of one, in µs."""
    probabilities = np.stack([prediction.probabilities for prediction in scan.predictions])
    embeddings = np.stack([prediction.embedding for prediction in scan.predictions])
    predictions, times = [], []
    for index, prediction in enumerate(scan.predictions):
        window = slice(max(0, index + 1 - variant.frames), index + 1)
        start = perf_counter_ns()
        adjusted = variant.adjustment(probabilities[window], embeddings[window])
        times.append((perf_counter_ns() - start) / 1000)
        best = int(adjusted.argmax())
        predictions.append(
            replace(
                prediction,
                label=labels[best],
                confidence=float(adjusted[best]),
                probabilities=adjusted.astype(np.float32),
            )
        )
    return Scan(predictions, scan.truth), median(times)


_COLUMNS: Mapping[str, str] = {
    "f1": "macro F1",
    "accuracy": "accuracy",
    "precision": "precision",
    "recall": "recall",
    "false_per_minute": "false/min",
    "seconds_to_detection": "delay, s",
    "microseconds": "µs/frame",
}


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the mean and standard deviation of each variant's scores, over networks and scans."""
    width = max(map(len, VARIANTS))
    lines = [f"{'':{width}}  " + "  ".join(f"{title:>16}" for title in _COLUMNS.values())]
    for name in VARIANTS:
        of_variant = [row for row in rows if row["variant"] == name]
        cells = []
        for column in _COLUMNS:
            values = [row[column] for row in of_variant if row[column] is not None]
            cells.append(f"{mean(values):.3f} ± {stdev(values):.3f}" if len(values) > 1 else "none")
        lines.append(f"{name:{width}}  " + "  ".join(f"{cell:>16}" for cell in cells))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
