"""The picture of how a run went: what is drawn is where the numbers are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from metfa.runtime.backends import Inference
from metfa.training.curves.mistakes import SHOWN, draw_mistakes
from metfa.training.curves.picture import draw_curves
from metfa.training.curves.plot import HEIGHT, WIDTH, Line, LogarithmicAxis, UnitAxis, draw_plot
from metfa.training.data.store import FrameStore
from metfa.training.outcome import CandidateScores
from metfa.training.selection.validators import Validators

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

BLUE, ORANGE = (0, 114, 178), (213, 94, 0)


def candidate(step: int) -> CandidateScores:
    return CandidateScores(step, Validators(0.5, 0.1, 0.4, 0.3, 1.0, 0.5, -0.3, 2.0, 0.9), None, None)


def curves(metrics: Sequence[dict[str, float]], steps: Sequence[int]) -> NDArray[np.uint8]:
    picture = draw_curves(metrics, [candidate(step) for step in steps], selected=steps[-1])
    return np.asarray(picture.convert("RGB"))


def heights(picture: NDArray[np.uint8], colour: tuple[int, ...], columns: slice) -> NDArray[np.int64]:
    """Return the rows below the legend where a colour is, or nearly so, as the palette and smooth edges have it."""
    near = np.abs(picture[:, columns].astype(int) - colour).max(axis=2) < 24
    near[:130] = False
    return np.flatnonzero(near.any(axis=1))


def test_a_term_that_falls_is_a_line_that_falls() -> None:
    metrics = [{"step": float(step), "ce": 10 ** (1 - step / 100), "prior": 30.0} for step in range(1, 201)]
    picture = curves(metrics, (100, 200))
    assert picture.shape == (HEIGHT, 2 * WIDTH, 3)
    left, right = (heights(picture, BLUE, columns).mean() for columns in (slice(120, 160), slice(660, 700)))
    assert left < right - 200  # rows count downwards
    level = heights(picture, ORANGE, slice(120, 700))
    assert np.ptp(level) <= 6
    assert level.max() < left


def test_a_run_of_one_step_is_drawn_as_dots() -> None:
    assert len(heights(curves([{"step": 1.0, "ce": 2.0}], (1,)), BLUE, slice(0, WIDTH))) > 4


def test_single_steps_of_a_long_run_are_faint_but_there() -> None:
    values = np.where(np.arange(5000) == 2500, 1000.0, 1.0)
    metrics = [{"step": float(step), "ce": value} for step, value in enumerate(values.tolist(), 1)]
    picture = curves(metrics, (5000,))
    faint = tuple(round(channel + (255 - channel) * 0.72) for channel in BLUE)
    line, outlier = heights(picture, BLUE, slice(0, WIDTH)), heights(picture, faint, slice(0, WIDTH))
    assert outlier.min() < line.min() - 100


def test_a_term_that_only_some_steps_have_is_drawn_where_it_is() -> None:
    metrics = [
        {"step": float(step), "ce": 1.0, **({"adversarial": 3.0} if step > 50 else {})} for step in range(1, 101)
    ]
    picture = curves(metrics, (100,))
    assert not len(heights(picture, ORANGE, slice(0, WIDTH // 2)))
    assert len(heights(picture, ORANGE, slice(WIDTH // 2, WIDTH)))


def test_the_same_run_is_the_same_picture() -> None:
    metrics = [{"step": float(step), "ce": 1 / step} for step in range(1, 50)]
    assert np.array_equal(curves(metrics, (49,)), curves(metrics, (49,)))


@given(arrays(np.float64, st.integers(1, 20), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_an_axis_holds_all_that_it_was_made_for_and_keeps_its_order(values: NDArray[np.float64]) -> None:
    axis = LogarithmicAxis(values)
    places = axis.place(np.sort(values))
    assert (np.diff(places) >= 0).all()
    assert ((places >= 0) & (places <= 1)).all()
    ends = axis.place(np.array(axis.ticks))
    assert (np.diff(ends) > 0).all()
    assert (ends[0], ends[-1]) == (0, 1)
    assert axis.ticks[-1] >= values.max()


@pytest.mark.parametrize("steps", [1, 2, 7, 99, 1500, 60_000, 10**7])
def test_any_number_of_steps_has_an_axis(steps: int) -> None:
    line = Line("accuracy", np.array([float(steps)]), np.array([0.5]), dots=True)
    picture = draw_plot("", [line], UnitAxis(), steps=steps, mark=(steps, "model"), rows=1)
    assert picture.size == (WIDTH, HEIGHT)


def test_a_sheet_shows_the_frames_that_are_taken_for_another_class() -> None:
    """Light ones are, dark ones are not; only so many are shown, and a long name is cut to its place."""
    levels = np.repeat(np.array([60, 200], np.uint8), (5, 30))
    frames = np.repeat(levels, 28 * 36).reshape(35, 1, 28, 36)
    logits = np.tile(np.array([3, 0], np.float32), (35, 1))
    labels = np.repeat(np.array([0, 1]), (5, 30))
    said = Inference(logits, np.zeros((35, 1), np.float32))
    sheet = np.asarray(draw_mistakes(FrameStore(frames, labels), ("a", "b" * 80), said))
    assert int((sheet == 200).all(axis=2).sum()) == SHOWN * 200 * round(200 * 28 / 36)
    assert not (sheet == 60).all(axis=2).any()
    assert draw_mistakes(FrameStore(frames[:5], labels[:5]), ("a", "b"), Inference(logits[:5], logits[:5])).height < 100
