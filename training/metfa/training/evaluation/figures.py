"""Pictures of how well a model labels frames, drawn on Matplotlib axes; no state of pyplot is touched.

Names of classes and domains are shown as they are: ``$`` begins no formula.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import PercentFormatter

from metfa.runtime.files import replacing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from .scores import Calibration, RejectionPoint

PERPLEXITY = 30.0
"""Of the t-SNE, where there are images enough for it."""

DOTS_PER_INCH = 160

UPRIGHT_CHARACTERS = 54
"""Class names beside each other that are together no longer than this stay upright."""

# Okabe and Ito's colours, without yellow and black; for more classes, the discrete rainbow of Paul Tol.
_FEW = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
_MANY = (
    *("#882E72", "#1965B0", "#7BAFDE", "#4EB265", "#CAE0AB", "#F6C141", "#E8601C"),
    *("#AE76A3", "#5289C7", "#90C987", "#F7F056", "#F1932D", "#DC050C", "#D1BBD7"),
)
_BLUE, _ORANGE, _INK, _GREY = "#0072B2", "#D55E00", "#222222", "#8A8A8A"
_MARKERS = ("o", "^", "s", "D")


def class_colours(count: int) -> tuple[str, ...]:
    """Return a colour for each of ``count`` classes that the colour-blind can tell apart; beyond 14, they recur."""
    colours = _FEW if count <= len(_FEW) else _MANY
    return tuple(colours[index % len(colours)] for index in range(count))


def tsne(embeddings: NDArray[np.float32], seed: int) -> NDArray[np.float64]:
    """Lay embeddings out in the plane, near ones near each other (t-SNE).

    Args:
        embeddings: float32 [N, D], finite; N of a few thousands takes a minute.
        seed: of the optimisation.

    Returns:
        float64 [N, 2]; all zero where no two embeddings differ.
    """
    from sklearn.manifold import TSNE

    count, dimensions = embeddings.shape
    if (embeddings == embeddings[:1]).all():
        return np.zeros((count, 2))  # scikit-learn's result would not be finite
    perplexity = min(PERPLEXITY, max(1.0, (count - 1) / 3))
    layout = TSNE(perplexity=perplexity, init="pca" if dimensions > 1 else "random", random_state=seed)
    return np.asarray(layout.fit_transform(embeddings), np.float64)


def draw_confusion(axes: Axes, confusion: Sequence[Sequence[int]], labels: Sequence[str], title: str) -> None:
    """Draw a confusion matrix: counts, on a ground that is the darker the larger their share of the true class.

    Args:
        axes: where to draw.
        confusion: [M, M], frames by true class (row) and predicted class (column).
        labels: the M class names.
        title: what it is of.
    """
    counts = np.asarray(confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    size = 10 if len(labels) <= 10 else 8
    for y, x in zip(*counts.nonzero(), strict=True):
        ink = "white" if shares[y, x] > 0.5 else _INK
        axes.text(x, y, str(counts[y, x]), ha="center", va="center", color=ink, fontsize=size)
    axes.set_xticks(range(len(labels)), labels, fontsize=9, parse_math=False)
    if len(labels) * max(map(len, labels)) > UPRIGHT_CHARACTERS:
        for text in axes.get_xticklabels():
            text.set(rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(labels)), labels, fontsize=9, parse_math=False)
    # White lines between the cells.
    axes.set_xticks(np.arange(len(labels) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(labels) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    _set_title(axes, title)


def draw_embedding(
    axes: Axes,
    points: NDArray[np.float64],
    classes: NDArray[np.int64],
    domains: Sequence[str],
    labels: Sequence[str],
    title: str,
) -> None:
    """Draw embeddings in the plane: a colour for each class, a marker for each domain.

    Args:
        axes: where to draw.
        points: float64 [N, 2], as :func:`tsne` returns them.
        classes: the class of each point, int64 [N].
        domains: the domain of each point; up to four names.
        labels: the class names.
        title: what it is of.
    """
    colours = np.array(class_colours(len(labels)))
    names = list(dict.fromkeys(domains))
    of_domain = np.array([names.index(domain) for domain in domains])
    for number, marker in zip(range(len(names)), _MARKERS, strict=False):
        chosen = of_domain == number
        axes.scatter(
            points[chosen, 0],
            points[chosen, 1],
            s=26,
            c=colours[classes[chosen]].tolist(),
            marker=marker,
            linewidths=0.5,
            edgecolors="white" if number == 0 else _INK,
            alpha=0.85,
        )
    of_class = [(labels[index], colours[index]) for index in np.unique(classes)]
    entries = [(name, Line2D([], [], color=colour, marker="o", ls="", ms=6)) for name, colour in of_class]
    if len(names) > 1:
        entries += [("", Line2D([], [], ls=""))]
        entries += [
            (name, Line2D([], [], color=_GREY, marker=marker, ls="", ms=6))
            for name, marker in zip(names, _MARKERS, strict=False)
        ]
    _legend(axes, entries)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.margins(0.04)
    axes.spines[:].set_color("#CCCCCC")
    axes.set_xlabel("t-SNE; only nearness means something", fontsize=8, color=_GREY)
    _set_title(axes, title)


def draw_reliability(axes: Axes, calibration: Calibration, title: str) -> None:
    """Draw accuracy against confidence, bin by bin, each with its number of frames.

    Where a bar ends below its mark, the model is surer than it should be.

    Args:
        axes: where to draw, about square.
        calibration: the bins.
        title: what it is of.
    """
    (ideal,) = axes.plot([0, 1], [0, 1], color=_GREY, linestyle=(0, (4, 3)), linewidth=1)
    filled = [each for each in calibration.bins if each.images]
    middles = [(each.lower + each.upper) / 2 for each in filled]
    accuracies = np.array([each.accuracy for each in filled])
    confidences = np.array([each.confidence for each in filled])
    width = 0.88 / len(calibration.bins)
    bars = axes.bar(middles, accuracies, width, color="#8DC1E0", zorder=2)
    marks = axes.hlines(
        confidences, np.subtract(middles, width / 2), np.add(middles, width / 2), color=_ORANGE, linewidth=2.5, zorder=3
    )
    for each, middle, top in zip(filled, middles, np.maximum(accuracies, confidences).tolist(), strict=True):
        axes.annotate(
            str(each.images),
            (middle, top),
            (0, 4),
            textcoords="offset points",
            ha="center",
            fontsize=7,
            color=_INK,
            zorder=4,
            path_effects=[withStroke(linewidth=2, foreground="white")],
        )
    axes.legend(
        [bars, marks, ideal],
        ["accuracy (number: images)", "mean confidence", "no difference"],
        loc="upper center",
        bbox_to_anchor=(0.5, -0.12),
        ncols=3,
        frameon=False,
        fontsize=9,
    )
    axes.set_xlabel("confidence (probability of the predicted class)")
    axes.set_ylabel("accuracy")
    _percent(axes)
    _set_title(axes, title)


def draw_rejection(axes: Axes, rejection: Sequence[RejectionPoint], title: str) -> None:
    """Draw how accuracy rises as answers of little confidence are withheld, over the share that is.

    The axis above tells the threshold on confidence that withholds as much.

    Args:
        axes: where to draw.
        rejection: the curve.
        title: what it is of.
    """
    withheld = [1 - point.coverage for point in rejection]
    accuracies = [point.accuracy for point in rejection]
    axes.plot(withheld, accuracies, color=_BLUE, linewidth=2, clip_on=False)
    axes.plot(withheld[0], accuracies[0], "o", color=_BLUE, markersize=6, clip_on=False)
    axes.annotate(
        f"{accuracies[0]:.0%} with every image answered",
        (withheld[0], accuracies[0]),
        (9, -4),
        textcoords="offset points",
        va="top",
        fontsize=9,
        color=_BLUE,
    )
    axes.set_xlabel("images without an answer")
    axes.set_ylabel("accuracy of the answers")
    _percent(axes)
    axes.set_ylim(max(0.0, np.floor(20 * min(accuracies) - 0.5) / 20), 1)
    above = axes.secondary_xaxis("top")
    shares = [share for share in (0.0, 0.2, 0.4, 0.6, 0.8) if share <= withheld[-1]]
    thresholds = [rejection[int(np.searchsorted(withheld, share, side="right")) - 1].threshold for share in shares]
    above.set_xticks(
        shares, [f"{each:.3f}" if each < 0.9995 else "> 0.999" for each in thresholds], color=_GREY, fontsize=9
    )
    above.set_xlabel("threshold on confidence", color=_GREY, fontsize=9)
    above.tick_params(length=0)
    above.spines[:].set_visible(False)
    _set_title(axes, title)


def save_figure(figure: Figure, path: Path) -> tuple[Path, Path]:
    """Write a figure as PNG and SVG, whole or not at all; the same figure becomes the same bytes.

    Args:
        figure: what to write.
        path: both files' path without the suffix.

    Returns:
        The paths of the PNG and the SVG.

    Raises:
        OutputError: a file cannot be written.
    """
    png, svg = path.with_name(f"{path.name}.png"), path.with_name(f"{path.name}.svg")
    with mpl.rc_context({"svg.hashsalt": "metfa"}), warnings.catch_warnings():
        # Letters that no installed font has become boxes, which is seen in the picture.
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        with replacing(png) as temporary:
            figure.savefig(temporary, dpi=DOTS_PER_INCH)
        with replacing(svg) as temporary:
            figure.savefig(temporary, metadata={"Date": None})
    return png, svg


def _legend(axes: Axes, entries: Sequence[tuple[str, Line2D]]) -> None:
    """Put a legend to the right of the axes."""
    legend = axes.legend(
        [handle for _, handle in entries],
        [name for name, _ in entries],
        loc="upper left",
        bbox_to_anchor=(1.01, 1),
        borderaxespad=0,
        frameon=False,
        fontsize=9,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _percent(axes: Axes) -> None:
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.06)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(color="#E6E6E6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _set_title(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=11, loc="left", parse_math=False)
