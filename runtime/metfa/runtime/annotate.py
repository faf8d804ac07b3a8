"""Draws an observation below its frame."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from .files import utf8

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .frame import Observation

_PLAIN, _BOLD = cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX
_WHITE, _GREY, _DARK, _ACCENT = (255, 255, 255), (190, 190, 190), (64, 64, 64), (70, 190, 255)  # blue, green, red
_BAND = (22, 20, 18)
_MOST_BARS = 16
_LONGEST_LABEL = 24  # characters
_SMALLEST_ROW = 5  # pixels; on smaller frames nothing could be read


class _Style(NamedTuple):
    font: int
    scale: float


class _Layout(NamedTuple):
    """Where things are in the band below a frame, in pixels.

    Attributes:
        unit: of lengths: all are those below 640 × 480, times this.
        margin: around everything.
        headline: height of the row with the decision.
        row: height of a row of bars.
        rows: of bars; 0 where the frame is too small for a band.
        columns: of bars.
        pitch: from one column to the next.
        bar: from the left of a column to its bars.
        names: how the classes are written.
    """

    unit: float
    margin: int
    headline: int
    row: int
    rows: int
    columns: int
    pitch: int
    bar: int
    names: _Style

    @property
    def height(self) -> int:
        """Of the band."""
        return self.headline + self.rows * self.row + self.margin if self.rows else 0


def annotate(image: NDArray[np.uint8], observation: Observation, labels: Sequence[str]) -> NDArray[np.uint8]:
    """Draw what is decided, large where it is a plane, and a bar for the probability of each class, below the frame.

    Args:
        image: uint8 [H, W], or [H, W, 3] or [H, W, 4] in OpenCV's order of colours; not changed.
        observation: what was made of it.
        labels: the M class names, in the order of the probabilities.

    Returns:
        uint8 [≥ H, ≥ W, 3] (BGR): the frame as it is, at the top left, and a band below it. Its size depends on that of
        the frame and on the labels alone; both sides are even, as video codecs want them. Of more than 16 classes, or
        more than fit, the most probable have bars; frames too small for anything to be read have no band.
    """
    height, width = image.shape[:2]
    layout = _lay_out(height, width, tuple(labels))
    canvas = np.zeros((_even(height + layout.height), _even(width), 3), np.uint8)
    canvas[:height, :width] = as_bgr(image)
    if layout.rows:
        band = canvas[height:]
        band[:] = _BAND
        _draw_decision(band[:, :width], observation, layout)
        _draw_bars(band[layout.headline :], observation, labels, layout)
    return canvas


@lru_cache(maxsize=64)
def _lay_out(height: int, width: int, labels: tuple[str, ...]) -> _Layout:
    unit = min(height / 480, width / 640)
    margin, headline, row = (round(size * unit) for size in (10, 40, 17))
    names = _Style(_PLAIN, 0.42 * unit)
    bar = margin + max(_text_width(_shortened(label), names) for label in labels)
    pitch = bar + round(70 * unit) + 2 * margin
    fitting = max(1, (width - margin) // max(pitch, 1))
    most_rows = max(1, height // 2 // max(row, 1))
    bars = min(len(labels), _MOST_BARS, fitting * most_rows)
    rows = -(-bars // fitting) if row >= _SMALLEST_ROW else 0
    columns = -(-bars // rows) if rows else 0
    return _Layout(unit, margin, headline, row, rows, columns, pitch, bar, names)


def _draw_decision(band: NDArray[np.uint8], observation: Observation, layout: _Layout) -> None:
    decision, baseline = observation.decision, round(28 * layout.unit)
    if decision.plane is None:
        _write(band, str(decision), (layout.margin, baseline), _GREY, _Style(_PLAIN, 0.6 * layout.unit))
        return
    style, confidence = _Style(_BOLD, 0.8 * layout.unit), f"{decision.confidence:.0%}"
    _write(band, decision.plane, (layout.margin, baseline), _WHITE, style)
    right = band.shape[1] - layout.margin
    _write(band, confidence, (right - _text_width(confidence, style), baseline), _ACCENT, style)


def _draw_bars(area: NDArray[np.uint8], observation: Observation, labels: Sequence[str], layout: _Layout) -> None:
    probabilities, plane = observation.prediction.probabilities, observation.decision.plane
    length, thickness, descent = (round(size * layout.unit) for size in (70, 5, 4))
    most = min(len(labels), layout.rows * layout.columns, _MOST_BARS)
    # Bars keep the order of the labels, so that a class stays where it is while the scan goes on.
    for place, index in enumerate(sorted(np.argsort(-probabilities, kind="stable")[:most].tolist())):
        column, row = divmod(place, layout.rows)
        left, middle = layout.margin + column * layout.pitch, row * layout.row + layout.row // 2
        is_shown = labels[index] == plane
        name = _shortened(labels[index])
        _write(area, name, (left, middle + descent), _WHITE if is_shown else _GREY, layout.names)
        bar = area[middle - thickness // 2 :, left + layout.bar : left + layout.bar + length][: max(thickness, 1)]
        bar[:] = _DARK
        bar[:, : round(length * float(probabilities[index]))] = _ACCENT if is_shown else _GREY


def as_bgr(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a copy of ``image`` (uint8 [H, W], [H, W, 1], [H, W, 3] or [H, W, 4]) as uint8 [H, W, 3]."""
    colours = image.shape[2] if image.ndim == 3 else 1
    if colours == 3:
        return np.array(image)
    conversion = cv2.COLOR_GRAY2BGR if colours == 1 else cv2.COLOR_BGRA2BGR
    return np.asarray(cv2.cvtColor(image, conversion), np.uint8)


def _even(length: int) -> int:
    return length + length % 2


def _write(
    canvas: NDArray[np.uint8],
    text: str,
    origin: tuple[int, int],
    colour: tuple[int, int, int],
    style: _Style,
) -> None:
    cv2.putText(canvas, utf8(text), origin, style.font, style.scale, colour, 1, cv2.LINE_AA)


@lru_cache(maxsize=1024)
def _text_width(text: str, style: _Style) -> int:
    (width, _), _ = cv2.getTextSize(utf8(text), style.font, style.scale, 1)
    return int(width)


def _shortened(label: str) -> str:
    return label if len(label) <= _LONGEST_LABEL else label[: _LONGEST_LABEL - 3] + "..."
