"""Observations and events as JSON Lines."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from ..files import make_directory, remove_empty, writing_to
from .base import Sink

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ..frame import Decision, ModelIdentity, Observation, PlaneEvent


class JsonLinesSink(Sink):
    """One line of JSON for each observation and event, in the file as soon as it is written; only ever whole lines.

    ::

        {"type": "frame", "index": 0, "time": 0.0, "source": "…", "label": "…", "confidence": 0.98,
         "probabilities": {"…": 0.98, …}, "decision": {"status": "plane", "plane": "…", "confidence": 0.97},
         "latency_ms": 12.3}
        {"type": "event", "plane": "…", "start": 0.2, "end": 2.5, "start_index": 6, "end_index": 75,
         "confidence": 0.98, "best_index": 40, "source": "…"}
        {"type": "exchange", "index": 90, "time": 3.0, "from": "…", "to": "…", "backend": "…"}

    The last says that from this frame on the model of another bundle classifies, by the digests of both. The values are
    those of :class:`~metfa.runtime.frame.Observation` and :class:`~metfa.runtime.frame.PlaneEvent`:
    probabilities have six decimals, times are seconds into the stream with three.

    What the file held before is there until the first line: a stream that never begins loses nothing, and leaves no
    empty file behind.

    Args:
        path: the file.
        labels: the class names, in the order of the probabilities.

    Raises:
        OutputError: the file cannot be written.
    """

    name = "events"
    kind = "records"
    required = True

    def __init__(self, path: Path, labels: Sequence[str]) -> None:
        self._path = path
        self._labels = labels
        self._length = 0  # bytes of whole lines
        self._model: ModelIdentity | None = None  # of the last frame
        with writing_to(path):
            self._made = make_directory(path.parent)
            self._is_new = not os.path.lexists(path)
            self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o666), "wb", buffering=0)

    def write(self, observation: Observation) -> None:
        """Append the observation."""
        frame, prediction = observation.frame, observation.prediction
        previous, self._model = self._model, observation.model
        if previous is not None and observation.model is not None and observation.model != previous:
            self._append(
                {
                    "type": "exchange",
                    "index": frame.index,
                    "time": round(observation.time, 3),
                    "from": previous.bundle,
                    "to": observation.model.bundle,
                    "backend": observation.model.backend,
                }
            )
        probabilities = [round(value, 6) for value in prediction.probabilities.tolist()]
        self._append(
            {
                "type": "frame",
                "index": frame.index,
                "time": round(observation.time, 3),
                "source": frame.source,
                "label": prediction.label,
                "confidence": round(prediction.confidence, 6),
                "probabilities": dict(zip(self._labels, probabilities, strict=True)),
                "decision": decision_record(observation.decision),
                "latency_ms": round(observation.latency_ms, 3),
            }
        )

    def write_event(self, event: PlaneEvent) -> None:
        """Append the event."""
        self._append({"type": "event", **event_record(event)})

    def close(self) -> None:
        """Close the file."""
        with writing_to(self._path):
            self._file.close()
            if self._is_new and not self._length:
                self._path.unlink(missing_ok=True)
                remove_empty(self._made)

    def _append(self, record: dict[str, object]) -> None:
        line = to_json(record) + b"\n"
        with writing_to(self._path):
            if not self._length:
                self._shorten()  # what was there before
            try:
                written = 0
                while written < len(line):
                    written += self._file.write(line[written:])
            except OSError:
                self._shorten()
                raise
        self._length += len(line)

    def _shorten(self) -> None:
        """Keep the lines that were written whole, and nothing else."""
        with suppress(OSError):  # a pipe cannot be shortened
            self._file.truncate(self._length)


def decision_record(decision: Decision) -> dict[str, object]:
    """Return what a decision is in JSON."""
    return {"status": decision.status, "plane": decision.plane, "confidence": round(decision.confidence, 6)}


def event_record(event: PlaneEvent) -> dict[str, object]:
    """Return what an event is in JSON."""
    return {
        "plane": event.plane,
        "start": round(event.start, 3),
        "end": round(event.end, 3),
        "start_index": event.start_index,
        "end_index": event.end_index,
        "confidence": round(event.confidence, 6),
        "best_index": event.best.index,
        "source": event.best.source,
    }


def to_json(record: dict[str, object]) -> bytes:
    """Return a record as a line of JSON without its end."""
    # Bytes of a file name that are no UTF-8 become \udcxx, which is how JSON writes them too.
    return json.dumps(record, ensure_ascii=False).encode("utf-8", "backslashreplace")
