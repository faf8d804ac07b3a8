"""The paper's Figure 2: confusion on the target, and embeddings of both domains, method beside method."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from metfa.training.batch_norm import adopt_statistics
from metfa.training.data.pair import read_pair
from metfa.training.development import ROLES
from metfa.training.evaluation.figures import draw_confusion, draw_embedding, save_figure, tsne
from metfa.training.evaluation.model import infer
from metfa.training.methods import METHODS
from metfa.training.weights import load_network

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from metfa.runtime import Bundle
    from metfa.training.names import MethodName

    from .report import Result

PICTURED: tuple[MethodName, ...] = ("source-only", "mme", "metfa-v", "metfa-vi")
POINTS = 400
"""Images of each domain in the picture of the embeddings."""


def draw_confusions(results: Sequence[tuple[Result, Bundle]], path: Path) -> None:
    """Draw each result's confusion on the target side by side; ``path`` is the files' without the suffix."""
    figure, row = _row(len(results), height=5.2)
    for axes, (result, bundle) in zip(row, results, strict=True):
        scores = result.evaluation.target
        assert scores is not None
        title = f"{result.run.method}: target F1 {scores.f1:.3f}, {scores.images} images"
        draw_confusion(axes, scores.confusion, bundle.contract.labels, title)
    save_figure(figure, path)


def draw_embeddings(results: Sequence[tuple[Result, Bundle]], path: Path) -> None:
    """Draw each result's embeddings of source and target (t-SNE) side by side.

    Each domain passes with its own batch-norm statistics, as in training. ``path`` is the files' without the suffix.
    """
    figure, row = _row(len(results), height=5.2)
    for axes, (result, bundle) in zip(row, results, strict=True):
        embeddings, classes, domains = _embed(result, bundle)
        draw_embedding(
            axes,
            tsne(embeddings, seed=0),
            classes,
            domains,
            bundle.contract.labels,
            f"{result.run.method}: embeddings of held-out images",
        )
    save_figure(figure, path)


def _row(count: int, height: float) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=(6 * count, height), layout="constrained")
    return figure, figure.subplots(1, count, squeeze=False)[0]


def _embed(result: Result, bundle: Bundle) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return embeddings [N, D], classes [N] and domains of some held-out images of both domains."""
    pair = read_pair(result.config)
    embeddings: list[np.ndarray] = []
    classes: list[np.ndarray] = []
    domains: list[str] = []
    for role in ROLES:
        network = load_network(bundle)
        if role != METHODS[result.run.method].home:  # whose statistics the bundle holds
            adopt_statistics(network, pair.frames(role, "train").frames)
        held_out = pair.frames(role, "test")
        chosen = np.random.default_rng(0).permutation(len(held_out.frames))[:POINTS]
        embeddings.append(infer(network, held_out.frames[chosen]).embedding)
        classes.append(held_out.labels[chosen])
        domains += [role] * len(chosen)
    return np.concatenate(embeddings), np.concatenate(classes), domains
