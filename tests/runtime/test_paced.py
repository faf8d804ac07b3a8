from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from metfa.runtime import Frame, stream
from metfa.runtime.errors import SourceError
from metfa.runtime.sources import PacedSource, Source, open_source

from .conftest import FakeClassifier, grey, make_contract, make_prediction, write_clip

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Recorded(Source):
    live = False
    rate = 50.0
    description = "a recording"

    def __init__(self, *times: float | None) -> None:
        self._times = times

    def __iter__(self) -> Iterator[Frame]:
        for index, seconds in enumerate(self._times):
            yield Frame(grey(100), index, time.monotonic(), "recording", time=seconds)


@pytest.mark.parametrize("times", [(0.0, 0.02, 0.03, 0.15), (0.1, 0.2), (None, None, None), ()])
def test_no_frame_comes_before_its_time_and_none_is_left_out(times: tuple[float | None, ...]) -> None:
    with PacedSource(Recorded(*times)) as source:
        assert (source.live, source.continuous, source.rate) == (False, True, 50.0)
        frames, delivered = [], []
        for frame in source:
            frames.append(frame)
            delivered.append(time.monotonic())
        due = [source.seconds_of(frame) for frame in frames]
    assert [frame.index for frame in frames] == list(range(len(times)))
    assert due == [index / 50 if each is None else each for index, each in enumerate(times)]
    for frame, at, seconds in zip(frames, delivered, due, strict=True):
        assert frame.captured_at <= at
        assert frame.captured_at - frames[0].captured_at >= seconds - due[0] - 0.002


def test_who_takes_frames_slowly_gets_all_of_them_and_catches_up() -> None:
    with PacedSource(Recorded(*(index / 50 for index in range(10)))) as source:
        frames = iter(source)
        first = next(frames)
        time.sleep(0.3)
        behind = list(frames)
    assert [frame.index for frame in behind] == list(range(1, 10))
    assert behind[-1].captured_at - behind[0].captured_at < 9 / 50
    assert behind[0].captured_at > first.captured_at


def test_closing_ends_the_wait_for_a_frame() -> None:
    source = PacedSource(Recorded(0.0, 3600.0))
    received: list[Frame] = []
    thread = threading.Thread(target=lambda: received.extend(source), daemon=True)
    thread.start()
    source.close()
    thread.join()
    assert len(received) <= 1


def test_a_live_source_has_a_pace_of_its_own() -> None:
    with open_source("phantom:B") as live, pytest.raises(SourceError, match=r"live; leave out --realtime"):
        PacedSource(live)


def test_a_clip_is_streamed_whole_in_its_own_time(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=11, rate=25.0)
    probabilities = np.array([0.1, 0.8, 0.1], np.float32)
    classifier = FakeClassifier(lambda image: make_prediction("grey", probabilities, image[..., 0]), make_contract())
    with open_source(str(clip)) as recording, PacedSource(recording) as source:
        observations = [item.frame for item in stream(source, classifier) if hasattr(item, "frame")]
    assert [frame.index for frame in observations] == list(range(11))
    assert observations[-1].captured_at - observations[0].captured_at >= 0.4 - 0.002
