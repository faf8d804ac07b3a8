"""A stream that the tests make up."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from metfa.runtime import Decision, Frame, Observation, PlaneEvent, StreamStatistics
from metfa.runtime.sinks.dashboard import About, Address, Board, Dashboard

from ..conftest import make_prediction

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from metfa.runtime.frame import Status
    from metfa.runtime.sinks import ScannerSink

LABELS = ("Abdominal", "Femur", "<b>Lips</b>")
ABOUT = About("phantom:B", True, "a backend", LABELS)


def frame_of(index: int, image: NDArray[np.uint8] | None = None) -> Frame:
    """Return a frame as it would be captured now; without an image, grey of the level of its index."""
    return Frame(np.full((48, 64), index % 256, np.uint8) if image is None else image, index, time.monotonic(), "test")


def observe(
    index: int, label: str = "Femur", *, image: NDArray[np.uint8] | None = None, status: Status = "plane"
) -> Observation:
    """Return an observation as it would be made now; thirty make a second."""
    frame = frame_of(index, image)
    probabilities = np.array([0.8 if name == label else 0.1 for name in LABELS], np.float32)
    decision = Decision(status, label if status == "plane" else None, 0.75)
    prediction = make_prediction(label, probabilities, np.zeros((4, 5), np.uint8))
    return Observation(frame, prediction, decision, index / 30, frame.captured_at + 0.004)


def end(index: int, plane: str = "Femur", *, image: NDArray[np.uint8] | None = None) -> PlaneEvent:
    """Return an event that ended with frame ``index``, had 31 frames, and was best after two thirds."""
    best = frame_of(index - 10, image)
    return PlaneEvent(plane, index / 30 - 1, index / 30, index - 30, index, 0.9, best)


class Stream:
    """A dashboard, by default on a free port, and the statistics beside it; use as a context manager."""

    def __init__(self, *, port: int = 0, token: str | None = None, scanner: ScannerSink | None = None) -> None:
        self.statistics = StreamStatistics()
        board = Board(ABOUT, self.statistics, scanner)
        dashboard = Dashboard(Address("127.0.0.1", port), [board], token=token)
        (self.dashboard,) = dashboard.sinks
        self.url = dashboard.url
        self.server = dashboard._server
        self.port = int(self.url.partition("?")[0].rstrip("/").rpartition(":")[2])

    def put(self, item: Observation | PlaneEvent) -> None:
        """Let the dashboard have an observation or an event."""
        self.statistics.add(item)
        if isinstance(item, PlaneEvent):
            self.dashboard.write_event(item)
        else:
            self.dashboard.write(item)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.dashboard.close()
