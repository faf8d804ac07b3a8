"""A benchmark's record as a picture: SVG, written as text."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from .candidates import BATCHES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..backends.choice import Precision
    from .record import BenchmarkRecord, Latency

_WIDTH, _MARGIN, _NAMES = 1000, 24, 130
_PANEL, _GAP = 320, 110
_TOP, _ROW, _BAR = 112, 34, 16
_INK, _QUIET, _GRID = "#1f2933", "#66727f", "#e3e7eb"
_COLOURS: dict[Precision, str] = {"fp32": "#33658a", "fp16": "#2a9d8f", "int8": "#e0862b"}
_TICKS = 4


def draw(record: BenchmarkRecord) -> str:
    """Return an SVG of the latency of one frame and of the frames a second in each batch, a row for each candidate."""
    rows = [(each, {latency.batch: latency for latency in each.latencies}) for each in record.measurements]
    bottom = _TOP + _ROW * len(rows)
    left = _MARGIN + _NAMES
    right = left + _PANEL + _GAP
    height = bottom + 60
    host = record.host
    cores = f"{host['processor'] or host['machine']}, {host['cores']} cores"
    milliseconds = _rounded_up(max((one.p95_ms for _, of in rows if (one := of.get(1))), default=1))
    rate = _rounded_up(max((each.frames_per_second for _, of in rows for each in of.values()), default=1))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" '
        f'font-size="13" fill="{_INK}">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(_MARGIN, 34, record.model, size=17, weight="bold"),
        _text(_MARGIN, 56, cores, colour=_QUIET),
        _text(left, _TOP - 22, "One frame: median and 95th percentile", weight="bold"),
        _text(right, _TOP - 22, f"Frames a second: {', '.join(map(str, BATCHES))} at once", weight="bold"),
        *_axis(left, bottom, milliseconds, "ms"),
        *_axis(right, bottom, rate, "frames/s"),
    ]
    for index, (measurement, of_batch) in enumerate(rows):
        middle = _TOP + _ROW * index + _ROW / 2
        colour = _COLOURS[measurement.precision]
        parts.append(_text(left - 12, middle + 4, measurement.name, anchor="end"))
        if one := of_batch.get(1):
            parts += _bar(left, middle, one, _PANEL / milliseconds, colour)
        parts += _dots(right, middle, list(of_batch.values()), _PANEL / rate, colour)
    return "\n".join((*parts, "</svg>", ""))


def _axis(left: float, bottom: float, most: float, unit: str) -> Iterator[str]:
    for tick in range(_TICKS + 1):
        x, value = left + _PANEL * tick / _TICKS, most * tick / _TICKS
        yield f'<line x1="{x:.1f}" y1="{_TOP - 8}" x2="{x:.1f}" y2="{bottom + 4}" stroke="{_GRID}"/>'
        text = f"{value:,.4g}" if most < 10000 else f"{value:,.0f}"
        yield _text(x, bottom + 22, f"{text} {unit}" if tick == _TICKS else text, colour=_QUIET, anchor="middle")


def _bar(left: float, middle: float, latency: Latency, scale: float, colour: str) -> Iterator[str]:
    """Yield a bar to the median, a line from there to the 95th percentile, and both as numbers."""
    end, far = left + latency.p50_ms * scale, left + latency.p95_ms * scale
    yield (
        f'<rect x="{left}" y="{middle - _BAR / 2}" width="{end - left:.1f}" height="{_BAR}" rx="2" fill="{colour}"/>'
    )
    yield f'<path d="M{end:.1f} {middle}H{far:.1f}m0 -5v10" stroke="{_INK}" fill="none"/>'
    yield _text(far + 8, middle + 4, f"{latency.p50_ms:.2f} – {latency.p95_ms:.2f}")


def _dots(left: float, middle: float, latencies: Sequence[Latency], scale: float, colour: str) -> Iterator[str]:
    """Yield a dot for each batch, larger for larger ones, on a line, and the most frames a second as a number."""
    if not latencies:
        return
    places = [left + latency.frames_per_second * scale for latency in latencies]
    yield f'<path d="M{min(places):.1f} {middle}H{max(places):.1f}" stroke="{colour}" stroke-width="2"/>'
    for place, latency in zip(places, latencies, strict=True):
        radius = 3 + BATCHES.index(latency.batch) * 1.5
        place_and_size = f'cx="{place:.1f}" cy="{middle}" r="{radius}"'
        yield f'<circle {place_and_size} fill="{colour}" fill-opacity="0.75" stroke="#ffffff"/>'
    best = max(latency.frames_per_second for latency in latencies)
    yield _text(max(places) + 13, middle + 4, f"{best:,.0f}" if best >= 100 else f"{best:,.1f}")


def _rounded_up(value: float) -> float:
    """Return the least of 1, 2, 4 and 8 times a power of ten that is not below ``value``, which is positive."""
    power = 10.0 ** (len(f"{int(value)}") - 1) if value >= 1 else 0.01
    return next(step * power for step in (1, 2, 4, 8, 10, 20, 40, 80, 100) if step * power >= value)


def _text(
    x: float,
    y: float,
    text: str,
    *,
    size: int = 13,
    weight: str = "normal",
    colour: str = _INK,
    anchor: str = "start",
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" fill="{colour}" '
        f'text-anchor="{anchor}">{escape(text)}</text>'
    )
