"""How a run went, as a picture in its bundle: the terms of the objective, and what the validators said."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from .plot import Line, LogarithmicAxis, UnitAxis, draw_plot, legend_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from ..outcome import CandidateScores

CURVES = "training.png"
"""The file of a bundle that holds the picture."""

_SHADES = 128

_VALIDATORS = {"supervised_accuracy": "accuracy", "ami": "AMI", "v_measure": "V-measure", "diversity": "diversity"}
"""Those that are from 0 to 1, and what the legend calls them."""


def draw_curves(
    metrics: Sequence[Mapping[str, float]], candidates: Sequence[CandidateScores], selected: int
) -> Image.Image:
    """Draw the terms of the objective over the steps, and beside them the validators of the candidates.

    Args:
        metrics: of each step its number, as ``step``, and the value of each term, as
            :func:`~metfa.training.metrics.read_metrics` returns them.
        candidates: the networks that were kept.
        selected: the step of the one that became the model.

    Returns:
        With a palette, which a file of it needs less than half the space for: two plots side by side, on white.
    """
    steps = np.array([each["step"] for each in metrics], np.float64)
    names = dict.fromkeys(name for each in metrics for name in each if name != "step")
    terms = [_term(name, steps, metrics) for name in names]
    kept = np.array([each.step for each in candidates], np.float64)
    judged = [
        Line(title, kept, np.array([getattr(each.validators, name) for each in candidates]), dots=True)
        for name, title in _VALIDATORS.items()
    ]
    axis = LogarithmicAxis(np.concatenate([each.values for each in terms]))
    rows = max(legend_rows(terms), legend_rows(judged))
    draw = partial(draw_plot, steps=int(steps[-1]), mark=(selected, f"model, step {selected:,}"), rows=rows)
    plots = [
        draw("Terms of the objective, unweighted", terms, axis),
        draw("Validators of the candidates", judged, UnitAxis()),
    ]
    picture = Image.new("RGB", (sum(each.width for each in plots), plots[0].height))
    for number, plot in enumerate(plots):
        picture.paste(plot, (number * plot.width, 0))
    return picture.quantize(_SHADES, Image.Quantize.MAXCOVERAGE)  # in half the time, and closer, than the median cut


def _term(name: str, steps: NDArray[np.float64], metrics: Sequence[Mapping[str, float]]) -> Line:
    """Return a term over the steps that have it: a method may have stages."""
    has = np.array([name in each for each in metrics])
    return Line(name, steps[has], np.array([each[name] for each in metrics if name in each], np.float64))
