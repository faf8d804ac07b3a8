"""What a stream amounted to."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .frame import Observation

_BAR_WIDTH = 30  # characters


@dataclass(frozen=True, slots=True)
class StreamSummary:
    """What a stream amounted to.

    Attributes:
        frames: how many were classified.
        dropped: how many were captured and not classified, because newer ones were there.
        fps: classified frames per second, from the first capture to the last decision.
        p50_ms: half of the frames took at most this from capture to decision, in milliseconds.
        p95_ms: 95 % of them did.
        p99_ms: 99 % of them did.
        labels: how many frames had each label, the commonest first.
    """

    frames: int
    dropped: int
    fps: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    labels: dict[str, int]

    def __str__(self) -> str:
        if not self.frames:
            return "no frame was classified"
        lines = [
            f"{self.frames} frames, {self.dropped} dropped, {self.fps:.1f} frames/s",
            f"capture to decision: p50 {self.p50_ms:.1f} ms, p95 {self.p95_ms:.1f} ms, p99 {self.p99_ms:.1f} ms",
        ]
        width = max(map(len, self.labels))
        for label, number in self.labels.items():
            share = number / self.frames
            lines.append(f"{label:{width}}  {number:7d}  {share:6.1%}  {'#' * round(share * _BAR_WIDTH)}".rstrip())
        return "\n".join(lines)


class StreamStatistics:
    """Collects what the summary needs: four bytes for each frame, 10 MB for a day at 30 frames/s."""

    def __init__(self) -> None:
        self._latencies_ms = array("f")
        self._labels: Counter[str] = Counter()
        self._first: tuple[int, float] | None = None  # index and time of capture
        self._last = (0, 0.0)  # index and time of decision

    def add(self, observation: Observation) -> None:
        """Take note of one observation; they must come in order."""
        frame = observation.frame
        self._first = self._first or (frame.index, frame.captured_at)
        self._last = frame.index, observation.decided_at
        self._latencies_ms.append(observation.latency_ms)
        self._labels[observation.prediction.label] += 1

    @property
    def frames(self) -> int:
        """How many observations were added."""
        return len(self._latencies_ms)

    def summary(self) -> StreamSummary:
        """Return the summary of all observations up to now."""
        if self._first is None:
            return StreamSummary(0, 0, 0.0, 0.0, 0.0, 0.0, {})
        seconds = self._last[1] - self._first[1]
        p50, p95, p99 = np.percentile(np.frombuffer(self._latencies_ms, np.float32), (50, 95, 99)).tolist()
        return StreamSummary(
            frames=self.frames,
            dropped=self._last[0] - self._first[0] + 1 - self.frames,
            fps=self.frames / seconds if seconds > 0 else 0.0,
            p50_ms=p50,
            p95_ms=p95,
            p99_ms=p99,
            labels=dict(self._labels.most_common()),
        )
