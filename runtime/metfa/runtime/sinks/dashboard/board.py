"""What the dashboard shows at a moment."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from ...files import utf8
from ..scanner import sentence

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...frame import Observation, PlaneEvent
    from ...streaming.summary import StreamStatistics, StreamSummary
    from ..scanner import ScannerSink

HISTORY_SECONDS = 120
"""How far back the timeline goes."""

FRAME_SECONDS = 1 / 15
"""Between two frames that viewers are shown."""

_SAMPLE_SECONDS = 0.25  # between two points of the timeline
_STATISTICS_SECONDS = 0.5
_MAX_EVENTS = 24
_PICTURE_WIDTH, _BEST_WIDTH = 1280, 480  # pixels; wider ones are shrunk
_QUALITY = 82  # of JPEG, at which speckle looks like the original's


@dataclass(frozen=True, slots=True)
class About:
    """What does not change while the stream goes on.

    Attributes:
        source: what is opened.
        live: whether it is live.
        backend: what runs the model, until another takes over.
        labels: the class names, in the order of the probabilities.
        name: of the source, where there are several.
    """

    source: str
    live: bool
    backend: str
    labels: Sequence[str]
    name: str = ""


@dataclass(frozen=True, slots=True)
class BestFrame:
    """An event with its best frame.

    Attributes:
        message: what the page is told.
        picture: its frame as JPEG.
    """

    message: dict[str, Any]
    picture: bytes


class Board:
    """Keeps the newest observation, the last minutes and the last events, in memory that does not grow.

    The stream hands over observations and events; the server, in its own thread, calls everything else. What viewers
    are shown changes with ``tick`` only, so that all see the same, and no picture is encoded for nobody.

    Args:
        about: what does not change.
        statistics: that the stream's observations and events are added to.
        scanner: the scanner check, where there is one.

    Attributes:
        about: as it was given.
        frame: what the page is told of the shown frame, or None before the first. Its number is how often another one
            was shown.
        statistics: what the page is told twice a second of the run.
    """

    def __init__(self, about: About, statistics: StreamStatistics, scanner: ScannerSink | None = None) -> None:
        self.about = about
        self.frame: dict[str, Any] | None = None
        self.statistics: dict[str, Any] = {}
        self._ended = False
        self._failure: str | None = None
        self._source = statistics
        self._scanner = scanner
        self._began = time.monotonic()
        self._newest: Observation | None = None
        self._shown: tuple[int, Observation] | None = None  # replaced in one step, as other threads read it
        self._picture: tuple[int, bytes] = (0, b"")
        self._history: deque[dict[str, Any]] = deque(maxlen=round(HISTORY_SECONDS / _SAMPLE_SECONDS))
        self._best: deque[BestFrame] = deque(maxlen=_MAX_EVENTS)
        self._events = 0
        self._lock = threading.Lock()  # for the two above, which the stream adds to
        self._encoding = threading.Lock()
        self._sampled_at = -math.inf
        self._statistics_at = 0.0

    def put(self, observation: Observation) -> None:
        """Take the newest observation."""
        self._newest = observation

    def put_event(self, event: PlaneEvent) -> None:
        """Take the newest event, and encode its best frame, as the event may be all that is left of it."""
        picture = _to_jpeg(event.best.image, _BEST_WIDTH)
        with self._lock:
            self._events += 1
            self._best.append(BestFrame(_describe_event(event, self._events), picture))

    def fail(self, reason: str) -> None:
        """Take what ended the source."""
        self._failure = reason
        self.end()

    def end(self) -> None:
        """Show that the source has ended."""
        self._ended = True
        self._statistics_at = 0.0

    def tick(self) -> None:
        """Show what is the newest now."""
        now = time.monotonic() - self._began
        newest = self._newest
        number, shown = self._shown or (0, None)
        if newest is not None and newest is not shown:
            self._shown = (number + 1, newest)
            self.frame = self._describe_frame(number + 1, newest)
            if not 0 <= newest.time - self._sampled_at < _SAMPLE_SECONDS:
                self._sampled_at = newest.time
                names = ("time", "session", "label", "plane", "latency_ms")
                self._history.append({name: self.frame[name] for name in names})
        if now >= self._statistics_at:
            self._statistics_at = now + _STATISTICS_SECONDS
            self.statistics = {
                "time": round(now, 3),
                **asdict(self.summary()),
                "scanner": self._describe_scanner(),
                "backend": self._describe_model(),
                "ended": self._ended,
                "failure": None if self._failure is None else utf8(self._failure),
            }

    def greeting(self) -> dict[str, Any]:
        """Return what a viewer is told first."""
        return {
            "name": utf8(self.about.name),
            "source": utf8(self.about.source),
            "live": self.about.live,
            "backend": self._describe_model(),
            "labels": [utf8(label) for label in self.about.labels],
            "history_seconds": HISTORY_SECONDS,
            "history": list(self._history),
        }

    def events_after(self, number: int) -> list[dict[str, Any]]:
        """Return what the page is told of the last events with higher numbers, the oldest first."""
        with self._lock:
            return [best.message for best in self._best if best.message["number"] > number]

    def picture(self) -> bytes | None:
        """Return the shown frame as JPEG, or None before the first. May be called by any thread; encodes once."""
        with self._encoding:
            shown = self._shown
            if shown is None:
                return None
            number, observation = shown
            if self._picture[0] != number:
                self._picture = (number, _to_jpeg(observation.frame.image, _PICTURE_WIDTH))
            return self._picture[1]

    def best_frame(self, number: int) -> bytes | None:
        """Return the best frame of an event as JPEG, or None where it is not kept (any more)."""
        with self._lock:
            return next((best.picture for best in self._best if best.message["number"] == number), None)

    def thumbnail(self) -> bytes | None:
        """Return the shown frame as a small JPEG, or None before the first; as above."""
        shown = self._shown
        return None if shown is None else _to_jpeg(shown[1].frame.image, _BEST_WIDTH)

    def summary(self) -> StreamSummary:
        """Return what the stream amounts to up to now."""
        return self._source.summary()

    def overview(self) -> dict[str, Any]:
        """Return what the grid is told."""
        return {
            "name": utf8(self.about.name),
            "live": self.about.live,
            "labels": [utf8(label) for label in self.about.labels],
            "frame": self.frame,
            "statistics": {
                name: self.statistics.get(name)
                for name in ("time", "frames", "idle_s", "losses", "dropped", "ended", "failure")
            },
        }

    @staticmethod
    def _describe_frame(number: int, observation: Observation) -> dict[str, Any]:
        frame, prediction, decision = observation.frame, observation.prediction, observation.decision
        return {
            "number": number,
            "time": round(observation.time, 3),
            "index": frame.index,
            "session": frame.session,
            "label": utf8(prediction.label),
            "confidence": round(prediction.confidence, 4),
            "probabilities": [round(value, 4) for value in prediction.probabilities.tolist()],
            "status": str(decision),
            "plane": utf8(decision.plane) if decision.plane is not None else None,
            "plane_confidence": round(decision.confidence, 4),
            "latency_ms": round(observation.latency_ms, 2),
        }

    def _describe_model(self) -> str:
        newest = self._newest
        return utf8(self.about.backend if newest is None or newest.model is None else str(newest.model))

    def _describe_scanner(self) -> dict[str, Any] | None:
        if self._scanner is None:
            return None
        report, names = self._scanner.finding()
        distances = [distance for distance in (report.source, report.target) if distance is not None]
        return {
            "verdict": report.verdict,
            "text": utf8(sentence(report, names)),
            "scanners": [
                {"name": utf8(name), "distance": round(distance, 3) if math.isfinite(distance) else None}
                for name, distance in zip(names, distances, strict=True)
            ],
        }


def _describe_event(event: PlaneEvent, number: int) -> dict[str, Any]:
    share = (event.best.index - event.start_index) / max(event.end_index - event.start_index, 1)
    return {
        "number": number,
        "plane": utf8(event.plane),
        "start": round(event.start, 3),
        "end": round(event.end, 3),
        "best": round(event.start + share * (event.end - event.start), 3),
        "confidence": round(event.confidence, 4),
    }


def _to_jpeg(image: NDArray[np.uint8], width: int) -> bytes:
    """Return uint8 [H, W] or [H, W, 3] (BGR) as JPEG of at most ``width`` columns."""
    if image.shape[1] > width:
        height = max(round(image.shape[0] * width / image.shape[1]), 1)
        image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
