"""Whether a temperature that is fitted to scanner A can be believed on scanner B, and what never sharpening changes.

::

    METFA_DATA=… python -m benchmarks.studies.calibration

Labels of the target's test images are used here, to measure with, and nowhere else.
"""

from __future__ import annotations

import copy
import json
import os
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from shutil import unpack_archive
from statistics import mean, stdev
from typing import TYPE_CHECKING

import click
import numpy as np

from metfa.runtime import Bundle
from metfa.runtime.benchmark.machine import host
from metfa.runtime.bundle import records
from metfa.runtime.command import Command
from metfa.runtime.errors import BundleError
from metfa.runtime.files import write_text
from metfa.training.batch_norm import adopt_statistics
from metfa.training.config import CONFIG, TrainingConfig
from metfa.training.data.pair import read_pair
from metfa.training.evaluation.model import infer
from metfa.training.evaluation.scores import calibration
from metfa.training.methods import Role
from metfa.training.temperature import fit_temperature
from metfa.training.weights import load_network

from ..commands import make_bundle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from metfa.runtime.backends import Inference
    from metfa.training.model import Network

SMALL = ("--preset", "small")
PHANTOM = (*SMALL, "--input-size", "56x72", "--steps", "800")
DIGITS = (*SMALL, "--input-size", "28x28", "--steps", "400", "--no-flip", "--extended-augmentation")
ORGANS = (*SMALL, "--input-size", "64x64", "--steps", "300")


@dataclass(frozen=True, slots=True)
class Result:
    """What one bundle's confidence is worth.

    Attributes:
        pair: its domains.
        seed: of its training.
        temperature: as fitted to held-out frames of the source.
        scores: by domain, temperature and measure.
    """

    pair: str
    seed: int
    temperature: float
    scores: dict[Role, dict[str, dict[str, float]]]


@click.command(cls=Command)
@click.option("--seeds", type=click.IntRange(min=2), default=3, show_default=True)
@click.option(
    "--runs",
    "directory",
    type=click.Path(path_type=Path),
    default=Path("runs/calibration"),
    show_default=True,
    help="Bundles PAIR-SEED; those that are not there are trained.",
)
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("benchmarks/results/calibration.json"), show_default=True
)
def main(seeds: int, directory: Path, output: Path) -> None:
    """Compare temperatures on the test images of both domains of three pairs."""
    if "METFA_DATA" not in os.environ:
        raise click.UsageError("METFA_DATA does not name the folder of real data")
    data = Path(os.environ["METFA_DATA"])
    manifest = data / "ultrasound" / "organs" / "manifest.csv"
    for name in ("mnist", "optdigits"):
        if not (directory / name).exists():
            unpack_archive(data / "digits" / f"{name}.zip", directory)
    pairs = {
        "phantom": PHANTOM,
        "digits": (
            *("--source", directory / "mnist", "--source-roi", "2,4,24,20"),
            *("--target", directory / "optdigits", *DIGITS),
        ),
        "organs": ("--source", f"{manifest}?domain=A", "--target", f"{manifest}?domain=B", *ORGANS),
    }
    results = []
    for pair, options in pairs.items():
        for seed in range(seeds):
            bundle = directory / f"{pair}-{seed}"
            make_bundle(bundle, *options, "--seed", seed, export=False)
            results.append(_measure(pair, seed, Bundle.open(bundle)))
    report = {
        "benchmark": "calibration",
        "host": host(),
        "training": {"phantom": " ".join(PHANTOM), "digits": " ".join(DIGITS), "organs": " ".join(ORGANS)},
        "results": [asdict(result) for result in results],
    }
    write_text(output, json.dumps(report, indent=2) + "\n")
    _say(results)


def _measure(name: str, seed: int, bundle: Bundle) -> Result:
    """Compare the fitted temperature, the same but at least 1, and 1, on the test images of both domains."""
    config = records.from_json(
        TrainingConfig, bundle.read(CONFIG), origin=str(bundle.directory), remedy="train again", error=BundleError
    )
    pair = read_pair(config)
    exported = load_network(bundle)
    source = copy.deepcopy(exported)
    adopt_statistics(source, pair.frames("source", "train").frames)
    validation = pair.frames("source", "val")
    fitted = fit_temperature(infer(source, validation.frames).logits, validation.labels)
    networks: dict[Role, Network] = {"source": source, "target": exported}
    scores: dict[Role, dict[str, dict[str, float]]] = {}
    for role, network in networks.items():
        test = pair.frames(role, "test")
        said = infer(network, test.frames)
        scores[role] = {
            title: believe(said, test.labels, temperature)
            for title, temperature in {"fitted": fitted, "at least 1": max(fitted, 1.0), "1": 1.0}.items()
        }
    return Result(name, seed, fitted, scores)


def believe(said: Inference, classes: NDArray[np.int64], temperature: float) -> dict[str, float]:
    """Return expected calibration error, mean negative log-likelihood and accuracy at a temperature."""
    probabilities = said.calibrated(temperature)
    correct = probabilities.argmax(axis=1) == classes
    likelihoods = np.maximum(probabilities[np.arange(len(classes)), classes], 1e-12)
    return {
        "calibration_error": calibration(probabilities.max(axis=1), correct).expected_error,
        "negative_log_likelihood": float(-np.log(likelihoods).mean()),
        "accuracy": float(correct.mean()),
    }


def _say(results: Sequence[Result]) -> None:
    """Print mean ± standard deviation over seeds."""
    values: dict[str, list[float]] = defaultdict(list)
    for result in results:
        values[f"{result.pair}, temperature"].append(result.temperature)
        for role, of_role in result.scores.items():
            for title, of_temperature in of_role.items():
                for measure, value in of_temperature.items():
                    values[f"{result.pair}, {role}, T {title}, {measure}"].append(value)
    for name, each in values.items():
        click.echo(f"{name:60} {mean(each):.3f} ± {stdev(each):.3f}")


if __name__ == "__main__":
    main()
