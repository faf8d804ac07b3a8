from __future__ import annotations

import threading
import time
from contextlib import closing
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import pytest

from metfa.runtime import Frame, Observation, Prediction, Source, StreamStatistics, stream
from metfa.runtime.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

LOST = SourceError(expected="a frame", received="none", remedy="look after it")


def prediction_of(label: str) -> Prediction:
    nothing = np.zeros(1, np.float32)
    return Prediction(label, 1.0, np.ones(1, np.float32), embedding=nothing, logits=nothing)


def classify(image: NDArray[np.uint8]) -> Prediction:
    return prediction_of(f"plane {image[0, 0] % 2}")


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
    observations = list(stream(Pictures(100), classify))
    assert [observation.frame.index for observation in observations] == list(range(100))
    assert [observation.prediction.label for observation in observations[:3]] == ["plane 0", "plane 1", "plane 0"]
    assert all(observation.decided_at >= observation.frame.captured_at for observation in observations)


def test_a_file_waits_for_the_classifier() -> None:
    source = Pictures(1000)
    with closing(stream(source, classify)) as observations:
        next(observations)
        time.sleep(0.05)
        assert source.taken < 10


def test_of_a_live_source_only_the_newest_frame_is_classified() -> None:
    source = Pictures(1000, live=True)

    def classify_slowly(image: NDArray[np.uint8]) -> Prediction:
        source.exhausted.wait()
        return classify(image)

    indices = [observation.frame.index for observation in stream(source, classify_slowly)]
    assert len(indices) <= 2
    assert indices[-1] == 999


@pytest.mark.parametrize("live", [True, False])
def test_what_was_captured_before_the_source_failed_is_classified(live: bool) -> None:
    observations = stream(Pictures(1, live=live, error=LOST), classify)
    assert next(observations).frame.index == 0
    with pytest.raises(SourceError, match="look after it"):
        next(observations)


def test_a_new_session_is_announced_before_its_first_frame() -> None:
    class Lost(Pictures):
        def __iter__(self) -> Iterator[Frame]:
            for frame in super().__iter__():
                yield replace(frame, session=frame.index // 3)

    calls: list[str] = []

    def classify_aloud(image: NDArray[np.uint8]) -> Prediction:
        calls.append("frame")
        return classify(image)

    list(stream(Lost(7), classify_aloud, new_session=lambda: calls.append("session")))
    assert " ".join(calls) == "frame frame frame session frame frame frame session frame"


def test_an_empty_source_ends_the_stream() -> None:
    assert list(stream(Pictures(0), classify)) == []


def test_errors_of_the_classifier_are_raised() -> None:
    def refuse(_: NDArray[np.uint8]) -> Prediction:
        raise LOST

    with pytest.raises(SourceError):
        list(stream(Pictures(10), refuse))


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
    return Observation(frame, prediction_of(label), captured_at + latency)


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
    assert str(summary).splitlines() == [
        "101 frames, 10 dropped, 10.0 frames/s",
        f"capture to decision: {percentiles}; 1 stale (> 100 ms)",
        "a       75   74.3%  ######################",
        "β       26   25.7%  ########",
    ]


def test_summary_of_nothing() -> None:
    assert str(StreamStatistics().summary()) == "no frame was classified"
