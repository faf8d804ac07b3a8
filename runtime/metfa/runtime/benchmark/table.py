"""A benchmark's record as lines for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..text import aligned
from .candidates import BATCHES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .record import BenchmarkRecord, Measurement

_NOTHING = "–"


def describe(record: BenchmarkRecord) -> Iterator[str]:
    """Yield the lines that tell the user what was measured, and what could not be."""
    host = record.host
    yield f"{record.model}; {record.frames}"
    yield f"{host['processor'] or host['machine']}, {host['cores']} cores; {record.seconds:g} s each, in turns"
    yield f"difference: the largest of a logit; same label: share of the frames; both beside {record.reference}"
    on_gpu = any(latency.gpu_p50_ms is not None for each in record.measurements for latency in each.latencies)
    heading = ("", "p50 ms", "p95 ms", "p99 ms", *(["GPU p50 ms"] if on_gpu else []))
    first, *others, last = map(str, BATCHES)
    batches = (f"frames/s: {first}", *others, f"{last} at once")
    rows = [_row(measurement, on_gpu=on_gpu) for measurement in record.measurements]
    yield from aligned([(*heading, *batches, "difference", "same label"), *rows], indent=2)
    for measurement in record.measurements:
        yield f"{measurement.name}: {measurement.description}"
    yield from (f"not {line}" for line in record.cannot_run_here)


def _row(measurement: Measurement, *, on_gpu: bool) -> tuple[str, ...]:
    by_batch = {latency.batch: latency for latency in measurement.latencies}
    one = by_batch.get(1)
    times = (None,) * 3 if one is None else (one.p50_ms, one.p95_ms, one.p99_ms)
    rates = [f"{by_batch[batch].frames_per_second:,.0f}" if batch in by_batch else _NOTHING for batch in BATCHES]
    parity = measurement.parity
    agreement = (_difference(parity.logit_difference), f"{parity.same_label:.1%}") if parity else (_NOTHING, _NOTHING)
    on_gpu_clock = [_milliseconds(None if one is None else one.gpu_p50_ms)] if on_gpu else []
    return (measurement.name, *map(_milliseconds, times), *on_gpu_clock, *rates, *agreement)


def _milliseconds(time: float | None) -> str:
    return _NOTHING if time is None else f"{time:.2f}"


def _difference(difference: float | None) -> str:
    if difference is None:
        return "not finite"
    return f"{difference:.1e}" if difference else "0"
