from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import cv2
import numpy as np
import pytest

from metfa.runtime import Frame, Source, open_source
from metfa.runtime.errors import ProfileError, SourceError
from metfa.runtime.sources import CaptureFormat

from .conftest import grey, write_clip

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_a_folder_yields_its_pictures_by_name(folder: Path) -> None:
    with open_source(str(folder)) as source:
        frames = list(source)
    assert not source.live
    assert source.description == f"3 files in {folder}"
    assert [frame.source for frame in frames] == ["1 dark.png", "2 grey.png", "3 bright.png"]
    assert [frame.index for frame in frames] == [0, 1, 2]
    for frame in frames:
        np.testing.assert_array_equal(frame.image, cv2.imread(str(folder / frame.source), cv2.IMREAD_GRAYSCALE))
    assert [int(frame.image.min()) for frame in frames] == [5, 98, 189]
    assert all(frame.image.dtype == np.uint8 and frame.image.shape == (48, 64) for frame in frames)


def test_a_folder_of_class_folders_is_streamed_as_it_is_trained_on(folder: Path, clip: Path) -> None:
    for name in ("b/patient/1.png", "a/2.png", "a/.thumbnails/3.png", "__MACOSX/4.png", "lost+found/5.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((folder / "1 dark.png").read_bytes())
    (folder / "b" / f"clip{clip.suffix}").write_bytes(clip.read_bytes())
    (folder / "b" / "back").symlink_to(folder)
    os.mkfifo(folder / "a" / "pipe.png")
    with open_source(str(folder)) as source:
        names = [frame.source for frame in source]
    of_clip = [name for name in names if name.startswith("b/clip")]
    assert len(of_clip) > 1
    assert [name for name in names if name not in of_clip] == [
        *("1 dark.png", "2 grey.png", "3 bright.png", "a/2.png", "b/patient/1.png")
    ]


def test_the_pages_of_an_image_are_frames(tmp_path: Path) -> None:
    pages = [np.full((20, 30), level, np.uint8) for level in (10, 20, 30)]
    assert cv2.imwritemulti(str(tmp_path / "pages.tif"), pages)
    for name in ("", "pages.tif"):
        with open_source(str(tmp_path / name)) as source:
            assert [int(frame.image[0, 0]) for frame in source] == [10, 20, 30]


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
    assert error.expected == f"a whole video in {path}"
    end = f"{len(frames) / 25:.1f} s ({len(frames)} frames)"
    assert error.received == f"one that ends after {end}: its last picture is damaged"


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
        (
            "rtsp://nurse:secret@127.0.0.1:9/scan",
            "a video stream at rtsp://127.0.0.1:9/scan, received Connection refused",
        ),
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
    """A camera that grants the rate only, and delivers black frames."""

    calls: ClassVar[list[object]] = []
    api: ClassVar[int] = cv2.CAP_V4L2
    pixels: ClassVar[bytes] = b"YUYV"

    def __init__(self, name: str | int, api: int) -> None:
        assert api == self.api
        self.calls.append(name)

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def set(self, key: int, value: float) -> bool:
        self.calls.append((key, value))
        return True

    def get(self, key: int) -> float:
        return {
            cv2.CAP_PROP_FOURCC: float(int.from_bytes(self.pixels, "little")),
            cv2.CAP_PROP_FRAME_WIDTH: 640.0,
            cv2.CAP_PROP_FRAME_HEIGHT: 480.0,
            cv2.CAP_PROP_FPS: 30.0,
        }.get(key, 0.0)

    def read(self) -> tuple[bool, object]:
        time.sleep(0.01)
        return True, np.zeros((480, 640, 3), np.uint8)

    def release(self) -> None:
        self.calls.append("release")


@pytest.mark.parametrize(
    ("wanted", "asked", "warning"),
    [
        (
            CaptureFormat(),
            (1280, 720, 30, "MJPG"),
            ["warning: the camera does not give the 1280x720 pixels, 30 frames/s, MJPG that it was asked for"],
        ),
        (
            CaptureFormat((640, 480), 60, "YUYV"),
            (640, 480, 60, "YUYV"),
            ["warning: the camera does not give the 640x480 pixels, 60 frames/s, YUYV that it was asked for"],
        ),
        (CaptureFormat((640, 480), 29.97, "YUYV"), (640, 480, 29.97, "YUYV"), []),
    ],
)
def test_a_camera_is_asked_for_its_format_first(
    monkeypatch: pytest.MonkeyPatch, wanted: CaptureFormat, asked: tuple[int, int, float, str], warning: list[str]
) -> None:
    monkeypatch.setattr("cv2.VideoCapture", FakeCapture)
    monkeypatch.setattr("pathlib.Path.exists", lambda _: True)
    calls: list[object] = []
    monkeypatch.setattr(FakeCapture, "calls", calls)
    said: list[str] = []
    with open_source("0", wanted, notify=said.append) as camera:
        frame = next(iter(camera))
    assert frame.image.shape == (480, 640, 3)
    assert camera.live
    assert camera.description == "camera /dev/video0, 640x480 pixels, 30 frames/s, YUYV"
    assert said == warning
    width, height, rate, pixels = asked
    assert calls[:6] == [
        "/dev/video0",
        (cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*pixels)),
        (cv2.CAP_PROP_FRAME_WIDTH, width),
        (cv2.CAP_PROP_FRAME_HEIGHT, height),
        (cv2.CAP_PROP_FPS, rate),
        (cv2.CAP_PROP_BUFFERSIZE, 1),
    ]


@pytest.mark.parametrize(
    ("system", "api", "pixels", "described"),
    [
        ("darwin", cv2.CAP_AVFOUNDATION, b"\0\0\0\0", "camera 1, 640x480 pixels, 30 frames/s"),
        ("win32", cv2.CAP_DSHOW, b"YUYV", "camera 1, 640x480 pixels, 30 frames/s, YUYV"),
    ],
)
def test_where_cameras_are_no_files_they_have_numbers(
    monkeypatch: pytest.MonkeyPatch, system: str, api: int, pixels: bytes, described: str
) -> None:
    monkeypatch.setattr("sys.platform", system)
    monkeypatch.setattr("cv2.VideoCapture", FakeCapture)
    for name, value in {"calls": (calls := []), "api": api, "pixels": pixels}.items():  # type: ignore[var-annotated]
        monkeypatch.setattr(FakeCapture, name, value)
    said: list[str] = []
    with open_source("1", CaptureFormat((640, 480), 30, "YUYV"), notify=said.append) as camera:
        frame = next(iter(camera))
    assert (frame.source, camera.description, said) == ("camera 1", described, [])
    assert calls[0] == 1
    assert (cv2.CAP_PROP_CONVERT_RGB, 0) not in calls
    with pytest.raises(
        SourceError, match=r"the number of a camera, such as 0, received '/dev/video0'; .* metfa doctor"
    ):
        open_source("/dev/video0")
    monkeypatch.setattr(FakeCapture, "isOpened", lambda _: False)
    with pytest.raises(SourceError, match="a camera at 7, received none, or one that is busy, or that the system"):
        open_source("7")


@pytest.mark.parametrize("spec", ["phantom:B", "http://127.0.0.1:9/scan", "gst:videotestsrc ! appsink", "clip.mp4"])
def test_only_cameras_and_standard_input_are_asked_for_a_format(spec: str) -> None:
    with pytest.raises(SourceError, match="which has a format of its own"):
        open_source(spec, CaptureFormat(rate=30))


@pytest.mark.skipif(cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER), reason="this OpenCV has GStreamer")
def test_a_pipeline_needs_an_opencv_with_gstreamer() -> None:
    with pytest.raises(SourceError, match=r"an OpenCV with GStreamer for gst:…, received OpenCV .* without it"):
        open_source("gst:videotestsrc ! videoconvert ! appsink")


@contextmanager
def standard_input(descriptor: int) -> Iterator[None]:
    """Let standard input be what an open file is, which is closed afterwards."""
    before = os.dup(0)
    os.dup2(descriptor, 0)
    try:
        yield
    finally:
        os.dup2(before, 0)
        for each in (before, descriptor):
            os.close(each)


@contextmanager
def piped(*contents: bytes, blocking: bool = True) -> Iterator[None]:
    """Let standard input hold ``contents``, with a little time before each but the first, and then end."""
    reading, writing = os.pipe()
    os.set_blocking(reading, blocking)

    def write() -> None:
        with suppress(BrokenPipeError), os.fdopen(writing, "wb", buffering=0) as pipe:
            for number, content in enumerate(contents):
                time.sleep(0.05 * bool(number))
                pipe.write(content)

    thread = threading.Thread(target=write)
    thread.start()
    with standard_input(reading):
        yield
    thread.join()


def jpeg(level: int, height: int = 48, width: int = 64) -> bytes:
    return cv2.imencode(".jpg", grey(level, height, width))[1].tobytes()


NOISE = bytes(number % 255 for number in range(100_000))


@pytest.mark.parametrize("between", [b"", b"\r\n--boundary\r\n", NOISE], ids=["nothing", "boundary", "noise"])
def test_jpeg_pictures_on_standard_input(between: bytes) -> None:
    with piped(between + b"".join(jpeg(level) + between for level in (10, 100, 200))), open_source("-") as source:
        frames = list(source)
    assert source.live
    assert [(round(float(frame.image.mean()), -1), frame.index, frame.session) for frame in frames] == [
        (10, 0, 0),
        (100, 1, 0),
        (200, 2, 0),
    ]


def test_damaged_jpeg_pictures_are_skipped() -> None:
    said: list[str] = []
    damaged = b"\xff\xd8\xff no picture \xff\xd9"
    with piped(jpeg(10) + damaged + damaged + jpeg(20)), open_source("-", notify=said.append) as source:
        assert [frame.index for frame in source] == [0, 1]
    assert said == ["damaged JPEG pictures on standard input that were skipped: 2"]


@pytest.mark.parametrize("kept", [3, -2], ids=["its beginning", "all but its end"])
def test_a_jpeg_picture_that_is_cut_off_by_the_end_is_said(kept: int) -> None:
    said: list[str] = []
    with piped(jpeg(10) + jpeg(20) + jpeg(30)[:kept]), open_source("-", notify=said.append) as source:
        assert [frame.index for frame in source] == [0, 1]
    assert said == ["the last JPEG picture on standard input was cut off by its end, and left out"]


@pytest.mark.parametrize("wanted", [CaptureFormat(), CaptureFormat((64, 48), None, "gray")], ids=["JPEG", "raw"])
def test_a_pipe_that_does_not_wait_is_waited_for(wanted: CaptureFormat) -> None:
    with piped(b"", jpeg(10) if wanted.size is None else grey(10).tobytes(), blocking=False):
        with open_source("-", wanted) as source:
            frames = list(source)
        assert not os.get_blocking(0)  # it is not ours alone
    assert [round(float(frame.image.mean())) for frame in frames] == [10]


@pytest.mark.parametrize("wanted", [CaptureFormat(), CaptureFormat((64, 48), None, "gray")], ids=["JPEG", "raw"])
def test_standard_input_that_cannot_be_read_is_refused(wanted: CaptureFormat, tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    with standard_input(folder), open_source("-", wanted) as source:
        _, error = read_to_error(source)
    assert (error.expected, error.received) == ("to be able to read standard input", "Is a directory")


def test_another_size_on_standard_input_is_another_session() -> None:
    said: list[str] = []
    with piped(jpeg(10) + jpeg(10, 24, 32) * 2), open_source("-", notify=said.append) as source:
        assert [(frame.session, frame.losses) for frame in source] == [(0, 0), (1, 0), (1, 0)]
    assert said == ["the size changed"]


def test_a_gap_on_standard_input_is_a_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metfa.runtime.sources.stdin._GAP_SECONDS", 0)
    said: list[str] = []
    with piped(jpeg(10) + jpeg(20) + jpeg(30, 24, 32)), open_source("-", notify=said.append) as source:
        assert [(frame.session, frame.losses) for frame in source] == [(0, 0), (1, 1), (2, 2)]
    assert [line.split(" after")[0] for line in said] == ["back", "back", "the size changed"]


@pytest.mark.parametrize(("pixels", "shape"), [("gray", (48, 64)), ("bgr24", (48, 64, 3))])
def test_raw_frames_on_standard_input(pixels: str, shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 255, (5, *shape), np.uint8)
    with piped(images.tobytes()), open_source("-", CaptureFormat((64, 48), 50, pixels)) as source:
        frames = list(source)
    assert source.rate == 50
    assert np.array_equal([frame.image for frame in frames], images)


@pytest.mark.parametrize(
    ("content", "wanted", "complaint"),
    [
        (b"", CaptureFormat(), "frames on standard input, received none before its end"),
        (NOISE, CaptureFormat(), "frames on standard input, received none before its end"),
        (bytes(3000), CaptureFormat((64, 48), None, "gray"), "whole frames of 3072 bytes .* received 3000 bytes"),
        (b"", CaptureFormat((64, 48)), "both --size and --format"),
        (b"", CaptureFormat(None, None, "gray"), "both --size and --format"),
        (b"", CaptureFormat((64, 48), None, "MJPG"), "both --size and --format"),
    ],
)
def test_what_is_no_video_on_standard_input(content: bytes, wanted: CaptureFormat, complaint: str) -> None:
    with pytest.raises(SourceError, match=complaint), piped(content), open_source("-", wanted) as source:
        list(source)


@pytest.mark.skipif("METFA_DATA" not in os.environ, reason="METFA_DATA does not name the folder of real data")
def test_real_clips_are_read_to_their_end() -> None:
    for path in sorted(Path(os.environ["METFA_DATA"], "ultrasound", "clips").iterdir()):
        with open_source(str(path)) as source:
            assert sum(1 for _ in source) >= 100
