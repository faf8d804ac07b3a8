"""What a stream amounts to, now and at its end: counts, pace, latency."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from dataclasses import dataclass
from itertools import accumulate

from ..frame import ModelIdentity, Observation, PlaneEvent

STALE_MS = 100.0
"""A frame that is decided later than this after its capture, in milliseconds, counts as stale: three at 30 frames/s."""

_BAR_WIDTH = 30  # characters


@dataclass(frozen=True, slots=True)
class StreamSummary:
    """What a stream amounts to up to some moment.

    Attributes:
        frames: how many were classified.
        captured: how many the source delivered, from the first to the last that was classified.
        dropped: how many of these were not classified, because newer ones were there.
        stale: how many were decided more than ``STALE_MS`` after their capture.
        losses: how often the source was lost and found again.
        size_changes: how often the size of its pictures changed without that.
        lost_s: seconds without a source, from the last classified frame before each loss to the first after it.
        idle_s: seconds since the capture of the last classified frame.
        fps_in: captured frames per second, from the first capture to the last decision, without ``lost_s``.
        fps: classified frames per second, likewise.
        p50_ms: half of the frames took at most this from capture to decision, in milliseconds, within 1 %.
        p95_ms: 95 % of them did.
        p99_ms: 99 % of them did.
        latency_s: the sum of all these times, in seconds.
        labels: how many frames were decided to show each plane, or why none, the commonest first.
        events: how many events each plane had, the commonest first.
        sink_drops: how many observations each sink missed that fell behind.
        bundles: how many frames the model of each bundle classified, by its digest, the first one first.
        exchanges: how often another model took over.
        model: what classified the last frame; None before the first, or where that is not known.
    """

    frames: int
    captured: int
    dropped: int
    stale: int
    losses: int
    size_changes: int
    lost_s: float
    idle_s: float
    fps_in: float
    fps: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    latency_s: float
    labels: dict[str, int]
    events: dict[str, int]
    sink_drops: dict[str, int]
    bundles: dict[str, int]
    exchanges: int
    model: ModelIdentity | None

    def describe(self, *, live: bool) -> str:
        """Return it in lines of text; those of a recording leave latencies out, which are spent waiting in a queue."""
        if not self.frames:
            return "no frame was classified"
        latency = f"p50 {self.p50_ms:.1f} ms, p95 {self.p95_ms:.1f} ms, p99 {self.p99_ms:.1f} ms"
        lines = [f"{self.frames} frames, {self.dropped} dropped, {self.fps:.1f} frames/s"]
        if live:
            late = f"; {self.stale} stale (> {STALE_MS:g} ms)" if self.stale else ""
            lines.append(f"capture to decision: {latency}{late}")
        if self.losses:
            lines.append(f"the source was lost and found again {_times(self.losses)}, {self.lost_s:.1f} s without it")
        if self.size_changes:
            lines.append(f"the size of its pictures changed {_times(self.size_changes)}")
        if self.exchanges:
            lines += [f"bundle {digest}: {number} frames" for digest, number in self.bundles.items()]
        lines += [f"{sink}: fell behind and missed {number} frames" for sink, number in self.sink_drops.items()]
        width = max(map(len, self.labels))
        for label, number in self.labels.items():
            share = number / self.frames
            lines.append(f"{label:{width}}  {number:7d}  {share:6.1%}  {'#' * round(share * _BAR_WIDTH)}".rstrip())
        if self.events:
            lines.append("events: " + ", ".join(f"{plane} {number}" for plane, number in self.events.items()))
        return "\n".join(lines)


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


@dataclass(frozen=True, slots=True)
class _Moment:
    """What is kept of an observation: all but its picture."""

    index: int
    session: int
    losses: int
    captured_at: float
    decided_at: float
    ends_session: bool


class StreamStatistics:
    """Collects what the summary needs, in memory that does not grow. May be read while another thread adds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latencies = _Histogram()
        self._stale = 0
        self._lost_s = 0.0
        self._ended_sessions = 0  # one by one, because their source knew their end
        self._labels: Counter[str] = Counter()
        self._events: Counter[str] = Counter()
        self._sink_drops: Counter[str] = Counter()
        self._bundles: Counter[str] = Counter()
        self._exchanges = 0
        self._model: ModelIdentity | None = None
        self._first: _Moment | None = None
        self._last: _Moment | None = None

    def add(self, item: Observation | PlaneEvent) -> None:
        """Take note of one observation or event; they must come in order."""
        if isinstance(item, PlaneEvent):
            with self._lock:
                self._events[item.plane] += 1
            return
        observation, frame = item, item.frame
        counts = frame.index, frame.session, frame.losses
        moment = _Moment(*counts, frame.captured_at, observation.decided_at, frame.last)
        with self._lock:
            if self._last is not None and moment.losses != self._last.losses:
                self._lost_s += moment.captured_at - self._last.captured_at
            self._ended_sessions += self._last is not None and self._last.ends_session
            self._first = self._first or moment
            self._last = moment
            self._latencies.add(observation.latency_ms)
            self._stale += observation.latency_ms > STALE_MS
            if observation.model is not None:
                self._exchanges += self._model not in {None, observation.model}
                self._model = observation.model
                self._bundles[observation.model.bundle] += 1
            self._labels[observation.decision.plane or observation.decision.status] += 1

    def add_sink_drop(self, sink: str) -> None:
        """Take note that ``sink`` fell behind and missed an observation."""
        with self._lock:
            self._sink_drops[sink] += 1

    @property
    def frames(self) -> int:
        """How many observations were added."""
        return self._latencies.count

    def summary(self) -> StreamSummary:
        """Return the summary of all observations up to now."""
        with self._lock:
            first, last, frames = self._first, self._last, self._latencies.count
            if first is None or last is None:
                return StreamSummary(0, 0, 0, 0, 0, 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, {}, {}, {}, {}, 0, None)
            captured = last.index - first.index + 1
            losses = last.losses - first.losses
            seconds = last.decided_at - first.captured_at - self._lost_s
            return StreamSummary(
                frames=frames,
                captured=captured,
                dropped=captured - frames,
                stale=self._stale,
                losses=losses,
                size_changes=last.session - first.session - losses - self._ended_sessions,
                lost_s=self._lost_s,
                idle_s=max(time.monotonic() - last.captured_at, 0.0),
                fps_in=captured / seconds if seconds > 0 else 0.0,
                fps=frames / seconds if seconds > 0 else 0.0,
                p50_ms=self._latencies.quantile(0.5),
                p95_ms=self._latencies.quantile(0.95),
                p99_ms=self._latencies.quantile(0.99),
                latency_s=self._latencies.sum / 1000,
                labels=dict(self._labels.most_common()),
                events=dict(self._events.most_common()),
                sink_drops=dict(self._sink_drops),
                bundles=dict(self._bundles),
                exchanges=self._exchanges,
                model=self._model,
            )


class _Histogram:
    """Positive numbers in buckets that are 2 % wide, from 0.001 up to 10⁶; what lies beyond counts as the outermost.

    Attributes:
        count: how many numbers were added.
        sum: what they add up to.
    """

    _SMALLEST, _LARGEST = 1e-3, 1e6
    _WIDTH = math.log(1.02)

    def __init__(self) -> None:
        self.count = 0
        self.sum = 0.0
        self._buckets = [0] * (math.ceil(math.log(self._LARGEST / self._SMALLEST) / self._WIDTH) + 1)

    def add(self, number: float) -> None:
        within = min(max(number, self._SMALLEST), self._LARGEST)
        self._buckets[int(math.log(within / self._SMALLEST) / self._WIDTH)] += 1
        self.count += 1
        self.sum += number

    def quantile(self, share: float) -> float:
        """Return the middle of the bucket that holds the ⌈share · count⌉-th number; there must be one."""
        rank = math.ceil(share * self.count)
        bucket = next(place for place, seen in enumerate(accumulate(self._buckets)) if seen >= rank)
        return self._SMALLEST * math.exp((bucket + 0.5) * self._WIDTH)
