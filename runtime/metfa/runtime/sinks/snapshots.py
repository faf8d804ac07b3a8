"""The best frame of each plane that was held, like a sonographer's freeze button."""

from __future__ import annotations

import re
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import count
from typing import TYPE_CHECKING

import cv2

from ..bundle.records import to_json
from ..files import make_directory, remove_empty, replacing, utf8, writing_to
from .base import Sink

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ..frame import Observation, PlaneEvent

SCHEMA = 1
"""Version of the fields of :class:`SnapshotRecord`."""

_MAX_PLANE_LENGTH = 40  # characters of a plane's name in that of a file


@dataclass(frozen=True, slots=True)
class SnapshotRecord:
    """What the JSON beside a picture says.

    Attributes:
        schema: version of these fields.
        plane: the plane's name.
        confidence: the highest smoothed, calibrated probability while it was held, in [0, 1].
        start: seconds into the stream of the plane's first frame.
        end: the same of its last.
        start_index: number of its first frame.
        end_index: number of its last.
        best_index: number of the frame in the picture.
        source: what that frame came from.
        session: how often the source had been lost before.
        captured: when the frame became available, UTC, as ISO 8601 with milliseconds.
    """

    schema: int
    plane: str
    confidence: float
    start: float
    end: float
    start_index: int
    end_index: int
    best_index: int
    source: str
    session: int
    captured: str


class SnapshotSink(Sink):
    """For each event its best frame, as the source delivered it, with a record beside it.

    ::

        20261126T215511.123Z-Femur.png
        20261126T215511.123Z-Femur.json

    Names begin with the time of the frame, so that they sort by it. Both files are whole or not there, the record is
    never there without the picture, and no file that is there is replaced, whoever else writes to the directory.

    Args:
        directory: made if it is missing.

    Raises:
        OutputError: the directory cannot be written.
    """

    name = "snapshots"
    kind = "pictures"
    required = True

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        with writing_to(directory):
            self._made = make_directory(directory)
            tempfile.TemporaryFile(dir=directory).close()  # better now than at the first event
        # Once, so that names keep the order of the frames when somebody sets the clock.
        self._epoch = time.time() - time.monotonic()

    def write(self, observation: Observation) -> None:
        """Nothing is kept of observations."""

    def write_event(self, event: PlaneEvent) -> None:
        """Save the event's best frame."""
        best = event.best
        captured = datetime.fromtimestamp(self._epoch + best.captured_at, timezone.utc)
        milliseconds = f"{captured.microsecond // 1000:03}"
        record = SnapshotRecord(
            schema=SCHEMA,
            plane=event.plane,
            confidence=round(event.confidence, 6),
            start=round(event.start, 3),
            end=round(event.end, 3),
            start_index=event.start_index,
            end_index=event.end_index,
            best_index=best.index,
            source=utf8(best.source),
            session=best.session,
            captured=f"{captured:%Y-%m-%dT%H:%M:%S}.{milliseconds}Z",
        )
        picture = cv2.imencode(".png", best.image)[1].tobytes()
        plane = re.sub(r"[^\w.-]+", "-", utf8(event.plane)).strip("-.")[:_MAX_PLANE_LENGTH]
        with (
            self._reserved(f"{captured:%Y%m%dT%H%M%S}.{milliseconds}Z-{plane}") as name,
            replacing(self._directory / f"{name}.json") as record_path,
            replacing(self._directory / f"{name}.png") as picture_path,
        ):
            picture_path.write_bytes(picture)
            record_path.write_text(to_json(record), encoding="utf-8", newline="\n")

    def close(self) -> None:
        """Leave no folder behind that was made for nothing."""
        remove_empty(self._made)

    @contextmanager
    def _reserved(self, name: str) -> Iterator[str]:
        """Yield ``name``, or that with a number, of files that are not there, and that nobody else makes meanwhile."""
        for number in count(1):
            candidate = name if number == 1 else f"{name}-{number}"
            reservation = self._directory / f".{candidate}"
            with writing_to(self._directory):
                try:
                    reservation.touch(exist_ok=False)
                except FileExistsError:
                    continue
            try:
                if not any((self._directory / f"{candidate}{suffix}").exists() for suffix in (".png", ".json")):
                    yield candidate
                    return
            finally:
                reservation.unlink(missing_ok=True)
