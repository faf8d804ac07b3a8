"""Draws a frame with what is made of it."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from ..files import utf8

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ..bundle.contract import Region
    from ..frame import Observation

_PLAIN, _BOLD = cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX
_WHITE, _GREY, _DARK, _ACCENT = (255, 255, 255), (190, 190, 190), (64, 64, 64), (70, 190, 255)  # blue, green, red
_CROP = (0, 215, 255)
_BAND = (22, 20, 18)
_MAX_BARS = 16
_MAX_LABEL_LENGTH = 24  # characters
_MIN_ROW_HEIGHT = 5  # pixels; on smaller frames nothing could be read
_LEGIBLE = 480, 360  # width and height from which the band can be read with ease
_LARGEST = 1280  # pixels that frames are enlarged to, at most


class _Style(NamedTuple):
    font: int
    scale: float


class _Place(NamedTuple):
    """Where a frame is on the canvas.

    Attributes:
        left: columns of the canvas before it.
        top: rows above it.
        scale: pixels of the canvas for one of the frame.
    """

    left: int
    top: int
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


def annotate(observation: Observation, labels: Sequence[str], size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """Draw a frame, around it what the model saw of it, and below it what is decided.

    The decision is large where it is a plane, and each class has a bar for its probability. Every pixel of a small
    frame becomes a square of pixels, so that the band can be read.

    Args:
        observation: its frame is uint8 [H, W], or [H, W, 3] or [H, W, 4] in OpenCV's order of colours; not changed.
        labels: the M class names, in the order of the probabilities.
        size: columns and rows to draw it with; another size is fitted into them, in the middle of black. None for its
            own.

    Returns:
        uint8 [≥ H, ≥ W, 3] (BGR): the frame at the top left, and a band below it. Its size depends on that of the frame
        and on the labels alone; both sides are even, as video codecs want them. Of more than 16 classes, or more than
        fit, the most probable have bars; frames too narrow for anything to be read have no band.
    """
    image = observation.frame.image
    width, height = size or (image.shape[1], image.shape[0])
    enlarged = _enlargement(width, height)
    width, height = enlarged * width, enlarged * height
    layout = _lay_out(height, width, tuple(labels))
    canvas = np.zeros((_even(height + layout.height), _even(width), 3), np.uint8)
    place = _put(image, canvas[:height, :width])
    if observation.region is not None:
        _draw_region(canvas[:height, :width], observation.region, place, max(1, round(layout.unit)))
    if layout.rows:
        band = canvas[height:]
        band[:] = _BAND
        _draw_decision(band[:, :width], observation, layout)
        _draw_bars(band[layout.headline :], observation, labels, layout)
    return canvas


def _enlargement(width: int, height: int) -> int:
    """Return how many pixels wide and high each of a frame's is drawn."""
    wanted = max(-(-_LEGIBLE[0] // width), -(-_LEGIBLE[1] // height))
    return max(1, min(wanted, _LARGEST // max(width, height)))


def _put(image: NDArray[np.uint8], area: NDArray[np.uint8]) -> _Place:
    """Draw the image as large as fits into the area, in its middle; return where that is."""
    rows, columns = image.shape[:2]
    height, width = area.shape[:2]
    scale = min(width / columns, height / rows)
    drawn = max(round(columns * scale), 1), max(round(rows * scale), 1)
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST if scale.is_integer() else cv2.INTER_LINEAR
    left, top = (width - drawn[0]) // 2, (height - drawn[1]) // 2
    picture = _as_bgr(image)
    area[top : top + drawn[1], left : left + drawn[0]] = (
        picture if scale == 1 else cv2.resize(picture, drawn, interpolation=interpolation)
    )
    return _Place(left, top, scale)


def _draw_region(area: NDArray[np.uint8], region: Region, place: _Place, thickness: int) -> None:
    """Draw a frame around the region: outside it, so that nothing that the model sees is hidden."""
    left, top = (round(offset + place.scale * edge) for offset, edge in ((place.left, region.x), (place.top, region.y)))
    right = round(place.left + place.scale * (region.x + region.width))
    bottom = round(place.top + place.scale * (region.y + region.height))
    for distance in range(1, thickness + 1):
        corners = (left - distance, top - distance), (right + distance - 1, bottom + distance - 1)
        cv2.rectangle(area, *corners, _CROP, 1)


@lru_cache(maxsize=64)
def _lay_out(height: int, width: int, labels: tuple[str, ...]) -> _Layout:
    unit = min(height / 480, width / 640)
    margin, headline, row = (round(size * unit) for size in (10, 40, 17))
    names = _Style(_PLAIN, 0.42 * unit)
    bar = margin + max(_text_width(_shortened(label), names) for label in labels)
    pitch = bar + round(70 * unit) + 2 * margin
    fitting = max(1, (width - margin) // max(pitch, 1))
    most_rows = max(1, height // 2 // max(row, 1))
    bars = min(len(labels), _MAX_BARS, fitting * most_rows)
    rows = -(-bars // fitting) if row >= _MIN_ROW_HEIGHT else 0
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
    most = min(len(labels), layout.rows * layout.columns, _MAX_BARS)
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


def _as_bgr(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return ``image`` (uint8 [H, W], [H, W, 1], [H, W, 3] or [H, W, 4]) as uint8 [H, W, 3]."""
    colours = image.shape[2] if image.ndim == 3 else 1
    if colours == 3:
        return image
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
    return label if len(label) <= _MAX_LABEL_LENGTH else label[: _MAX_LABEL_LENGTH - 3] + "..."
