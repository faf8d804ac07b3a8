"""The files of an evaluation: what was measured as JSON, and pictures of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from metfa.runtime.bundle import records
from metfa.runtime.files import write_text

from ..data.store import spread
from .figures import draw_confusion, draw_embedding, draw_rejection, draw_reliability, save_figure, tsne

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

    from .bundle import BundleEvaluation, EvaluationRecord

SCORES = "scores.json"

EMBEDDED_IMAGES = 1000
"""Most images of the t-SNE, of all domains together: more take minutes and hide each other."""

SEED = 0
"""Of the t-SNE."""

MAX_NAME_LENGTH = 28
"""Characters of a domain's name in a picture."""


def write_evaluation(evaluation: BundleEvaluation, directory: Path) -> list[Path]:
    """Write scores and pictures into a directory, in place of those of an earlier evaluation.

    Args:
        evaluation: what to write.
        directory: made if it is missing; what else is in it is left alone.

    Returns:
        The files.

    Raises:
        OutputError: a file cannot be written.
    """
    figures = {
        "confusion": _confusion(evaluation.record),
        "reliability": _reliability(evaluation.record),
        "rejection": _rejection(evaluation.record),
        "embedding": _embedding(evaluation),
    }
    files = [directory / SCORES]
    write_text(files[0], records.to_json(evaluation.record))
    for name, figure in figures.items():
        files += save_figure(figure, directory / name)
    return files


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    """Return a new figure of that many inches and its axes."""
    figure = Figure((width, height), layout="constrained")
    return figure, figure.subplots()


def _confusion(record: EvaluationRecord) -> Figure:
    side = max(4.6, 1.8 + 0.42 * len(record.labels))
    figure, axes = _figure(side + 0.6, side)
    auc = "" if record.macro_auc is None else f", AUC {record.macro_auc:.2f}"
    measured = f"macro F1 {record.scores.f1:.2f}{auc}, accuracy {record.scores.accuracy:.2f}"
    title = f"Confusion: {measured}\n{_described(record)}"
    draw_confusion(axes, record.scores.confusion, record.labels, title)
    return figure


def _reliability(record: EvaluationRecord) -> Figure:
    figure, axes = _figure(5.6, 5.2)
    title = f"Reliability: expected calibration error {record.calibration.expected_error:.2f}\n{_described(record)}"
    draw_reliability(axes, record.calibration, title)
    return figure


def _rejection(record: EvaluationRecord) -> Figure:
    figure, axes = _figure(6.4, 4.6)
    draw_rejection(axes, record.rejection, f"Accuracy as unsure answers are withheld\n{_described(record)}")
    return figure


def _embedding(evaluation: BundleEvaluation) -> Figure:
    shown = {"T": evaluation.embeddings}
    if evaluation.source is not None:
        shown = {"S": evaluation.source, **shown}
    points, classes, domains = [], [], []
    for letter, embeddings in shown.items():
        count = min(len(embeddings.points), EMBEDDED_IMAGES // len(shown))
        chosen = spread(len(embeddings.points), count)
        points.append(embeddings.points[chosen])
        classes.append(embeddings.classes[chosen])
        domains += [f"{letter}: {_short(embeddings.domain)}, {_images(count)}"] * count
    # With two domains, the legend tells which images.
    of = f"{_images(len(domains))} of two domains" if len(shown) > 1 else domains[0].partition(": ")[2]
    figure, axes = _figure(7.4, 5.6)
    draw_embedding(
        axes,
        tsne(np.concatenate(points), SEED),
        np.concatenate(classes),
        domains,
        evaluation.record.labels,
        f"Embeddings by true class\n{of}",
    )
    return figure


def _described(record: EvaluationRecord) -> str:
    return f"{_short(record.data)}, {_images(record.scores.images)}"


def _images(count: int) -> str:
    return f"{count} image{'' if count == 1 else 's'}"


def _short(name: str) -> str:
    """Return the end of a long path, so that it fits into a picture."""
    return name if len(name) <= MAX_NAME_LENGTH else f"…{name[1 - MAX_NAME_LENGTH :]}"
