"""``metfa-evaluate``: an exported bundle and labelled images → scores and pictures of how well it labels them."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from metfa.runtime import command
from metfa.runtime.bundle.directory import DEFAULT_DIRECTORY, Bundle
from metfa.runtime.bundle_parameters import BundleType, allow_download
from metfa.runtime.command import Command, require_extra, say
from metfa.runtime.files import cache_directory, require_writable
from metfa.runtime.parameters import BACKEND, RoiType
from metfa.runtime.text import aligned

if TYPE_CHECKING:
    from collections.abc import Iterator

    from metfa.runtime.backends.choice import Precision
    from metfa.runtime.bundle.contract import Roi

    from ..evaluation.bundle import BundleEvaluation, EvaluationRecord
    from ..evaluation.one_versus_rest import Estimate

# What takes long to import is imported where it is used, so that --help answers at once.


@click.command(cls=Command, context_settings={"show_default": True, "max_content_width": 120})
@click.option(
    "--data",
    required=True,
    metavar="SPEC",
    help="Labelled images, named as for metfa-train --source. Of those that come split, the test "
    "split is used; what the bundle was trained on is left out.",
)
@click.option(
    "--bundle",
    "directory",
    type=BundleType(),
    default=DEFAULT_DIRECTORY,
    help="What metfa-train and metfa-export made.",
)
@allow_download()
@click.option(
    "--source", metavar="SPEC", help="Other labelled images, to draw their embeddings beside those of --data."
)
@click.option(
    "--roi",
    "region",
    type=RoiType(contract=True),
    default="contract",
    help="The part of each image of --data that the model sees; contract: as in training.",
)
@click.option(
    "--backend",
    type=BACKEND,
    default="auto",
    help="What runs the model.",
)
@click.option("--precision", type=click.Choice(["auto", "fp32", "fp16", "int8"]), default="auto")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("runs/evaluation"),
    help="Directory for scores and pictures, in place of those of an earlier evaluation.",
)
def main(  # click passes the options by name
    data: str,
    directory: Path,
    source: str | None,
    region: Roi | Literal["contract"],
    backend: str,
    precision: Precision | Literal["auto"],
    output: Path,
) -> None:
    """Score an exported bundle on labelled images that it was not trained on.

    The exported model runs as it does on the edge. What it was trained on is left out, by the bundle's own record.
    """
    require_extra("evaluate", "matplotlib", "sklearn", "tqdm")
    os.environ.setdefault("MPLCONFIGDIR", str(cache_directory() / "matplotlib"))  # its list of fonts, with our files
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # where it keeps its fonts is nothing to warn of
    from ..evaluation.bundle import evaluate_bundle
    from ..evaluation.files import write_evaluation

    require_writable(output)
    evaluation = evaluate_bundle(
        Bundle.open(directory),
        data,
        source=source,
        region=region,
        backend=None if backend == "auto" else backend,
        precision=None if precision == "auto" else precision,
    )
    say(_describe(evaluation, directory))
    files = write_evaluation(evaluation, output)
    say([f"wrote {', '.join(path.name for path in files)} in {output}"])


def run() -> None:
    """Be the process ``metfa-evaluate``."""
    command.run(main)


def _describe(evaluation: BundleEvaluation, directory: Path) -> Iterator[str]:
    """Yield the lines that tell the user what was measured."""
    record, scores = evaluation.record, evaluation.record.scores
    part = "the test split" if record.split == "test" else "all images"
    yield f"{directory} on {record.data}, {part}: {scores.images} images"
    if record.seen:
        yield f"left out: {record.seen} images that the bundle was trained or validated on"
    if record.skipped:
        yield f"skipped: {record.skipped} files that cannot be used"
    yield f"backend: {evaluation.backend_choice}"
    rows = (_row(record, label) for label in record.labels)
    yield from aligned([_HEADINGS, *rows, _macro(record)], indent=2)
    absent = [label for label, of_class in record.classes.items() if not of_class.images]
    if absent:
        yield f"no images of {', '.join(absent)}: macro scores are of the other classes"
    if record.positive is not None:
        yield from _clinical(record, record.positive)
    yield f"accuracy {scores.accuracy:.3f}, expected calibration error {record.calibration.expected_error:.3f}"
    yield (
        f"in brackets: {record.confidence_level:.0%} confidence intervals. They take images to be independent; "
        "those of one patient are not, so that the true intervals are wider"
    )


_HEADINGS = ("class", "images", "sensitivity", "specificity", "PPV", "AUC", "F1")


def _row(record: EvaluationRecord, label: str) -> tuple[str, ...]:
    of_class = record.one_versus_rest[label]
    estimates = (of_class.sensitivity, of_class.specificity, of_class.positive_predictive_value, of_class.auc)
    return (label, str(of_class.images), *map(_estimate, estimates), _number(record.classes[label].f1))


def _macro(record: EvaluationRecord) -> tuple[str, ...]:
    scores = record.scores
    averages = (scores.recall, None, scores.precision, record.macro_auc, scores.f1)
    return ("macro", str(scores.images), *map(_number, averages))


def _clinical(record: EvaluationRecord, positive: str) -> Iterator[str]:
    """Yield what a diagnostic test is reported by, for a model of two classes."""
    (negative,) = (label for label in record.labels if label != positive)
    test, share = record.one_versus_rest[positive], record.classes[positive].images / record.scores.images
    yield f"as a test with {positive} positive and {negative} negative ({share:.0%} of the images are {positive}):"
    yield from aligned(
        [
            ("sensitivity", _estimate(test.sensitivity)),
            ("specificity", _estimate(test.specificity)),
            ("PPV", _estimate(test.positive_predictive_value)),
            ("NPV", _estimate(test.negative_predictive_value)),
            ("AUC", _estimate(test.auc)),
        ],
        indent=2,
    )
    yield f"PPV and NPV are for this share of {positive}; where it is more or less common, they differ"


def _number(number: float | None) -> str:
    return "–" if number is None else f"{number:.3f}"


def _estimate(estimate: Estimate | None) -> str:
    return "–" if estimate is None else f"{estimate.value:.3f} ({estimate.lower:.3f}–{estimate.upper:.3f})"
