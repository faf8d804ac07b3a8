"""The figure: time over size, a line for each stage, beside what is linear and quadratic."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib

from metfa.runtime.files import replacing
from metfa.training.evaluation.figures import class_colours

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from .measure import Growth


def draw(growths: Mapping[str, Growth], path: Path) -> None:
    """Draw the seconds and the megabytes of every stage over its size."""
    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    figure, (time, memory) = plt.subplots(1, 2, figsize=(13, 5.6), layout="constrained")
    for index, ((name, growth), colour) in enumerate(zip(growths.items(), class_colours(len(growths)), strict=True)):
        sizes = [cost.size for cost in growth.costs]
        marker = "os^Dv"[index % 5]
        for axes, values in (
            (time, [cost.seconds for cost in growth.costs]),
            (memory, [max(cost.peak_bytes / 1e6, 0.1) for cost in growth.costs]),
        ):
            label = name if axes is time else None
            axes.plot(sizes, values, color=colour, marker=marker, markersize=4, linewidth=1.4, label=label)
    ends = [1e3, 1e6]
    time.plot(ends, [1e-3, 1], color="#999999", linestyle="--", linewidth=1, label="linear")
    time.plot([1e3, 1e5], [1e-2, 1e2], color="#999999", linestyle=":", linewidth=1, label="quadratic")
    time.set_ylabel("seconds")
    memory.set_ylabel("peak of memory beyond the inputs, MB")
    for axes in (time, memory):
        axes.set(xscale="log", yscale="log", xlabel="images, frames or trials")
        axes.grid(color="#E6E6E6", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = time.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=9)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=90)
    plt.close(figure)
