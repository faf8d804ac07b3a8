from __future__ import annotations

import os
import threading
from itertools import islice
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import pytest

from metfa.runtime import Frame, Source, open_source
from metfa.runtime.errors import ProfileError, SourceError

from .conftest import grey, write_clip


def test_a_folder_yields_its_pictures_by_name(folder: Path) -> None:
    with open_source(str(folder)) as source:
        frames = list(source)
    assert not source.live
    assert source.description == f"3 images in {folder}"
    assert [frame.source for frame in frames] == ["1 dark.png", "2 grey.png", "3 bright.png"]
    assert [frame.index for frame in frames] == [0, 1, 2]
    assert [int(frame.image[0, 0]) for frame in frames] == [5, 128, 250]
    assert all(frame.image.dtype == np.uint8 and frame.image.shape == (48, 64) for frame in frames)


@pytest.mark.parametrize("suffix", [".png", ".JPG", ".jpeg", ".bmp", ".tif", ".tiff"])
def test_one_image(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"image{suffix}"
    assert cv2.imwrite(str(path), np.zeros((20, 30, 3), np.uint8))
    with open_source(str(path)) as source:
        (frame,) = source
    assert frame.image.shape[:2] == (20, 30)


def test_a_video_yields_every_frame(clip: Path) -> None:
    with open_source(str(clip)) as source:
        frames = list(source)
    assert not source.live
    assert source.rate == 25
    assert "64x48 pixels, 25 frames/s" in source.description
    assert [frame.index for frame in frames] == list(range(30))
    assert all(frame.image.shape == (48, 64, 3) and frame.source == str(clip) for frame in frames)
    times = [frame.captured_at for frame in frames]
    assert times == sorted(times)


def test_names_that_are_no_utf8(clip: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff \xfe.mp4")
    clip.rename(tmp_path / name)
    with open_source(str(tmp_path / name)) as source:
        assert next(iter(source)).source == str(tmp_path / name)
    picture = tmp_path / os.fsdecode(b"\xff.png")
    picture.write_bytes(cv2.imencode(".png", grey(0))[1].tobytes())
    with open_source(str(picture)) as source:
        assert next(iter(source)).source == picture.name


def read_to_error(source: Source) -> tuple[list[Frame], SourceError]:
    """Return the frames up to the error that the source ends with."""
    frames: list[Frame] = []
    try:
        for frame in source:
            frames.append(frame)  # noqa: PERF402  # what came before the error counts
    except SourceError as error:
        return frames, error
    pytest.fail("the source ended without an error")


def test_a_truncated_video_yields_what_is_there_and_then_says_so(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.avi", frames=60)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with open_source(str(path)) as source:
        frames, error = read_to_error(source)
    assert 25 < len(frames) < 35
    assert error.expected == f"2.4 s of video in {path}"
    assert error.received.endswith(f"({len(frames)} frames)")


@pytest.mark.parametrize("name", ["image.png", "image.jpg", "image.tiff", "clip.mp4", "clip.avi"])
@pytest.mark.parametrize("content", ["empty", "noise", "cut"])
def test_what_cannot_be_decoded_is_refused(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    if path.suffix in {".mp4", ".avi"}:
        write_clip(path, frames=5)
    else:
        assert cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (100, 100), np.uint8))
    whole = path.read_bytes()
    path.write_bytes(
        {"empty": b"", "noise": b"noise" * 1000, "cut": whole[: 40 if name == "clip.avi" else 3000]}[content]
    )
    with pytest.raises(SourceError, match=r"expected .*clip|expected an image in .*image"):  # noqa: SIM117
        with open_source(str(path)) as source:
            list(source)


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("nowhere.mp4", "'nowhere.mp4', which does not exist"),
        ("/dev/video99", "a camera at /dev/video99, received no such device"),
        ("99", "a camera at /dev/video99, received no such device"),
        ("/dev/null", "busy, not permitted or no camera"),
        ("x" * 5000, "File name too long"),
        ("rtsp://nurse:secret@127.0.0.1:9/scan", "a video stream at rtsp://127.0.0.1:9/scan, received none"),
    ],
)
def test_what_is_not_there_is_refused(spec: str, complaint: str) -> None:
    with pytest.raises(SourceError) as refusal:
        open_source(spec)
    assert complaint in str(refusal.value)
    assert "secret" not in str(refusal.value)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(SourceError, match="received a folder without any"):
        open_source(str(tmp_path))


def test_a_url_of_known_length_is_a_recording(clip: Path) -> None:
    with open_source(clip.as_uri()) as source:
        assert not source.live
        assert len(list(source)) == 30


def test_the_phantom_is_live() -> None:
    with open_source("phantom:B") as source:
        frames = list(islice(source, 3))
    assert source.live
    assert source.rate == 30
    assert [(frame.image.shape, frame.source, frame.index) for frame in frames] == [
        ((480, 640), "phantom:B", index) for index in range(3)
    ]


def test_a_phantom_without_profile_is_refused() -> None:
    with pytest.raises(ProfileError):
        open_source("phantom:nowhere")


class FakeCapture:
    """A camera that grants the rate only, delivers two frames and is then pulled out."""

    calls: ClassVar[list[object]] = []

    def __init__(self, name: str, api: int) -> None:
        assert api == cv2.CAP_V4L2
        self.calls.append(name)
        self.left = 2

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def set(self, key: int, value: float) -> bool:
        self.calls.append((key, value))
        return True

    def get(self, key: int) -> float:
        return {
            cv2.CAP_PROP_FOURCC: float(int.from_bytes(b"YUYV", "little")),
            cv2.CAP_PROP_FRAME_WIDTH: 640.0,
            cv2.CAP_PROP_FRAME_HEIGHT: 480.0,
            cv2.CAP_PROP_FPS: 30.0,
        }.get(key, 0.0)

    def read(self) -> tuple[bool, object]:
        self.left -= 1
        return (True, np.zeros((480, 640, 3), np.uint8)) if self.left >= 0 else (False, None)

    def release(self) -> None:
        self.calls.append("release")


def test_a_camera_is_asked_for_its_format_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cv2.VideoCapture", FakeCapture)
    calls: list[object] = []
    monkeypatch.setattr(FakeCapture, "calls", calls)
    with open_source("0") as camera:
        frames, error = read_to_error(camera)
    assert len(frames) == 2
    assert str(error).startswith("expected the next frame from /dev/video0, received none: the source was lost")
    assert camera.live
    assert camera.description == (
        "camera /dev/video0, 640x480 pixels, 30 frames/s, YUYV (asked for 1280x720, 30, MJPG)"
    )
    assert calls == [
        "/dev/video0",
        (cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG")),
        (cv2.CAP_PROP_FRAME_WIDTH, 1280),
        (cv2.CAP_PROP_FRAME_HEIGHT, 720),
        (cv2.CAP_PROP_FPS, 30),
        (cv2.CAP_PROP_BUFFERSIZE, 1),
        "release",
    ]


def test_closing_does_not_wait_for_a_blocked_read(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, unblock = threading.Event(), threading.Event()

    def read(_: FakeCapture) -> tuple[bool, object]:
        reading.set()
        unblock.wait()
        return False, None

    monkeypatch.setattr("cv2.VideoCapture", FakeCapture)
    calls: list[object] = []
    monkeypatch.setattr(FakeCapture, "calls", calls)
    monkeypatch.setattr(FakeCapture, "read", read)
    camera = open_source("/dev/video0")

    def take() -> None:
        with pytest.raises(SourceError):
            list(camera)

    thread = threading.Thread(target=take)
    thread.start()
    reading.wait()
    camera.close()
    assert "release" not in calls  # it would pull the device away under the reader
    unblock.set()
    thread.join()


@pytest.mark.skipif("METFA_DATA" not in os.environ, reason="METFA_DATA does not name the folder of real data")
def test_real_clips_are_read_to_their_end() -> None:
    for path in sorted(Path(os.environ["METFA_DATA"], "ultrasound", "clips").iterdir()):
        with open_source(str(path)) as source:
            assert sum(1 for _ in source) >= 100
