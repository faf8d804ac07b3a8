"""Lines over an axis of steps, drawn with Pillow alone: Matplotlib is not there wherever a run is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


WIDTH, HEIGHT = 760, 620
"""Of one plot, in pixels."""

_OVERSAMPLING = 2  # drawn larger and reduced, for smooth lines
_LEFT, _RIGHT, _BOTTOM = 92, 40, 62
_LEGEND_TOP, _LEGEND_ROW, _MARK_ROW = 74, 34, 36
_SHORT_NAME = 9  # characters; where no name is longer, the legend has a column more
_SIZE, _SMALL, _HEADING = 21, 19, 25
_COLUMNS = 500
"""Points of a line, at most: steps that share one are shown by their least and greatest value."""

_INK, _QUIET, _GRID, _GROUND = "#1f2933", "#66727f", "#e3e7eb", "#ffffff"
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a4fa3", "#6b5b4b")
_FADED = 0.72  # how far towards the ground single steps are

_Place = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Line:
    """Values over steps.

    Attributes:
        name: in the legend.
        steps: ascending, float64 [N], N ≥ 1.
        values: finite, float64 [N].
        dots: whether each value is a dot on the line; otherwise the line is smoothed, and single steps are faint.
    """

    name: str
    steps: NDArray[np.float64]
    values: NDArray[np.float64]
    dots: bool = False


class Axis(Protocol):
    """A vertical axis."""

    ticks: tuple[float, ...]

    def place(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return where values are, from 0 at the bottom to 1 at the top; what is beyond is at the edge."""


class UnitAxis:
    """From 0 to 1."""

    ticks: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)

    def place(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return where values are."""
        return np.clip(values, 0, 1)


class LogarithmicAxis:
    """Logarithmic, for values of any sign: where some are not positive, it is linear around zero.

    Args:
        values: finite; what is to be seen.
    """

    _MAX_DECADES = 12
    _MAX_TICKS = 7  # powers of ten, about

    def __init__(self, values: NDArray[np.float64]) -> None:
        sizes = np.abs(values[values != 0]) if values.any() else np.ones(1)
        top = float(sizes.max())
        self._linear = 0.0
        if (values <= 0).any():
            self._linear = 10.0 ** math.floor(math.log10(max(float(np.quantile(sizes, 0.1)), top / 10**4)))
        low = float(values.min()) if self._linear else max(float(sizes.min()), top / 10**self._MAX_DECADES)
        ticks = self._candidates(low, float(values.max()))
        self._low, self._high = (float(each) for each in self._bend(np.array([ticks[0], ticks[-1]])))
        self.ticks = ticks

    def place(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return where values are."""
        return np.clip((self._bend(values) - self._low) / (self._high - self._low), 0, 1)

    def _bend(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        if self._linear:
            return np.sign(values) * np.log10(1 + np.abs(values) / self._linear)
        return np.log10(np.maximum(values, 1e-300))

    def _candidates(self, low: float, high: float) -> tuple[float, ...]:
        """Return round values from at most ``low`` to at least ``high``: powers of ten, or 1, 2 and 5 times these."""
        least = self._linear * 10 or low
        begin, end = math.floor(math.log10(least)), math.ceil(math.log10(max(-low, high, least)))
        every = max(1, -(-(end - begin) // self._MAX_TICKS))
        factors = (1, 2, 5) if end - begin <= 2 and not self._linear else (1,)
        first_exponent = begin if self._linear else begin - 1  # one more at each end, as logarithms are rounded
        exponents = range(first_exponent, end + every + 1, every)
        sizes = [factor * 10.0**exponent for exponent in exponents for factor in factors]
        if self._linear:
            sizes = [*(-size for size in reversed(sizes)), 0.0, *sizes]
        first = max(index for index, size in enumerate(sizes) if size <= low)
        last = min(index for index, size in enumerate(sizes) if size >= high and index > first)
        return tuple(sizes[first : last + 1])


def legend_rows(lines: Sequence[Line]) -> int:
    """Return how many rows the legend of lines takes."""
    return -(-len(lines) // _legend_columns(lines))


def draw_plot(
    heading: str, lines: Sequence[Line], axis: Axis, *, steps: int, mark: tuple[int, str], rows: int
) -> Image.Image:
    """Draw lines over the steps of a run, with a legend above them.

    Args:
        heading: what the lines are.
        lines: at most eight have colours of their own.
        axis: of their values.
        steps: of the run; the horizontal axis goes so far.
        mark: a step, and what to call it.
        rows: to leave for the legend; plots side by side leave the same.

    Returns:
        RGB, ``WIDTH`` × ``HEIGHT``.
    """
    image = Image.new("RGB", (WIDTH * _OVERSAMPLING, HEIGHT * _OVERSAMPLING), _GROUND)
    _Plot(ImageDraw.Draw(image), axis, steps, rows).draw(heading, lines, mark)
    return image.reduce(_OVERSAMPLING)


class _Plot:
    def __init__(self, draw: ImageDraw.ImageDraw, axis: Axis, steps: int, rows: int) -> None:
        self._draw, self._axis, self._steps = draw, axis, steps
        self._top = _LEGEND_TOP + rows * _LEGEND_ROW + _MARK_ROW - _LEGEND_ROW // 2

    def draw(self, heading: str, lines: Sequence[Line], mark: tuple[int, str]) -> None:
        self._write((_LEFT, 20), heading, _INK, _HEADING, "la")
        self._draw_axes()
        colours = [_COLOURS[index % len(_COLOURS)] for index in range(len(lines))]
        for line, colour in zip(lines, colours, strict=True):
            if not line.dots:
                self._stroke(self._places(*_extremes(line)), _faded(colour), 1.2)
        self._draw_mark(*mark)
        for line, colour in zip(lines, colours, strict=True):
            steps, values = (line.steps, line.values) if line.dots else _smoothed(line)
            places = self._places(steps, values)
            self._stroke(places, colour, 3)
            for place in places if line.dots or len(places) == 1 else ():
                self._dot(place, colour)
        columns = _legend_columns(lines)
        for index, (line, colour) in enumerate(zip(lines, colours, strict=True)):
            self._draw_entry(divmod(index, columns), line.name, colour, (WIDTH - _LEFT - _RIGHT) / columns)

    def _draw_axes(self) -> None:
        for value, height in zip(self._axis.ticks, self._axis.place(np.array(self._axis.ticks)).tolist(), strict=True):
            y = self._y(height)
            self._stroke([(_LEFT, y), (WIDTH - _RIGHT, y)], _GRID, 1.5)
            self._write((_LEFT - 12, y), _number(value), _QUIET, _SMALL, "rm")
        for step in _round_steps(self._steps):
            x = self._x(step)
            self._stroke([(x, HEIGHT - _BOTTOM), (x, HEIGHT - _BOTTOM + 6)], _QUIET, 1.5)
            self._write((x, HEIGHT - _BOTTOM + 12), f"{step:,}", _QUIET, _SMALL, "ma")
        self._stroke([(_LEFT, HEIGHT - _BOTTOM), (WIDTH - _RIGHT, HEIGHT - _BOTTOM)], _QUIET, 1.5)
        self._write(((_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - 24), "step", _QUIET, _SMALL, "ma")

    def _draw_mark(self, step: int, name: str) -> None:
        x = self._x(step)
        for y in range(self._top - 6, HEIGHT - _BOTTOM, 12):
            self._stroke([(x, y), (x, y + 6)], _QUIET, 2)
        half = self._font(_SMALL).getlength(name) / _OVERSAMPLING / 2
        middle = min(max(x, _LEFT + half), WIDTH - _RIGHT - half)
        self._write((middle, self._top - 10), name, _QUIET, _SMALL, "ms")

    def _draw_entry(self, place: tuple[int, int], name: str, colour: str, spacing: float) -> None:
        row, column = place
        x, y = _LEFT + column * spacing, _LEGEND_TOP + row * _LEGEND_ROW
        self._stroke([(x, y), (x + 26, y)], colour, 4)
        self._write((x + 34, y), name, _INK, _SIZE, "lm")

    def _x(self, step: float) -> float:
        return _LEFT + (WIDTH - _RIGHT - _LEFT) * step / self._steps

    def _y(self, height: float) -> float:
        return HEIGHT - _BOTTOM - (HEIGHT - _BOTTOM - self._top) * height

    def _places(self, steps: NDArray[np.float64], values: NDArray[np.float64]) -> list[_Place]:
        heights = self._axis.place(values).tolist()
        return [(self._x(step), self._y(height)) for step, height in zip(steps.tolist(), heights, strict=True)]

    def _stroke(self, places: Sequence[_Place], colour: str, width: float) -> None:
        if len(places) > 1:
            scaled = [(x * _OVERSAMPLING, y * _OVERSAMPLING) for x, y in places]
            self._draw.line(scaled, colour, round(width * _OVERSAMPLING), joint="curve")

    def _dot(self, place: _Place, colour: str) -> None:
        x, y = (each * _OVERSAMPLING for each in place)
        self._draw.circle((x, y), 5 * _OVERSAMPLING, colour, _GROUND, 2 * _OVERSAMPLING)

    def _write(self, place: _Place, text: str, colour: str, size: int, anchor: str) -> None:
        x, y = (each * _OVERSAMPLING for each in place)
        self._draw.text((x, y), text, colour, self._font(size), anchor)

    def _font(self, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
        return ImageFont.load_default(size * _OVERSAMPLING)


def _legend_columns(lines: Sequence[Line]) -> int:
    return 4 if max(len(line.name) for line in lines) <= _SHORT_NAME else 3


def _extremes(line: Line) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the line with at most ``_COLUMNS`` places, each with its least and greatest value."""
    steps, low, high = (_by_column(values, pick) for values, pick in _picks(line))
    return np.repeat(steps, 2), np.stack([low, high], axis=1).ravel()


def _picks(line: Line) -> tuple[tuple[NDArray[np.float64], Callable[[NDArray[np.float64]], np.float64]], ...]:
    return (line.steps, np.mean), (line.values, np.min), (line.values, np.max)


def _smoothed(line: Line) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the moving mean over a twenty-fifth of the steps, at most at ``_COLUMNS`` places."""
    reach = len(line.values) // 50
    sums = np.concatenate([[0.0], np.cumsum(line.values)])
    places = np.arange(len(line.values))
    begin, end = np.maximum(places - reach, 0), np.minimum(places + reach + 1, len(places))
    means = (sums[end] - sums[begin]) / (end - begin)
    return _by_column(line.steps, np.mean), _by_column(means, np.mean)


def _by_column(values: NDArray[np.float64], pick: Callable[[NDArray[np.float64]], np.float64]) -> NDArray[np.float64]:
    parts = np.array_split(values, min(len(values), _COLUMNS))
    return np.array([pick(part) for part in parts])


def _faded(colour: str) -> str:
    channels = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return "#" + "".join(f"{round(each + (255 - each) * _FADED):02x}" for each in channels)


def _number(value: float) -> str:
    if not value or 1e-3 <= abs(value) < 1e5:
        return f"{value:,.10g}"
    return f"{value:.0e}".replace("e+0", "e").replace("e-0", "e-").replace("e+", "e")


def _round_steps(steps: int) -> range:
    """Return round numbers from 0 to ``steps``, about six."""
    power = 10 ** (len(str(steps)) - 1)
    spacing = next(each for each in (power // 5, power // 2, power, 2 * power) if each and steps // each <= 6)
    return range(0, steps + 1, spacing)
