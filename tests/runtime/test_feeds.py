"""Sinks that are slow, fail or hang."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from metfa.runtime import Frame, Observation, PlaneEvent
from metfa.runtime.errors import OutputError
from metfa.runtime.handoff import Limit
from metfa.runtime.sinks import Feeds, Sink, feeds

from .conftest import make_observation, make_prediction

if TYPE_CHECKING:
    from metfa.runtime.sinks.base import Kind

FULL = OutputError(expected="room", received="a full disk", remedy="free some")


def frame_of(index: int) -> Frame:
    return Frame(np.full((48, 64), index % 256, np.uint8), index, time.monotonic(), "test")


def observe(index: int) -> Observation:
    return make_observation(frame_of(index), make_prediction("a", np.ones(1, np.float32), np.ones((9, 9), np.uint8)))


def end(index: int) -> PlaneEvent:
    return PlaneEvent("a", 0.0, 1.0, 0, index, 1.0, frame_of(index))


class Collector(Sink):
    """Keeps what it is given; waits before each unless it may go on, and fails where it is told to.

    What is no view is required, unless that is said.
    """

    name = "collector"

    def __init__(
        self, kind: Kind, *, required: bool | None = None, fails_at: int | None = None, error: Exception = FULL
    ) -> None:
        self.kind = kind  # type: ignore[misc]  # one class for all kinds
        self.required = kind != "view" if required is None else required  # type: ignore[misc]
        self.fails_at = fails_at
        self.error = error
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.began = threading.Event()
        self.observations: list[Observation] = []
        self.events: list[PlaneEvent] = []
        self.closed = False

    def write(self, observation: Observation) -> None:
        self.began.set()
        self.may_go_on.wait(10)
        if observation.frame.index == self.fails_at:
            raise self.error
        self.observations.append(observation)

    def write_event(self, event: PlaneEvent) -> None:
        self.events.append(event)

    def close(self) -> None:
        self.closed = True

    @property
    def indices(self) -> list[int]:
        return [observation.frame.index for observation in self.observations]


def stall(sink: Collector, into: Feeds) -> None:
    """Give ``sink`` a first observation, in which it stays."""
    sink.may_go_on.clear()
    into.put(observe(0))
    sink.began.wait(10)


@pytest.mark.parametrize("kind", ["pictures", "records"])
@pytest.mark.parametrize("live", [True, False])
def test_a_fast_sink_gets_everything_in_order(kind: Kind, live: bool) -> None:
    sink = Collector(kind)
    with Feeds(live=live) as into:
        into.add(sink)
        for index in range(25):
            into.put(observe(index))
        into.put(end(24))
    assert sink.indices == list(range(25))
    assert sink.closed
    pictures = [observation.frame.image for observation in sink.observations]
    pictures += [observation.prediction.picture for observation in sink.observations]
    pictures += [event.best.image for event in sink.events]
    assert len(pictures) == 51
    assert all((picture.size == 0) == (kind == "records") for picture in pictures)


@pytest.mark.parametrize("live", [True, False])
def test_a_slow_view_gets_the_newest_and_the_events(live: bool) -> None:
    sink, missed = Collector("view"), list[str]()
    with Feeds(live=live, missed=missed.append) as into:
        into.add(sink)
        stall(sink, into)
        for index in range(1, 100):
            into.put(observe(index))
            if index in {3, 50}:
                into.put(end(index))
        sink.may_go_on.set()
    assert sink.indices == [0, 99]
    assert [event.end_index for event in sink.events] == [3, 50]
    assert missed == []  # nobody sees more than the newest


@pytest.mark.parametrize(
    ("kind", "frames", "inputs"), [("pictures", True, True), ("inputs", False, True), ("records", False, False)]
)
def test_what_is_large_waits_only_for_sinks_that_need_it(kind: Kind, frames: bool, inputs: bool) -> None:
    sink = Collector(kind)
    sink.may_go_on.set()
    with Feeds(live=True) as into:
        into.add(sink)
        into.put(observe(0))
        into.put(end(1))
    (observation,), (event,) = sink.observations, sink.events
    assert [bool(each.image.size) for each in (observation.frame, event.best)] == [frames, frames]
    assert bool(observation.prediction.picture.size) == inputs


@pytest.mark.parametrize("kind", ["pictures", "inputs"])
def test_a_slow_video_misses_frames_and_no_events(monkeypatch: pytest.MonkeyPatch, kind: Kind) -> None:
    monkeypatch.setitem(feeds._LIVE[kind], Observation, Limit(4, "replace"))
    sink, missed = Collector(kind), list[str]()
    with Feeds(live=True, missed=missed.append) as into:
        into.add(sink)
        stall(sink, into)
        for index in range(1, 20):
            into.put(observe(index))
            if index in {1, 2, 19}:
                into.put(end(index))
        sink.may_go_on.set()
    assert sink.indices == [0, 16, 17, 18, 19]
    assert missed == ["collector"] * 15
    assert [event.end_index for event in sink.events] == [1, 2, 19]


@pytest.mark.parametrize("kind", ["view", "pictures"])
def test_a_sink_that_hangs_does_not_pile_up_events(monkeypatch: pytest.MonkeyPatch, kind: Kind) -> None:
    limit = feeds._LIVE[kind][PlaneEvent]
    monkeypatch.setitem(feeds._LIVE[kind], PlaneEvent, limit._replace(capacity=3))
    sink = Collector(kind)
    into = Feeds(live=True)
    into.add(sink)
    stall(sink, into)
    for index in range(5):
        into.put(end(index))
    assert into.failed == (kind == "pictures")
    sink.may_go_on.set()
    if kind == "pictures":
        with pytest.raises(OutputError, match="received 3 events behind the stream"):
            into.close()
    else:
        into.close()
        assert [event.end_index for event in sink.events] == [2, 3, 4]


def test_records_that_fall_too_far_behind_end_a_live_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(feeds._LIVE["records"], Observation, Limit(4, "refuse"))
    sink = Collector("records")
    into = Feeds(live=True)
    into.add(sink)
    stall(sink, into)
    for index in range(1, 6):
        assert not into.failed
        into.put(observe(index))
    assert into.failed
    sink.may_go_on.set()
    with pytest.raises(OutputError, match="received 4 records behind the stream"):
        into.close()
    assert sink.closed


@pytest.mark.parametrize("kind", ["pictures", "inputs", "records"])
def test_a_file_waits_for_slow_sinks(monkeypatch: pytest.MonkeyPatch, kind: Kind) -> None:
    limit = feeds._LIVE[kind][Observation]
    monkeypatch.setitem(feeds._LIVE[kind], Observation, limit._replace(capacity=2))
    sink = Collector(kind)
    with Feeds(live=False) as into:
        into.add(sink)
        stall(sink, into)
        threading.Timer(0.1, sink.may_go_on.set).start()
        for index in range(1, 20):
            into.put(observe(index))
    assert sink.indices == list(range(20))


def test_one_slow_sink_does_not_delay_another() -> None:
    slow, fast = Collector("records"), Collector("records")
    with Feeds(live=True) as into:
        into.add(slow)
        into.add(fast)
        stall(slow, into)
        into.put(observe(1))
        while len(fast.observations) < 2:
            time.sleep(0.001)
        slow.may_go_on.set()


@pytest.mark.parametrize("kind", ["view", "pictures", "inputs", "records"])
@pytest.mark.parametrize("error", [FULL, ZeroDivisionError("oh")])
def test_what_is_not_vital_is_reported_once_and_left_out_when_it_fails(kind: Kind, error: Exception) -> None:
    view, other = Collector(kind, required=False, fails_at=0, error=error), Collector("records")
    said: list[str] = []
    with Feeds(live=True, notify=said.append) as into:
        into.add(view)
        into.add(other)
        into.put(observe(0))
        while not view.closed:
            time.sleep(0.001)
        for index in range(1, 6):
            into.put(observe(index))
        assert not into.failed
    assert view.indices == []
    assert other.indices == [0, 1, 2, 3, 4, 5]
    (line,) = said
    assert line.startswith("collector: left out from here on: expected ")
    assert ("a full disk" if error is FULL else "ZeroDivisionError: oh") in line


@pytest.mark.parametrize("kind", ["pictures", "records"])
@pytest.mark.parametrize("error", [FULL, ZeroDivisionError("oh")])
def test_a_file_that_fails_ends_the_stream_and_leaves_the_others_complete(kind: Kind, error: Exception) -> None:
    sink, other = Collector(kind, fails_at=2, error=error), Collector("records")
    into = Feeds(live=False)
    into.add(sink)
    into.add(other)
    index = 0
    while not into.failed:
        into.put(observe(index))
        index += 1
    with pytest.raises(OutputError, match="a full disk" if error is FULL else "received ZeroDivisionError: oh"):
        into.close()
    assert sink.indices == [0, 1]
    assert sink.closed
    assert other.indices == list(range(index))


def test_a_second_failure_is_reported_beside_the_first() -> None:
    said: list[str] = []
    into = Feeds(live=True, notify=said.append)
    for _ in range(2):
        into.add(Collector("records", fails_at=0))
    into.put(observe(0))
    with pytest.raises(OutputError, match="a full disk"):
        into.close()
    assert said == [str(FULL)]


@pytest.mark.parametrize("kind", ["pictures", "inputs", "records", "view"])
def test_a_sink_that_hangs_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch, kind: Kind) -> None:
    monkeypatch.setattr(feeds._Feed, "_SHUTDOWN_SECONDS", 0.05)
    sink = Collector(kind)
    into = Feeds(live=False, shutdown_requested=lambda: True)
    into.add(sink)
    stall(sink, into)
    into.put(observe(1))
    if kind == "view":
        into.close()
    else:
        with pytest.raises(OutputError, match="received an end before the last 1 observations"):
            into.close()
    sink.may_go_on.set()


@pytest.mark.parametrize("kind", ["pictures", "inputs", "records", "view"])
def test_a_sink_that_takes_long_to_close_has_missed_nothing(monkeypatch: pytest.MonkeyPatch, kind: Kind) -> None:
    monkeypatch.setattr(feeds._Feed, "_SHUTDOWN_SECONDS", 0.05)
    sink, said = Collector(kind), list[str]()
    into = Feeds(live=False, shutdown_requested=lambda: True, notify=said.append)
    into.add(sink)
    stall(sink, into)  # in its last observation
    if kind == "view":
        into.close()
    else:
        with pytest.raises(OutputError, match="received an end before it was complete; write it to a faster disk"):
            into.close()
    assert said == []
    sink.may_go_on.set()
