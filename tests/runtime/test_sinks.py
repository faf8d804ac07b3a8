from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metfa.runtime import Decision, Frame, Observation, PlaneEvent, Prediction, open_source
from metfa.runtime.bundle.contract import Region
from metfa.runtime.errors import OutputError
from metfa.runtime.sinks import JsonLinesSink, StatusLine, StatusLineSink, VideoSink, WindowSink
from metfa.runtime.streaming.annotate import annotate

from .conftest import make_observation, make_prediction

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from metfa.runtime.frame import Status

PICTURE = np.zeros((32, 40), np.uint8)
LABELS = ("Brain (Cb.)", "Θώραξ", "頭")


def predict(label: str = "Θώραξ") -> Prediction:
    probabilities = np.array([0.125, 0.8125, 0.0625], np.float32)
    return make_prediction(label, probabilities, PICTURE)


def observe(
    index: int = 0,
    *,
    image: NDArray[np.uint8] | None = None,
    source: str = "scan.mp4",
    plane: str | None = "Θώραξ",
) -> Observation:
    if image is None:
        image = np.zeros((120, 160, 3), np.uint8)
    return make_observation(
        Frame(image, index, captured_at=1.0, source=source), predict(), plane=plane, time=index / 30
    )


def shapes_of(path: Path) -> list[tuple[int, ...]]:
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    shapes: list[tuple[int, ...]] = []
    while True:
        received, image = capture.read()
        if not received:
            return shapes
        shapes.append(image.shape)


def test_events_are_whole_lines_as_soon_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "events.jsonl"
    with JsonLinesSink(path, LABELS) as sink:
        sink.write(observe(7))
        assert json.loads(path.read_text(encoding="utf-8")) == {
            "type": "frame",
            "index": 7,
            "time": 0.233,
            "source": "scan.mp4",
            "label": "Θώραξ",
            "confidence": 0.8125,
            "probabilities": {"Brain (Cb.)": 0.125, "Θώραξ": 0.8125, "頭": 0.0625},
            "decision": {"status": "plane", "plane": "Θώραξ", "confidence": 0.8125},
            "latency_ms": 12.5,
        }
        sink.write(observe(8, plane=None))
    assert [json.loads(line)["index"] for line in path.read_text(encoding="utf-8").splitlines()] == [7, 8]


def test_events_have_records_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    event = PlaneEvent("頭", 0.26666, 2.5, 8, 75, 0.98765432, observe(40).frame)
    with JsonLinesSink(path, LABELS) as sink:
        sink.write(observe(76, plane=None))
        sink.write_event(event)
    frame, written = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    assert frame["decision"] == {"status": "no plane", "plane": None, "confidence": 0.8125}
    assert written == {
        "type": "event",
        "plane": "頭",
        "start": 0.267,
        "end": 2.5,
        "start_index": 8,
        "end_index": 75,
        "confidence": 0.987654,
        "best_index": 40,
        "source": "scan.mp4",
    }


def test_names_that_are_no_utf8_come_back_from_the_events(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff \n.png")
    with JsonLinesSink(tmp_path / "events.jsonl", LABELS) as sink:
        sink.write(observe(source=name))
    (line,) = (tmp_path / "events.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["source"] == name


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let files of this process grow to ``size`` bytes only, as if the disk were full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with JsonLinesSink(path, LABELS) as sink:
        sink.write(observe(0))
        with (
            largest_file(path.stat().st_size * 3 // 2),
            pytest.raises(OutputError, match=r"to be able to write .*events\.jsonl"),
        ):
            sink.write(observe(1))
    (line,) = path.read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["index"] == 0


@pytest.mark.parametrize("before", ["an earlier scan\n", "", None])
def test_without_lines_everything_is_as_it_was(tmp_path: Path, before: str | None) -> None:
    path = tmp_path / "new" / "events.jsonl"
    if before is not None:
        path.parent.mkdir()
        path.write_text(before)
    with JsonLinesSink(path, LABELS) as sink:
        assert path.read_text() == (before or "")
    sink.close()
    assert (path.read_text() if path.exists() else None) == before
    assert path.parent.exists() == (before is not None)


def test_the_first_line_takes_the_place_of_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text("an earlier scan\n" * 1000)
    with JsonLinesSink(path, LABELS) as sink:
        sink.write(observe(7))
    assert [json.loads(line)["index"] for line in path.read_text(encoding="utf-8").splitlines()] == [7]


def test_events_to_a_device_that_is_full() -> None:
    with JsonLinesSink(Path("/dev/full"), LABELS) as sink, pytest.raises(OutputError, match="No space left"):
        sink.write(observe())


def test_events_to_a_directory(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="Is a directory"):
        JsonLinesSink(tmp_path, LABELS)


@pytest.mark.parametrize("name", ["annotated.mp4", os.fsdecode(b"\xff \xfe.MP4")])
def test_a_video_can_be_played_while_it_grows(tmp_path: Path, name: str) -> None:
    path = tmp_path / "new" / name
    with VideoSink(path, 25, LABELS) as sink:
        for index in range(95):
            sink.write(observe(index))
        assert list(path.parent.iterdir()) == [path]
        so_far = tmp_path / "so far.mp4"
        shutil.copy(path, so_far)
    assert list(path.parent.iterdir()) == [path]
    path = path.rename(tmp_path / "video.mp4")
    assert shapes_of(path) == [(412, 480, 3)] * 95  # three times as large, and the band
    assert shapes_of(so_far) == [(412, 480, 3)] * 90, "whole seconds"


def test_frames_of_other_sizes_are_fitted_into_the_first(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    with VideoSink(path, 25, LABELS) as sink:
        for index, shape in enumerate([(120, 160), (200, 100, 3), (10, 400, 4), (1, 1), (121, 160, 1)]):
            sink.write(observe(index, image=np.zeros(shape, np.uint8)))
    assert shapes_of(path) == [(412, 480, 3)] * 5


@pytest.mark.parametrize("shape", [(480, 640), (479, 641, 3)])
def test_the_video_shows_all_of_the_frame(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = tmp_path / "video.mp4"
    scene = cv2.resize(np.random.default_rng(0).integers(0, 255, (6, 8)).astype(np.uint8), shape[1::-1])
    image = scene if len(shape) == 2 else cv2.cvtColor(scene, cv2.COLOR_GRAY2BGR)
    with VideoSink(path, 25, LABELS) as sink:
        sink.write(observe(0, image=image.astype(np.uint8)))
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    received, picture = capture.read()
    assert received
    height, width = shape[:2]
    assert picture.shape == ((height + 67 + 1) // 2 * 2, (width + 1) // 2 * 2, 3)
    assert np.abs(picture[:height, :width, 1].astype(int) - scene).mean() < 4


def test_a_video_plays_at_the_pace_of_the_stream(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    with VideoSink(path, 25, LABELS) as sink:
        for index in (3, 4, 7, 7, 100):
            sink.write(observe(index))
        lost = observe(9000)
        sink.write(replace(lost, frame=replace(lost.frame, session=1)))
    with open_source(str(path)) as source:
        times = [frame.time for frame in source]
    assert times == pytest.approx([0, 1 / 30, 4 / 30, 4 / 30, 97 / 30, 97 / 30 + 1 / 25], abs=0.0015)


def test_without_frames_there_is_no_video_and_the_old_one_stays(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    path.write_text("old")
    with VideoSink(path, 25, LABELS):
        pass
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_elsewhere_leaves_a_complete_video(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"

    def fail() -> None:
        with VideoSink(path, 25, LABELS) as sink:
            sink.write(observe())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert len(shapes_of(path)) == 1


def test_a_video_that_does_not_fit_on_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    noise = np.random.default_rng(0)
    sink = VideoSink(path, 25, LABELS)
    written = 0
    with largest_file(2_500_000):
        with pytest.raises(OutputError, match=r"to be able to write .*video\.mp4, received File too large"):  # noqa: PT012
            for index in range(200):
                sink.write(observe(index, image=noise.integers(0, 255, (96, 128, 3), np.uint8)))
                written = index
        with pytest.raises(OutputError, match="File too large"):
            sink.close()
    assert list(tmp_path.iterdir()) == [path]
    assert 30 <= written - 31 <= len(shapes_of(path)) <= written + 1


def test_a_disk_that_is_full_when_a_video_is_completed(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    sink = VideoSink(path, 25, LABELS)
    for index in range(65):
        sink.write(observe(index))
    with largest_file(path.stat().st_size + 100), pytest.raises(OutputError, match="File too large"):
        sink.close()
    assert shapes_of(path) == [(412, 480, 3)] * 60


@pytest.mark.parametrize("name", ["video.gif", "video", "video.mp4.txt"])
def test_other_containers_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match=r"ends in \.mp4"):
        VideoSink(tmp_path / name, 25, LABELS)


def test_a_video_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="to be able to write"):
        VideoSink(tmp_path / "file" / "video.mp4", 25, LABELS)
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(OutputError, match="a pipe or a device"):
        VideoSink(tmp_path / "pipe.mp4", 25, LABELS)
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(OutputError, match="Is a directory"):
        VideoSink(tmp_path / "folder.mp4", 25, LABELS)


def test_the_status_line_shows_and_vanishes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.monotonic", lambda: 0.0)
    with StatusLineSink(StatusLine()) as sink:
        sink.write(observe())
        assert "Θώραξ 81%, 1.0 frames/s" in capsys.readouterr().err
    assert capsys.readouterr().err == "\r\033[K"


def test_sources_share_the_status_line(capsys: pytest.CaptureFixture[str]) -> None:
    line = StatusLine()
    line.show("left", "no plane, 30.0 frames/s")
    line.show("right", "Femur 92%, 29.5 frames/s")
    line.show("left", "")
    assert capsys.readouterr().err.split("\r\033[K")[1:] == [
        "left: no plane, 30.0 frames/s",
        "left: no plane, 30.0 frames/s  |  right: Femur 92%, 29.5 frames/s",
        "right: Femur 92%, 29.5 frames/s",
    ]


@pytest.mark.parametrize("display", [None, ":987"])
def test_no_window_without_a_display(monkeypatch: pytest.MonkeyPatch, display: str | None) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    if display is not None:
        monkeypatch.setenv("DISPLAY", display)
    with pytest.raises(OutputError, match="expected to open a window, received"):
        WindowSink("test", LABELS)


def test_no_window_without_tkinter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setitem(sys.modules, "tkinter", None)
    with pytest.raises(OutputError, match="received a Python without tkinter"):
        WindowSink("test", LABELS)


@pytest.mark.skipif("DISPLAY" not in os.environ, reason="there is no display (run the tests under xvfb-run)")
def test_a_window_shows_frames_until_it_is_closed() -> None:
    with WindowSink("test", LABELS) as window:
        for image in (np.zeros((480, 640), np.uint8), np.zeros((3000, 5000, 3), np.uint8)):
            thread = threading.Thread(target=window.write, args=(observe(image=image),))
            thread.start()
            thread.join()
            window.refresh()
        assert not window.was_closed
        window.destroy()
        assert window.was_closed
        window.write(observe())
        window.refresh()


@given(
    st.integers(1, 300),
    st.integers(1, 300),
    st.sampled_from([(), (1,), (3,), (4,)]),
    st.lists(st.text(st.characters()), min_size=1, max_size=40, unique=True),
    st.booleans(),
)
def test_anything_can_be_annotated(
    height: int, width: int, colours: tuple[int, ...], labels: list[str], shown: bool
) -> None:
    image = np.full((height, width, *colours), 100, np.uint8)
    probabilities = np.random.default_rng(0).dirichlet(np.ones(len(labels))).astype(np.float32)
    best = labels[int(probabilities.argmax())]
    frame = Frame(image, 0, captured_at=0.0, source="anything")
    observation = make_observation(frame, make_prediction(best, probabilities, PICTURE), plane=best if shown else None)
    picture = annotate(observation, labels)
    drawn = (picture == 100).all(axis=2)
    assert (drawn[:, 0].sum() / height, drawn[0].sum() / width) == (drawn[0].sum() // width,) * 2
    height, width = int(drawn[:, 0].sum()), int(drawn[0].sum())
    assert picture.dtype == np.uint8
    assert picture.shape[0] % 2 == picture.shape[1] % 2 == 0
    assert 0 <= picture.shape[1] - width <= 1
    assert height <= picture.shape[0] <= 2 * height + 1
    assert (picture[:height, :width] == 100).all()  # nothing of the frame is hidden
    assert (image == 100).all()


@pytest.mark.parametrize(
    ("height", "width", "enlarged"),
    [(96, 128, 4), (28, 28, 18), (240, 320, 2), (359, 480, 2), (360, 480, 1), (720, 1280, 1), (60, 1000, 1)],
)
def test_each_pixel_of_a_small_frame_becomes_a_square(height: int, width: int, enlarged: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (height, width), np.uint8)
    picture = annotate(observe(image=image), LABELS)
    squares = picture[: enlarged * height, : enlarged * width, 0]
    assert (squares == image.repeat(enlarged, axis=0).repeat(enlarged, axis=1)).all()
    assert picture.shape[1] == enlarged * width


@pytest.mark.parametrize(
    ("shape", "size", "region", "inside"),
    [
        ((96, 128), None, Region(10, 20, 100, 50), Region(40, 80, 400, 200)),
        ((480, 640), None, Region(100, 50, 300, 400), Region(100, 50, 300, 400)),
        ((48, 128), (128, 96), Region(0, 10, 64, 20), Region(0, 136, 256, 80)),
        ((960, 1280), (640, 480), Region(200, 100, 600, 800), Region(100, 50, 300, 400)),
    ],
)
def test_what_the_model_sees_is_framed_and_not_hidden(
    shape: tuple[int, int], size: tuple[int, int] | None, region: Region, inside: Region
) -> None:
    observation = observe(image=np.zeros(shape, np.uint8), plane=None)
    plain = annotate(observation, LABELS, size)
    drawn = annotate(replace(observation, region=region), LABELS, size)
    rows, columns = np.nonzero((drawn != plain).any(axis=2))
    assert (rows.min(), columns.min()) == (inside.y - 1, max(0, inside.x - 1))
    assert (rows.max(), columns.max()) == (inside.y + inside.height, inside.x + inside.width)
    hidden = drawn[inside.y : inside.y + inside.height, inside.x : inside.x + inside.width]
    assert not hidden.any()


def test_a_frame_that_is_seen_whole_has_no_line() -> None:
    observation = observe(image=np.zeros((96, 128), np.uint8))
    whole = replace(observation, region=Region(0, 0, 128, 96))
    assert (annotate(whole, LABELS)[:384] == 0).all()


@pytest.mark.parametrize(("count", "bars"), [(2, 2), (6, 6), (14, 14), (16, 16), (40, 16)])
def test_the_bars_are_as_long_as_their_probabilities(count: int, bars: int) -> None:
    labels = [f"plane {index}" for index in range(count)]
    probabilities = np.random.default_rng(0).dirichlet(np.ones(count)).astype(np.float32)
    frame = observe(image=np.zeros((480, 640, 3), np.uint8)).frame
    observation = make_observation(frame, make_prediction(labels[0], probabilities, PICTURE))
    band = annotate(observation, labels)[480 + 40 :]
    grey, dark = ((band == level).all(axis=2) for level in (190, 64))
    track = grey | dark
    filled = {
        (row // 17, left): int(grey[row, left : left + 70].sum())
        for row in range(len(band))
        for left in range(1, band.shape[1] - 70)
        if track[row, left : left + 70].all() and not track[row, left - 1]
    }
    expected = [round(70 * float(probability)) for probability in np.sort(probabilities)[-bars:]]
    assert sorted(filled.values()) == expected


def accent_in(picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.asarray((picture == (70, 190, 255)).all(axis=2))


@pytest.mark.parametrize("status", ["undecided", "no plane", "frozen", "no signal", "saturated"])
def test_what_is_not_decided_is_not_highlighted(status: Status) -> None:
    black = np.zeros((480, 640, 3), np.uint8)
    picture = annotate(replace(observe(image=black), decision=Decision(status, None, 0.9)), LABELS)
    assert not accent_in(picture).any()
    assert 100 < picture[480:520].max() < 200  # quiet, and yet there
    assert annotate(observe(image=black), LABELS)[480:520].max() == 255


def test_fitting_keeps_the_proportions() -> None:
    fitted = annotate(observe(image=np.full((250, 500), 255, np.uint8)), LABELS, (480, 480))[:480]
    assert (fitted[120:360] == 255).all()
    assert not fitted[:120].any()
    assert not fitted[360:].any()
