"""Grey of videos is the luma that was coded, and colours are decoded where somebody asks for them."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any

import av
import cv2
import numpy as np
import pytest
from av.filter import Graph
from av.video.reformatter import ColorRange
from hypothesis import given
from hypothesis import strategies as st

from metfa.runtime import open_source
from metfa.runtime.bundle.contract import Region
from metfa.runtime.imaging.coded import CodedImage
from metfa.runtime.imaging.preprocess import preprocess, to_grey
from metfa.runtime.sources import pyav

from .videos import encode, scene

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from metfa.runtime import Frame

HEIGHT, WIDTH = 48, 258  # no multiple of what decoders align lines to
ROUNDED_BY_FFMPEG = 2  # grey levels, where it makes colours

FORMATS = [
    *("yuv420p", "yuv422p", "yuv444p", "yuv410p", "yuv411p", "yuv440p", "yuva420p", "yuva444p", "gray"),
    *("yuv420p9le", "yuv422p10le", "yuv444p12le", "yuv420p16le", "yuva444p10le"),
]


def every_level() -> NDArray[np.uint8]:
    """Return luma of all levels, uint8 [HEIGHT, WIDTH]."""
    return np.arange(HEIGHT * WIDTH, dtype=np.uint32).reshape(HEIGHT, WIDTH).astype(np.uint8)


def coloured(number: int = 0) -> NDArray[np.uint8]:
    return np.asarray(cv2.applyColorMap(scene(number), cv2.COLORMAP_JET), np.uint8)


def code(luma: NDArray[np.uint8], name: str, colour_range: ColorRange) -> av.VideoFrame:
    """Return a frame of FFmpeg's with that luma and the colours of grey."""
    frame = av.VideoFrame(luma.shape[1], luma.shape[0], name)
    bits = frame.format.components[0].bits
    for index, plane in enumerate(frame.planes):
        words = np.frombuffer(memoryview(plane), np.uint8 if bits == 8 else np.uint16).reshape(plane.height, -1)
        words[:] = 1 << (bits - 1)
        if index == 0:
            words[:, : luma.shape[1]] = luma.astype(np.uint16) << (bits - 8)
    frame.color_range = colour_range
    return frame


def write(path: Path, frame: av.VideoFrame) -> Path:
    """Write a recording of one frame, without loss."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, frame.format.name
        stream.codec_context.color_range = frame.color_range
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return path


def grey_of(colours: NDArray[np.uint8]) -> NDArray[np.int_]:
    return np.asarray(cv2.cvtColor(colours, cv2.COLOR_BGR2GRAY), np.int_)


def read(path: Path) -> Frame:
    with open_source(str(path)) as source:
        (frame,) = source
    return frame


@pytest.mark.parametrize("colour_range", [ColorRange.MPEG, ColorRange.JPEG], ids=["limited", "full"])
@pytest.mark.parametrize("name", FORMATS)
def test_grey_is_the_luma_from_black_to_white(tmp_path: Path, name: str, colour_range: ColorRange) -> None:
    luma = every_level()
    frame = read(write(tmp_path / "clip.mkv", code(luma, name, colour_range)))
    is_limited = colour_range == ColorRange.MPEG and name != "gray"
    wanted = np.clip(np.rint((luma - 16.0) * 255 / 219), 0, 255) if is_limited else luma
    assert (frame.grey == wanted).all()
    assert np.abs(frame.grey - grey_of(frame.image)).max() <= ROUNDED_BY_FFMPEG


@pytest.mark.parametrize("name", ["nv12", "nv21", "nv16", "nv24", "yuvj420p", "yuvj422p", "yuvj444p"])
def test_so_it_is_of_formats_that_only_decoders_make(name: str) -> None:
    luma = every_level()
    image = pyav._to_image(code(luma, name, ColorRange.UNSPECIFIED))
    assert isinstance(image, CodedImage)
    assert image.is_limited == name.startswith("nv")
    assert (image.luma == luma).all()
    assert np.abs(to_grey(image) - grey_of(image.colours())).max() <= ROUNDED_BY_FFMPEG


@pytest.mark.parametrize("name", ["bgr24", "rgb24", "rgb8", "gbrp", "yuyv422", "p010le", "yuv420p10be", "gray10le"])
def test_grey_of_other_formats_is_that_of_their_colours(name: str) -> None:
    picture = np.asarray(cv2.applyColorMap(every_level()[:, :256], cv2.COLORMAP_JET), np.uint8)
    image = pyav._to_image(av.VideoFrame.from_ndarray(picture, "bgr24").reformat(format=name))
    assert isinstance(image, np.ndarray)
    assert (to_grey(image) == grey_of(image)).all()


def test_what_a_decoder_holds_upside_down_is_upright() -> None:
    graph = Graph()
    frame = code(every_level(), "yuv420p", ColorRange.MPEG)
    source = graph.add_buffer(width=WIDTH, height=HEIGHT, format=frame.format, time_base=Fraction(1, 25))
    graph.link_nodes(source, graph.add("vflip"), graph.add("buffersink")).configure()
    graph.push(frame)
    turned: Any = graph.pull()
    assert turned.planes[0].line_size < 0
    difference = to_grey(pyav._to_image(turned)).astype(int) - to_grey(pyav._to_image(frame))[::-1]
    assert np.abs(difference).max() <= ROUNDED_BY_FFMPEG


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="there is no ffmpeg to compare with")
@pytest.mark.parametrize(
    ("suffix", "codec", "pixels"),
    [
        (".mp4", "libx264", "yuv420p"),
        (".mp4", "mpeg4", "yuv420p"),
        (".mkv", "libx264", "yuv444p"),
        (".mkv", "libx265", "yuv420p10le"),
        (".mpg", "mpeg2video", "yuv420p"),
        (".avi", "mjpeg", "yuvj420p"),
        (".mov", "mjpeg", "yuvj422p"),
        (".mov", "prores_ks", "yuv422p10le"),
        (".webm", "libvpx-vp9", "yuv420p"),
    ],
)
def test_grey_is_that_of_ffmpeg(tmp_path: Path, suffix: str, codec: str, pixels: str) -> None:
    path = encode(tmp_path / f"clip{suffix}", [coloured(number) for number in range(4)], codec=codec, pixels=pixels)
    with open_source(str(path)) as source:
        images = [frame.pixels for frame in source]
    luma = np.stack([image.luma for image in images if isinstance(image, CodedImage)])
    grey = np.stack([to_grey(image) for image in images])
    # What FFmpeg makes 8 bits of more, it dithers.
    for ours, options in ((luma, ["-vf", "extractplanes=y", "-pix_fmt", "gray"]), (grey, ["-pix_fmt", "gray"])):
        command = ["ffmpeg", "-v", "error", "-i", str(path), *options, "-f", "rawvideo", "-"]
        shown = np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, np.uint8)
        assert np.abs(ours.astype(int) - shown.reshape(ours.shape)).max() <= (2 if "10" in pixels else 1)


def test_only_the_region_is_resized_and_then_brought_to_full_range() -> None:
    luma = every_level()
    image = CodedImage(luma, lambda: np.zeros((HEIGHT, WIDTH, 3), np.uint8), is_limited=True)
    region = Region(7, 5, 200, 40)
    resized = preprocess(np.clip(luma[5:45, 7:207], 16, 235), height=30, width=40)
    assert (preprocess(image, height=30, width=40, region=region) == np.rint((resized - 16.0) * 255 / 219)).all()


@given(st.integers(0, 1000), st.tuples(st.integers(20, 200), st.integers(20, 200)))
def test_an_image_file_with_the_grey_of_a_video_is_seen_alike(seed: int, size: tuple[int, int]) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, size, np.uint8)  # black and white are gone beyond, too
    image = CodedImage(noise, lambda: noise, is_limited=True)
    of_video, of_file = (preprocess(each, height=30, width=40).astype(int) for each in (image, to_grey(image)))
    assert np.abs(of_video - of_file).max() <= 3


def test_colours_are_decoded_once_when_they_are_asked_for(tmp_path: Path) -> None:
    path = encode(tmp_path / "clip.mp4", [coloured()])
    frame = read(path)  # its source is closed
    with ThreadPoolExecutor(8) as pool:
        images = list(pool.map(lambda _: frame.image, range(32)))
    assert all(image is images[0] for image in images)
    with av.open(str(path)) as container:
        decoded = next(container.decode(video=0)).to_ndarray(format="bgr24", interpolation="BICUBIC")
    assert (images[0] == decoded).all()


def test_nothing_is_decoded_for_a_frame_that_nobody_looks_at() -> None:
    decoded: list[int] = []

    def decode() -> NDArray[np.uint8]:
        decoded.append(1)
        return np.zeros((HEIGHT, WIDTH, 3), np.uint8)

    image = CodedImage(every_level(), decode, is_limited=True)
    preprocess(image, height=28, width=28)
    to_grey(image)
    assert not decoded
    image.colours()
    image.colours()
    assert len(decoded) == 1


def test_the_decoders_memory_cannot_be_changed(tmp_path: Path) -> None:
    pixels = read(write(tmp_path / "clip.mkv", code(every_level(), "yuv420p", ColorRange.MPEG))).pixels
    assert isinstance(pixels, CodedImage)
    with pytest.raises(ValueError, match="read-only"):
        pixels.luma[0, 0] = 1


def test_frames_stay_what_they_were_while_others_are_decoded(tmp_path: Path) -> None:
    path = encode(tmp_path / "clip.mp4", [scene(number) for number in range(40)], b_frames=2)
    with open_source(str(path)) as source:
        kept = [(frame, frame.grey.copy()) for frame in source]
    for frame, grey in kept:
        assert (frame.grey == grey).all()


def test_a_frame_goes_to_another_process_with_its_colours(tmp_path: Path) -> None:
    frame = read(write(tmp_path / "clip.mkv", code(every_level(), "yuv420p", ColorRange.MPEG)))
    copy = pickle.loads(pickle.dumps(frame))
    assert (copy.grey == frame.grey).all()
    assert (copy.image == frame.image).all()
    assert (copy.index, copy.source) == (frame.index, frame.source)


def as_yuyv(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return what a camera delivers of a picture, uint8 [H, W, 2], made by FFmpeg."""
    plane = av.VideoFrame.from_ndarray(picture, "bgr24").reformat(format="yuyv422").planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(picture.shape[0], -1)
    return rows[:, : 2 * picture.shape[1]].reshape(*picture.shape[:2], 2).copy()


class Camera:
    """OpenCV's capture of a camera; it converts to BGR unless it is told not to."""

    def __init__(
        self, pixels: str, delivered: Sequence[NDArray[np.uint8]], converted: NDArray[np.uint8], *, obeys: bool
    ) -> None:
        self.values = {cv2.CAP_PROP_FOURCC: float(int.from_bytes(pixels.encode(), "little")), cv2.CAP_PROP_FPS: 100.0}
        self.converts = True
        self.delivered, self.converted, self.obeys = cycle(delivered), converted, obeys

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def set(self, key: int, value: float) -> bool:
        if key == cv2.CAP_PROP_CONVERT_RGB and self.obeys:
            self.converts = bool(value)
        return True

    def get(self, key: int) -> float:
        return self.values.get(key, 0.0)

    def read(self) -> tuple[bool, NDArray[np.uint8]]:
        time.sleep(0.01)
        return True, self.converted if self.converts else next(self.delivered)

    def release(self) -> None:
        pass


@pytest.mark.parametrize("pixels", ["MJPG", "YUYV"])
def test_of_a_camera_the_luma_is_taken(monkeypatch: pytest.MonkeyPatch, pixels: str) -> None:
    picture = coloured()
    # Both as OpenCV 5.0 delivers them: the bytes of a JPEG in a row, and two channels.
    jpeg, yuyv = np.asarray(cv2.imencode(".jpg", picture)[1], np.uint8).reshape(1, -1), as_yuyv(picture)
    delivered = jpeg if pixels == "MJPG" else yuyv
    converted = cv2.imdecode(jpeg, cv2.IMREAD_COLOR) if pixels == "MJPG" else cv2.cvtColor(yuyv, cv2.COLOR_YUV2BGR_YUYV)
    captured = np.asarray(converted, np.uint8)
    monkeypatch.setattr("pathlib.Path.exists", lambda _: True)
    monkeypatch.setattr("cv2.VideoCapture", lambda *_: Camera(pixels, [delivered], captured, obeys=True))
    with open_source("0") as camera:
        frame = next(iter(camera))
    assert isinstance(frame.pixels, CodedImage)
    assert frame.pixels.is_limited == (pixels == "YUYV")
    assert (frame.image == captured).all()
    luma = cv2.imdecode(jpeg, cv2.IMREAD_GRAYSCALE) if pixels == "MJPG" else yuyv[..., 0]
    assert (frame.pixels.luma == luma).all()
    inside = (captured > 0).all(axis=2) & (captured < 255).all(axis=2)  # colours that need not be clipped
    assert np.abs(frame.grey - grey_of(frame.image))[inside].max() <= ROUNDED_BY_FFMPEG


def test_a_camera_that_opencv_goes_on_to_convert_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    captured = coloured()
    monkeypatch.setattr("pathlib.Path.exists", lambda _: True)
    monkeypatch.setattr("cv2.VideoCapture", lambda *_: Camera("YUYV", [as_yuyv(captured)], captured, obeys=False))
    with open_source("0") as camera:
        frame = next(iter(camera))
    assert np.array_equal(frame.image, captured)


def test_a_damaged_picture_of_a_camera_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.asarray(cv2.imencode(".jpg", coloured())[1], np.uint8).reshape(1, -1)
    damaged = np.frombuffer(b"\xff\xd8\xff no picture \xff\xd9", np.uint8).reshape(1, -1)
    monkeypatch.setattr("pathlib.Path.exists", lambda _: True)
    delivered = [damaged, whole[:, :0], whole] * 3
    monkeypatch.setattr("cv2.VideoCapture", lambda *_: Camera("MJPG", delivered, coloured(), obeys=True))
    with open_source("0") as camera:
        frames = list(islice(camera, 2))
    assert [frame.session for frame in frames] == [0, 0]
