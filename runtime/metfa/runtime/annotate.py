"""Draws an observation on its frame."""

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
_MOST_ROWS = 16
_LONGEST_LABEL = 24  # characters
_SMALLEST_ROW = 5  # pixels; on smaller frames nothing could be read


class _Style(NamedTuple):
    font: int
    scale: float


def annotate(image: NDArray[np.uint8], observation: Observation, labels: Sequence[str]) -> NDArray[np.uint8]:
    """Draw what is decided, large where it is a plane, and a bar for the probability of each class.

    Args:
        image: uint8 [H, W], or [H, W, 3] or [H, W, 4] in OpenCV's order of colours; not changed.
        observation: what was made of it.
        labels: the M class names, in the order of the probabilities.

    Returns:
        uint8 [H, W, 3] (BGR). Of more than 16 classes, or more than fit, the most probable have bars.
    """
    canvas = as_bgr(image)
    height, width = canvas.shape[:2]
    unit = min(height / 480, width / 640)  # all sizes are those for 640 × 480, times this
    margin, banner, row, baseline = (round(size * unit) for size in (10, 40, 17, 28))
    if row < _SMALLEST_ROW:
        return canvas
    _darken(canvas[:banner])
    headline, names = _Style(_BOLD, 0.8 * unit), _Style(_PLAIN, 0.42 * unit)
    decision, probabilities = observation.decision, observation.prediction.probabilities
    if decision.plane is None:
        _write(canvas, str(decision), (margin, baseline), _GREY, _Style(_PLAIN, 0.6 * unit))
    else:
        confidence = f"{decision.confidence:.0%}"
        _write(canvas, decision.plane, (margin, baseline), _WHITE, headline)
        _write(canvas, confidence, (width - margin - _text_width(confidence, headline), baseline), _ACCENT, headline)

    bar_left = 2 * margin + max(_text_width(_shortened(label), names) for label in labels)
    bar_length, bar_height, descent = round(70 * unit), max(round(5 * unit), 1), round(4 * unit)
    rows = min(len(labels), _MOST_ROWS, (height - banner) // row - 1)
    # Bars keep the order of the labels, so that a class stays where it is while the scan goes on.
    shown = sorted(np.argsort(-probabilities, kind="stable")[:rows].tolist())
    _darken(canvas[banner : banner + rows * row + margin, : bar_left + bar_length + margin])
    for place, index in enumerate(shown):
        is_shown = labels[index] == decision.plane
        middle = banner + place * row + row // 2
        _write(canvas, _shortened(labels[index]), (margin, middle + descent), _WHITE if is_shown else _GREY, names)
        bar = canvas[middle - bar_height // 2 :, bar_left : bar_left + bar_length][:bar_height]
        bar[:] = _DARK
        bar[:, : round(bar_length * float(probabilities[index]))] = _ACCENT if is_shown else _GREY
    return canvas


def as_bgr(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a copy of ``image`` (uint8 [H, W], [H, W, 1], [H, W, 3] or [H, W, 4]) as uint8 [H, W, 3]."""
    colours = image.shape[2] if image.ndim == 3 else 1
    if colours == 3:
        return np.array(image)
    conversion = cv2.COLOR_GRAY2BGR if colours == 1 else cv2.COLOR_BGRA2BGR
    return np.asarray(cv2.cvtColor(image, conversion), np.uint8)


def _darken(area: NDArray[np.uint8]) -> None:
    area[:] = area // 4


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
