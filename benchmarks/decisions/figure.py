"""The figure: what is shown in the course of one scan, and the scores of all."""

from __future__ import annotations

from statistics import mean
from typing import TYPE_CHECKING

import matplotlib

from metfa.runtime.files import replacing
from metfa.runtime.phantom import PLANES
from metfa.runtime.phantom.scan import FRAMES_PER_SECOND
from metfa.training.evaluation.figures import class_colours

from .quality import runs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from .quality import Quality


def draw(strips: Mapping[str, Sequence[str | None]], qualities: Mapping[str, Sequence[Quality]], path: Path) -> None:
    """Draw what is shown in the course of one scan, and the scores of all."""
    matplotlib.use("agg")
    from matplotlib import pyplot as plt
    from matplotlib.patches import Patch

    colours = dict(zip(PLANES, class_colours(len(PLANES)), strict=True))
    figure = plt.figure(figsize=(12, 5.6), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=[1.15, 1])  # type: ignore[misc]  # two, as asked for
    rows: Sequence[Axes] = above.subplots(len(strips), 1, sharex=True)
    for axes, (name, shown) in zip(rows, strips.items(), strict=True):
        for label, first, end in runs(shown):
            axes.axvspan(first / FRAMES_PER_SECOND, end / FRAMES_PER_SECOND, color=colours[label], linewidth=0)
        axes.set_yticks([])
        axes.set_ylabel(name, rotation=0, ha="right", va="center")
        axes.set_xlim(0, len(shown) / FRAMES_PER_SECOND)
    rows[-1].set_xlabel("seconds of a scan of the phantom with scanner B; white: no label")
    above.legend(handles=[Patch(color=colour, label=plane) for plane, colour in colours.items()], loc="outside right")
    columns = ("precision", "recall", "false_per_minute", "labelled_background")
    for axes, column in zip(below.subplots(1, len(columns)), columns, strict=True):
        for place, each in enumerate(qualities.values()):
            values = [getattr(quality, column) for quality in each]
            axes.barh(place, mean(values), color="#56B4E9" if place < len(qualities) - 1 else "#0072B2", height=0.65)
            axes.plot(values, [place] * len(values), "o", color="#222222", markersize=3)
        axes.set_yticks(range(len(qualities)), qualities if column == columns[0] else [""] * len(qualities))
        axes.invert_yaxis()
        axes.set_title(
            {"false_per_minute": "false events per minute"}.get(column, column.replace("_", " ")), fontsize=10
        )
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlim(left=0)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=90)
    plt.close(figure)
