"""Observations as JSON Lines."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

from ..files import writing_to
from .base import Sink

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ..frame import Observation


class JsonLinesSink(Sink):
    """One line of JSON for each observation, in the file as soon as it is written; only ever whole lines.

    ::

        {"type": "frame", "index": 0, "source": "…", "label": "…", "confidence": 0.98,
         "probabilities": {"…": 0.98, …}, "latency_ms": 12.3}

    ``index`` and ``source`` are those of the :class:`~metfa.runtime.frame.Frame`, probabilities have six decimals.

    Args:
        path: the file; what it held before is lost.
        labels: the class names, in the order of the probabilities.

    Raises:
        OutputError: the file cannot be written.
    """

    name = "events"
    kind = "records"

    def __init__(self, path: Path, labels: Sequence[str]) -> None:
        self._path = path
        self._labels = labels
        self._length = 0  # bytes of whole lines
        with writing_to(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("wb", buffering=0)

    def write(self, observation: Observation) -> None:
        """Append the observation."""
        frame, prediction = observation.frame, observation.prediction
        probabilities = [round(value, 6) for value in prediction.probabilities.tolist()]
        self._append(
            {
                "type": "frame",
                "index": frame.index,
                "source": frame.source,
                "label": prediction.label,
                "confidence": round(prediction.confidence, 6),
                "probabilities": dict(zip(self._labels, probabilities, strict=True)),
                "latency_ms": round(observation.latency_ms, 3),
            }
        )

    def close(self) -> None:
        """Close the file."""
        with writing_to(self._path):
            self._file.close()

    def _append(self, record: dict[str, object]) -> None:
        # Bytes of a file name that are no UTF-8 become \udcxx, which is how JSON writes them too.
        line = (json.dumps(record, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")
        with writing_to(self._path):
            try:
                written = 0
                while written < len(line):
                    written += self._file.write(line[written:])
            except OSError:
                with suppress(OSError):  # a pipe cannot be shortened
                    self._file.truncate(self._length)
                raise
        self._length += len(line)
