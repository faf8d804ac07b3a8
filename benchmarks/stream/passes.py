"""How long a frame takes: decoding alone, inference alone, the stream, and what the stream adds in CPU time."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from metfa.runtime import Observation, PlaneClassifier, Source, StreamStatistics, open_source, stream
from metfa.runtime.backends import Inference
from metfa.runtime.sources.pyav import open_recording

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from metfa.runtime import Frame, ModelContract
    from metfa.runtime.backends import Backend
    from metfa.runtime.bundle.contract import InputSpec

WARM_UP = 20  # frames at the beginning of a pass that are not timed: threads start, buffers are filled
LIVE_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Cost:
    """What a frame costs.

    Attributes:
        wall_ms: from one frame to the next.
        cpu_ms: of all threads of the process.
    """

    wall_ms: float
    cpu_ms: float


class _Stopwatch:
    """Counts frames, the first ``WARM_UP`` of which are not timed."""

    def __init__(self) -> None:
        self.frames = 0
        self._wall = self._cpu = 0.0

    def tick(self) -> None:
        self.frames += 1
        if self.frames == WARM_UP:
            self._wall, self._cpu = time.perf_counter(), time.process_time()

    def cost(self) -> Cost:
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        timed = self.frames - WARM_UP
        return Cost(1000 * wall / timed, 1000 * cpu / timed)


def time_decoding(video: Path) -> Cost:
    """Return what FFmpeg takes to decode a frame, without a conversion of its pixels."""
    watch = _Stopwatch()
    for _ in open_recording(video):
        watch.tick()
    return watch.cost()


def time_inference(backend: Backend, size: InputSpec, frames: int = 200) -> Cost:
    """Return what the backend takes for one frame that is already the model's input: the limit."""
    tensor = np.random.default_rng(0).integers(0, 256, (1, 1, size.height, size.width), np.uint8)
    watch = _Stopwatch()
    for _ in range(frames):
        backend.infer(tensor)
        watch.tick()
    return watch.cost()


def time_stream(video: Path, classifier: PlaneClassifier) -> Cost:
    """Return what a frame takes with all that ``metfa-stream`` does for it, without sinks."""
    statistics, watch = StreamStatistics(), _Stopwatch()
    with open_source(str(video)) as source, closing(stream(source, classifier)) as items:
        for item in items:
            statistics.add(item)
            if isinstance(item, Observation):
                watch.tick()
    return watch.cost()


def time_rest(video: Path, classifier: PlaneClassifier, frames: int = 400) -> Cost:
    """Return what a frame takes but for decoding and inference: preprocessing, decisions, statistics, threads."""
    statistics, watch = StreamStatistics(), _Stopwatch()
    instant = PlaneClassifier(classifier.contract, _Instant(classifier.contract))
    with _Repeated(video, frames) as source:
        for item in stream(source, instant):
            statistics.add(item)
            if isinstance(item, Observation):
                watch.tick()
    return watch.cost()


@dataclass(frozen=True, slots=True)
class LiveAge:
    """How old frames of a live source are when they are decided on.

    Attributes:
        rate: frames per second of the source.
        classified: how many were.
        dropped: how many were not, because newer ones were there.
        p50_ms: median age.
        p99_ms: 99 % are at most this old.
    """

    rate: float
    classified: int
    dropped: int
    p50_ms: float
    p99_ms: float


def measure_age(video: Path, classifier: PlaneClassifier, rate: float) -> LiveAge:
    """Return how old the frames of a live source of ``rate`` frames per second are at their decision."""
    frames = round(rate * LIVE_SECONDS)
    with _Live(video, frames, rate) as source:
        ages = [
            1000 * (item.decided_at - item.frame.captured_at)
            for item in stream(source, classifier)
            if isinstance(item, Observation)
        ]
    p50, p99 = np.percentile(ages[WARM_UP:], (50, 99))
    return LiveAge(rate, len(ages), frames - len(ages), float(p50), float(p99))


class _Repeated(Source):
    """A few decoded frames of a video, again and again."""

    live = False
    rate = 30.0
    description = "a few frames"

    def __init__(self, video: Path, number: int) -> None:
        with open_source(str(video)) as source:
            self._frames = list(islice(source, 8))
        self._number = number

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self._number):
            yield replace(self._frames[index % 8], index=index, captured_at=time.monotonic())


class _Live(_Repeated):
    """The same at a rate, as a camera delivers them."""

    live = True

    def __init__(self, video: Path, number: int, rate: float) -> None:
        super().__init__(video, number)
        self.rate = rate

    def __iter__(self) -> Iterator[Frame]:
        due = time.monotonic()
        for index in range(self._number):
            time.sleep(max(0.0, due - time.monotonic()))
            yield replace(self._frames[index % 8], index=index, captured_at=time.monotonic())
            due += 1 / self.rate


class _Instant:
    """A backend that takes no time."""

    description = "instant"
    artefact = ""
    concurrency = 1

    def __init__(self, contract: ModelContract) -> None:
        self._inference = Inference(
            np.zeros((1, len(contract.labels)), np.float32), np.zeros((1, contract.embedding), np.float32)
        )

    def infer(self, frames: NDArray[np.uint8]) -> Inference:
        return self._inference
