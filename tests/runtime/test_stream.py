from __future__ import annotations

import threading
import time
from contextlib import closing, nullcontext
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import pytest

from metfa.runtime import Frame, Observation, PlaneEvent, Prediction, Source, StreamStatistics, stream
from metfa.runtime.errors import SourceError
from metfa.runtime.streaming import loop

from .conftest import FakeClassifier, make_contract, make_observation, make_prediction

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from metfa.runtime.streaming.loop import Classifier

LOST = SourceError(expected="a frame", received="none", remedy="look after it")


PICTURE = np.random.default_rng(0).integers(0, 256, (32, 40), np.uint8)
CONTRACT = make_contract(("plane 0", "plane 1"))


def prediction_of(label: str) -> Prediction:
    probabilities = np.full(2, 1e-3, np.float32)
    probabilities[int(label[-1])] = 0.999
    return make_prediction(label, probabilities, PICTURE)


def by_parity(image: NDArray[np.uint8]) -> Prediction:
    return prediction_of(f"plane {image[0, 0] % 2}")


classify = FakeClassifier(by_parity, CONTRACT)


def observations_of(items: Iterable[Observation | PlaneEvent]) -> list[Observation]:
    return [item for item in items if isinstance(item, Observation)]


class Pictures(Source):
    """Frames as fast as they are taken, then perhaps an error; remembers how many were taken."""

    rate = 30.0
    description = "pictures"

    def __init__(self, number: int, *, live: bool = False, error: Exception | None = None) -> None:
        self.live = live
        self.number = number
        self.error = error
        self.taken = 0
        self.exhausted = threading.Event()

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self.number):
            self.taken += 1
            yield Frame(np.full((2, 2), index % 256, np.uint8), index, time.monotonic(), "picture")
        self.exhausted.set()
        if self.error is not None:
            raise self.error


class Silent(Source):
    """Blocks in its first read until it is closed."""

    live = True
    rate = 30.0
    description = "nothing"

    def __init__(self) -> None:
        self.closed = threading.Event()

    def __iter__(self) -> Iterator[Frame]:
        self.closed.wait()
        yield from ()

    def close(self) -> None:
        self.closed.set()


def test_every_frame_of_a_file_is_classified_in_order() -> None:
    observations = observations_of(stream(Pictures(100), classify))
    assert [observation.frame.index for observation in observations] == list(range(100))
    assert [observation.prediction.label for observation in observations[:3]] == ["plane 0", "plane 1", "plane 0"]
    assert all(observation.decided_at >= observation.frame.captured_at for observation in observations)


def test_a_file_waits_for_the_classifier() -> None:
    source = Pictures(1000)
    with closing(stream(source, classify)) as observations:
        next(observations)
        time.sleep(0.05)
        assert source.taken < 10


def test_frames_of_a_file_are_classified_at_once_and_stay_in_order() -> None:
    both_are_classified = threading.Barrier(2, timeout=10)

    def classify_in_pairs(image: NDArray[np.uint8]) -> Prediction:
        both_are_classified.wait()
        time.sleep(0.002 * (image[0, 0] % 3))  # later frames are ready first
        return by_parity(image)

    fake = FakeClassifier(classify_in_pairs, CONTRACT, concurrency=2)
    observations = observations_of(stream(Pictures(40), fake))
    assert [each.frame.index for each in observations] == list(range(40))
    assert [each.prediction.label for each in observations] == [f"plane {index % 2}" for index in range(40)]


def test_a_classifier_is_asked_in_the_callers_thread_as_long_as_it_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    in_this_thread: list[bool] = []

    def classify(classifier: Classifier, picture: NDArray[np.uint8]) -> loop._Timed:
        in_this_thread.append(threading.current_thread() is threading.main_thread())
        slow = 60 <= len(in_this_thread) < 80
        return loop._Timed(classifier.classify(picture), 0.01 if slow else 0.0001)

    monkeypatch.setattr(loop, "_classify", classify)
    observations = observations_of(stream(Pictures(160), FakeClassifier(by_parity, CONTRACT, concurrency=2)))
    assert [each.frame.index for each in observations] == list(range(160))
    assert [in_this_thread[index] for index in (0, 59, 79, 159)] == [False, True, False, True]


def test_of_frames_that_are_classified_at_once_those_before_an_error_come_first() -> None:
    def refuse_the_seventh(image: NDArray[np.uint8]) -> Prediction:
        if image[0, 0] == 7:
            raise LOST
        time.sleep(0.002)
        return by_parity(image)

    items = stream(Pictures(10), FakeClassifier(refuse_the_seventh, CONTRACT, concurrency=3))
    assert [each.frame.index for each in observations_of(list(islice(items, 7)))] == list(range(7))
    with pytest.raises(SourceError, match="look after it"):
        next(items)


@pytest.mark.parametrize("live", [False, True])
def test_a_request_to_stop_does_not_wait_for_frames_that_are_worked_on(live: bool) -> None:
    answer = threading.Event()

    def never(image: NDArray[np.uint8]) -> Prediction:
        answer.wait()
        return by_parity(image)

    answers = iter([False, False, True])
    items = stream(Pictures(10, live=live), FakeClassifier(never, CONTRACT, concurrency=2), stop=lambda: next(answers))
    assert list(items) == []
    answer.set()


def test_a_live_frame_has_the_classifier_for_itself() -> None:
    inside: list[int] = []

    def count_threads(image: NDArray[np.uint8]) -> Prediction:
        inside.append(threading.get_ident())
        return by_parity(image)

    list(stream(Pictures(5, live=True), FakeClassifier(count_threads, CONTRACT, concurrency=4)))
    assert len(set(inside)) == 1


def test_of_a_live_source_only_the_newest_frame_is_classified() -> None:
    source = Pictures(1000, live=True)

    def classify_slowly(image: NDArray[np.uint8]) -> Prediction:
        source.exhausted.wait()
        return by_parity(image)

    observations = observations_of(stream(source, FakeClassifier(classify_slowly, CONTRACT)))
    indices = [observation.frame.index for observation in observations]
    assert len(indices) <= 2
    assert indices[-1] == 999


@pytest.mark.parametrize("live", [True, False])
def test_what_was_captured_before_the_source_failed_is_classified(live: bool) -> None:
    items = stream(Pictures(1, live=live, error=LOST), classify)
    (observation,) = observations_of([next(items)])
    assert observation.frame.index == 0
    with pytest.raises(SourceError, match="look after it"):
        next(items)


def test_a_new_session_is_announced_before_its_first_frame() -> None:
    class Lost(Pictures):
        def __iter__(self) -> Iterator[Frame]:
            for frame in super().__iter__():
                yield replace(frame, session=frame.index // 3)

    fake = FakeClassifier(by_parity, CONTRACT)
    assert [fake.restarts for _ in stream(Lost(7), fake)] == [0, 0, 0, 1, 1, 1, 2]


def see_a_plane(image: NDArray[np.uint8]) -> Prediction:
    """Always the same plane, in pictures that move."""
    scene = np.linspace(30, 200, 40) + np.random.default_rng(image[0, 0]).integers(0, 40, (32, 40))
    return replace(prediction_of("plane 1"), picture=scene.astype(np.uint8))


@pytest.mark.parametrize("error", [None, LOST])
def test_the_plane_that_is_shown_in_the_end_is_an_event(error: SourceError | None) -> None:
    items: list[Observation | PlaneEvent] = []
    with pytest.raises(SourceError) if error else nullcontext():
        for item in stream(Pictures(60, error=error), FakeClassifier(see_a_plane, CONTRACT)):
            items.append(item)  # noqa: PERF402  # what came before the error counts
    *observations, event = items
    assert observations_of(observations) == observations
    assert isinstance(event, PlaneEvent)
    assert (event.plane, event.end_index, event.end) == ("plane 1", 59, 59 / 30)
    assert [observation.time for observation in observations_of(items)] == [index / 30 for index in range(60)]
    assert [observation.decision.plane for observation in observations_of(items)][::59] == [None, "plane 1"]


def test_a_new_session_ends_the_event_before_its_first_frame() -> None:
    class Lost(Pictures):
        def __iter__(self) -> Iterator[Frame]:
            for frame in super().__iter__():
                yield replace(frame, session=frame.index // 30)

    items = list(stream(Lost(60), FakeClassifier(see_a_plane, CONTRACT)))
    assert [place for place, item in enumerate(items) if isinstance(item, PlaneEvent)] == [30, 61]


def test_the_last_frame_of_a_session_ends_the_event_at_once() -> None:
    class Recordings(Pictures):
        def __iter__(self) -> Iterator[Frame]:
            for frame in super().__iter__():
                yield replace(frame, session=frame.index // 30, last=frame.index % 30 == 29)

    items = list(stream(Recordings(60), FakeClassifier(see_a_plane, CONTRACT)))
    assert [place for place, item in enumerate(items) if isinstance(item, PlaneEvent)] == [30, 61]
    assert [item.end_index for item in items if isinstance(item, PlaneEvent)] == [29, 59]


def test_a_single_image_among_recordings_is_decided_by_itself() -> None:
    class Images(Pictures):
        def __iter__(self) -> Iterator[Frame]:
            for frame in super().__iter__():
                yield replace(frame, session=frame.index, last=True)

    items = list(stream(Images(2), FakeClassifier(see_a_plane, CONTRACT)))
    assert [item.decision.plane for item in observations_of(items)] == ["plane 1"] * 2
    assert [(item.start_index, item.best.index) for item in items if isinstance(item, PlaneEvent)] == [(0, 0), (1, 1)]


def test_stills_make_no_events() -> None:
    pictures = Pictures(60)
    pictures.continuous = False
    items = list(stream(pictures, FakeClassifier(see_a_plane, CONTRACT)))
    assert [observation.decision.plane for observation in observations_of(items)] == ["plane 1"] * 60
    assert len(items) == 60


def test_a_live_stream_has_the_times_of_its_captures() -> None:
    class Timed(Pictures):
        def __iter__(self) -> Iterator[Frame]:
            for frame in super().__iter__():
                yield replace(frame, captured_at=100 + 10 * frame.index)
                time.sleep(0.01)

    observations = observations_of(stream(Timed(5, live=True), classify))
    first = observations[0].frame
    assert [each.time for each in observations] == [10 * (each.frame.index - first.index) for each in observations]


def test_an_empty_source_ends_the_stream() -> None:
    assert list(stream(Pictures(0), classify)) == []


def test_errors_of_the_classifier_are_raised() -> None:
    def refuse(_: NDArray[np.uint8]) -> Prediction:
        raise LOST

    with pytest.raises(SourceError):
        list(stream(Pictures(10), FakeClassifier(refuse, CONTRACT)))


def test_a_request_to_stop_is_heard_while_no_frame_comes() -> None:
    answers = iter([False, False, True])
    with Silent() as source:
        assert list(stream(source, classify, stop=lambda: next(answers))) == []


@pytest.mark.parametrize("live", [True, False])
def test_the_thread_ends_with_the_stream(live: bool) -> None:
    with closing(stream(Pictures(10**9, live=live), classify)) as observations:
        assert len(list(islice(observations, 3))) == 3
        assert capturing()
    assert not capturing()


def capturing() -> bool:
    return any(thread.name == "metfa capture" for thread in threading.enumerate())


def observe(index: int, *, captured_at: float, latency: float, label: str) -> Observation:
    frame = Frame(np.zeros((2, 2), np.uint8), index, captured_at, "test")
    return make_observation(frame, prediction_of("plane 0"), plane=label, latency=latency)


@pytest.fixture
def statistics() -> StreamStatistics:
    """Of 101 frames with 1 to 101 ms of latency, in which ten were dropped after the first."""
    statistics = StreamStatistics()
    for number in range(101):
        index = number + 10 if number else 0
        statistics.add(
            observe(index, captured_at=number / 10, latency=(number + 1) / 1000, label="a" if number < 75 else "β")
        )
    return statistics


def test_summary(statistics: StreamStatistics) -> None:
    summary = statistics.summary()
    assert summary.frames == statistics.frames == 101
    assert summary.dropped == 10
    assert summary.fps == pytest.approx(101 / 10.101)
    assert (summary.p50_ms, summary.p95_ms, summary.p99_ms) == pytest.approx((51, 96, 100), rel=0.01)
    assert summary.labels == {"a": 75, "β": 26}


def test_a_stream_can_go_on_after_a_summary(statistics: StreamStatistics) -> None:
    statistics.summary()
    statistics.add(observe(111, captured_at=11, latency=0, label="a"))
    assert statistics.summary().frames == 102


def test_summary_in_words(statistics: StreamStatistics) -> None:
    summary = statistics.summary()
    percentiles = f"p50 {summary.p50_ms:.1f} ms, p95 {summary.p95_ms:.1f} ms, p99 {summary.p99_ms:.1f} ms"
    lines = [
        "101 frames, 10 dropped, 10.0 frames/s",
        f"capture to decision: {percentiles}; 1 stale (> 100 ms)",
        "a       75   74.3%  ######################",
        "β       26   25.7%  ########",
    ]
    assert summary.describe(live=True).splitlines() == lines
    assert summary.describe(live=False).splitlines() == [line for line in lines if "capture to decision" not in line]


def test_summary_of_nothing() -> None:
    assert StreamStatistics().summary().describe(live=True) == "no frame was classified"
