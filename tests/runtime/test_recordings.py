"""Recordings as they come: their frames, the times of those, and what is wrong with the rest."""

from __future__ import annotations

import io
import os
import re
import shutil
import socket
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import av
import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metfa.runtime import open_source
from metfa.runtime.errors import SourceError
from metfa.runtime.imaging.preprocess import to_grey
from metfa.runtime.sources import pyav
from metfa.runtime.sources.pyav import open_recording

from .videos import encode, scene

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from metfa.runtime import Frame

RATES = [5, 25, Fraction(30000, 1001), 50]
SIZES = [(48, 64), (50, 66), (96, 128)]


class Kind(NamedTuple):
    """What a recording may be."""

    suffix: str
    codec: str
    pixels: str = "yuv420p"
    reorders: bool = False
    any_rate: bool = True


KINDS = [
    Kind(".mp4", "libx264", reorders=True),
    Kind(".mp4", "mpeg4", reorders=True),
    Kind(".mov", "mjpeg", "yuvj422p"),
    Kind(".mov", "prores_ks", "yuv422p10le"),
    Kind(".avi", "libx264", reorders=True),
    Kind(".avi", "mpeg4", reorders=True),
    Kind(".avi", "mjpeg", "yuvj420p"),
    Kind(".avi", "rawvideo", "bgr24"),
    Kind(".mkv", "libx264", "yuv444p", reorders=True),
    Kind(".mkv", "ffv1", "gray"),
    Kind(".mkv", "ffv1", "yuv420p10le"),
    Kind(".webm", "libvpx-vp9"),
    Kind(".mpg", "mpeg2video", reorders=True, any_rate=False),
    Kind(".mpg", "mpeg1video", reorders=True, any_rate=False),
    Kind(".ts", "libx264", reorders=True),
    Kind(".wmv", "wmv2"),
    Kind(".flv", "libx264", reorders=True),
]


def read(path: Path) -> tuple[list[NDArray[np.uint8]], list[float]]:
    with open_source(str(path)) as source:
        frames = list(source)
    assert [frame.index for frame in frames] == list(range(len(frames)))
    return [frame.image for frame in frames], [frame.time or 0.0 for frame in frames]


def decoded_by_opencv(path: Path) -> list[NDArray[np.uint8]]:
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    images = []
    while (image := capture.read()[1]) is not None:
        images.append(np.asarray(image, np.uint8))
    return images


def decoded_by_ffmpeg(path: Path) -> NDArray[np.uint8]:
    """Return the pixels as ffmpeg, a program, shows them: every frame once."""
    height, width = read(path)[0][0].shape[:2]
    raw = ["-f", "rawvideo", "-pix_fmt", "bgr24", "-vsync", "passthrough", "-"]
    shown = subprocess.run(["ffmpeg", "-v", "error", "-i", f"file:{path}", *raw], capture_output=True, check=True)
    return np.frombuffer(shown.stdout, np.uint8).reshape(-1, height, width, 3)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(KINDS),
    b_frames=st.sampled_from([0, 1, 3]),
    rate=st.sampled_from(RATES),
    size=st.sampled_from(SIZES),
    count=st.integers(1, 20),
)
def test_every_frame_comes_in_its_time(
    tmp_path: Path, kind: Kind, b_frames: int, rate: Fraction | int, size: tuple[int, int], count: int
) -> None:
    rate = rate if kind.any_rate or rate != 5 else 24  # as MPEG-1 and 2 have them
    originals = [scene(number, *size) for number in range(count)]
    path = encode(
        tmp_path / f"clip{kind.suffix}",
        originals,
        codec=kind.codec,
        pixels=kind.pixels,
        rate=rate,
        b_frames=b_frames if kind.reorders else 0,
    )
    images, times = read(path)
    assert len(images) == count
    for image, original in zip(images, originals, strict=True):
        assert np.abs(image.astype(int) - original).mean() < 6
    assert times == pytest.approx([index / rate for index in range(count)], abs=0.0011)
    others = decoded_by_opencv(path)
    if len(others) == count:  # it leaves frames out, in the containers that metfa no longer reads with it
        assert np.abs(np.stack(images).astype(int) - np.stack(others)).max() <= 1


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="there is no ffmpeg to compare with")
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.codec} {kind.pixels}{kind.suffix}")
def test_pixels_are_those_of_ffmpeg(tmp_path: Path, kind: Kind) -> None:
    path = encode(
        tmp_path / f"-clip%03d{kind.suffix}",
        [scene(number) // 2 + np.array([60, 0, 90], np.uint8) for number in range(8)],
        codec=kind.codec,
        pixels=kind.pixels,
        b_frames=2 if kind.reorders else 0,
    )
    shown = decoded_by_ffmpeg(path)
    assert len(shown) == 8
    assert np.abs(np.stack(read(path)[0]).astype(int) - shown).max() <= 1


def test_what_an_edit_list_leaves_out_is_not_shown(tmp_path: Path) -> None:
    path = encode(tmp_path / "clip.mp4", [scene(number) for number in range(50)], b_frames=2, start=1.0)
    assert b"elst" in path.read_bytes()
    images, times = read(path)
    assert times == pytest.approx([index / 25 for index in range(25)])
    assert np.abs(images[0].astype(int) - scene(25)).mean() < 6


def test_a_last_frame_may_be_long(tmp_path: Path) -> None:
    pictures = [scene(number) for number in range(10)]
    options = {"final_delay": "500"}  # hundredths of a second
    path = encode(tmp_path / "clip.gif", pictures, codec="gif", pixels="rgb8", rate=10, options=options)
    assert read(path)[1] == pytest.approx([index / 10 for index in range(10)])


@pytest.mark.parametrize(("suffix", "codec"), [(".avi", "mjpeg"), (".mkv", "libx264"), (".flv", "libx264")])
def test_a_header_need_not_tell_the_length(tmp_path: Path, suffix: str, codec: str) -> None:
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    pictures = [scene(number) for number in range(50)]
    path = encode(tmp_path / f"clip{suffix}", pictures, codec=codec, pixels=pixels, piped=True)
    assert read(path)[1] == pytest.approx([index / 25 for index in range(50)], abs=0.001)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_times_of_a_variable_rate_are_the_files_own(tmp_path: Path, suffix: str) -> None:
    shown_at = [index / 25 for index in range(45)] + [1.8 + index / 5 for index in range(41)]
    path = encode(tmp_path / f"clip{suffix}", [scene(number) for number in range(86)], times=shown_at)
    assert read(path)[1] == pytest.approx(shown_at, abs=0.001)


def test_joined_recordings_go_on_where_the_clock_is_set_back(tmp_path: Path) -> None:
    part = encode(tmp_path / "part.mpg", [scene(number) for number in range(25)], codec="mpeg2video").read_bytes()
    path = tmp_path / "clip.mpg"
    path.write_bytes(part + part)
    _, times = read(path)
    assert len(times) == 50
    assert times == sorted(times)


def test_another_size_in_mid_recording_begins_another_session(tmp_path: Path) -> None:
    parts = [
        encode(tmp_path / f"{size}.ts", [scene(number, size, size) for number in range(12)]).read_bytes()
        for size in (48, 96)
    ]
    path = tmp_path / "clip.ts"
    path.write_bytes(b"".join(parts))
    with open_source(str(path)) as source:
        frames = [(frame.image.shape[0], frame.session) for frame in source]
    assert [frame for index, frame in enumerate(frames) if frame not in frames[:index]] == [(48, 0), (96, 1)]


def test_av1_is_decoded() -> None:
    """Five frames of FFmpeg's test picture, encoded with libaom, which PyAV does not have."""
    images, times = read(Path(__file__).parent / "data" / "av1.mkv")
    assert times == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert images[0].shape == (240, 320, 3)


@pytest.mark.parametrize("codec", [b"evc1", b"XYZ1"])
def test_a_codec_that_is_missing_is_named(tmp_path: Path, codec: bytes) -> None:
    path = encode(tmp_path / "clip.avi", [scene(0)], codec="mjpeg", pixels="yuvj420p")
    path.write_bytes(path.read_bytes().replace(b"MJPG", codec))
    with pytest.raises(SourceError, match=rf"PyAV {av.__version__} decodes, received the codec {codec[:3].decode()}"):
        open_source(str(path))


@pytest.mark.parametrize(
    ("matrix", "turn"),
    [
        ((0, 1, -1, 0), cv2.ROTATE_90_CLOCKWISE),
        ((-1, 0, 0, -1), cv2.ROTATE_180),
        ((0, -1, 1, 0), cv2.ROTATE_90_COUNTERCLOCKWISE),
    ],
)
def test_recordings_are_upright(tmp_path: Path, matrix: tuple[int, int, int, int], turn: int) -> None:
    path = encode(tmp_path / "clip.mp4", [scene(0), scene(1)])
    upright = read(path)[0]
    content = path.read_bytes()
    at = content.index(b"tkhd") + 44  # where a track's matrix begins, in version 0
    a, b, c, d = ((part << 16) % (1 << 32) for part in matrix)
    turned = b"".join(part.to_bytes(4, "big") for part in (a, b, 0, c, d, 0))
    path.write_bytes(content[:at] + turned + content[at + 24 :])
    images, others = read(path)[0], decoded_by_opencv(path)
    np.testing.assert_array_equal(images[1], cv2.rotate(upright[1], turn))
    assert images[1].shape == others[1].shape
    assert np.abs(images[1].astype(int) - others[1]).max() <= 1


NAMES = [
    "12:30:05.mp4",
    "file:x.mp4",
    "concat:a|b.mp4",
    "-scan.mp4",
    "clip%03d.mp4",
    "scan [1]*?.mp4",
    "a b'c\"d.mp4",
    "two\nlines.mp4",
    os.fsdecode(b"\xff\xfe.mp4"),
]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    encode(tmp_path / "clip.mp4", [scene(0), scene(1)]).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for spec in (name, f"./{name}", str(tmp_path / name)):
        with open_source(spec) as source:
            assert len(list(source)) == 2, spec


def test_a_file_leads_nowhere_else(tmp_path: Path) -> None:
    encode(tmp_path / "secret.ts", [scene(0)])
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.01)
        host = f"127.0.0.1:{server.getsockname()[1]}"
        playlists = {
            "here.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{tmp_path}/secret.ts\n#EXT-X-ENDLIST\n",
            "there.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nhttp://{host}/x.ts\n#EXT-X-ENDLIST\n",
            "joined.mp4": f"ffconcat version 1.0\nfile '{tmp_path}/secret.ts'\n",
            "sent.mp4": "v=0\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
        }
        for name, content in playlists.items():
            (tmp_path / name).write_text(content)
            with pytest.raises(SourceError, match=f"{name}, received a file that is truncated or no video"):
                open_source(str(tmp_path / name))
        with pytest.raises(TimeoutError):
            server.accept()


def test_pipes_and_disks_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "clip.mp4")
    with pytest.raises(SourceError, match="which is a pipe, a socket or a disk"):
        open_source(str(tmp_path / "clip.mp4"))
    with pytest.raises(SourceError, match="received a pipe, a device or a folder"):
        open_recording(tmp_path / "clip.mp4")


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv", ".mpg", ".ts"])
def test_files_of_holes_are_not_searched_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    monkeypatch.setattr(pyav, "_MAX_UNUSED", 1 << 23)
    empty = tmp_path / f"empty{suffix}"
    empty.touch()
    os.truncate(empty, 300 << 30)
    with pytest.raises(SourceError, match=r"truncated or no video|8 MB without a picture"):
        open_source(str(empty))
    codec = "mpeg2video" if suffix == ".mpg" else "mpeg4"
    path = encode(tmp_path / f"clip{suffix}", [scene(number) for number in range(12)], codec=codec)
    os.truncate(path, 300 << 30)
    frames: list[Frame] = []
    try:
        with open_source(str(path)) as source:
            frames.extend(source)
    except SourceError as error:
        assert "8 MB without a picture" in str(error)  # noqa: PT017  # others end at the index, or where it should be
    assert len(frames) >= 11


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv", ".wmv"])
@pytest.mark.parametrize("share", [0.4, 0.8])
def test_what_is_cut_off_is_said(tmp_path: Path, suffix: str, share: float) -> None:
    codec = {".avi": "mjpeg", ".wmv": "wmv2"}.get(suffix, "libx264")
    pictures = [scene(number) for number in range(40)]
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    options = {"movflags": "faststart"} if suffix == ".mp4" else None
    path = encode(tmp_path / f"clip{suffix}", pictures, codec=codec, pixels=pixels, options=options)
    content = path.read_bytes()
    path.write_bytes(content[: round(share * len(content))])
    images: list[NDArray[np.uint8]] = []
    with (
        open_source(str(path)) as source,
        pytest.raises(SourceError, match=r"a whole video in .*, received one that ends after") as refusal,
    ):
        images.extend(frame.image for frame in source)
    assert f"({len(images)} frames)" in str(refusal.value)
    for image, original in zip(images, pictures, strict=False):
        assert np.abs(image.astype(int) - original).mean() < 6


@pytest.mark.parametrize("suffix", [".mpg", ".ts"])
def test_a_stream_that_was_recorded_may_end_anywhere(tmp_path: Path, suffix: str) -> None:
    path = encode(tmp_path / f"clip{suffix}", [scene(number) for number in range(40)], codec="mpeg2video")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    assert 20 < len(read(path)[0]) < 30


def test_one_damaged_picture_is_left_out(tmp_path: Path) -> None:
    path = encode(tmp_path / "clip.avi", [scene(number) for number in range(20)], codec="mjpeg", pixels="yuvj420p")
    content = bytearray(path.read_bytes())
    starts = [match.start() for match in re.finditer(b"\xff\xd8\xff", content)]
    content[starts[7] : starts[8] - 8] = bytes(starts[8] - 8 - starts[7])  # all but the chunk that holds it
    path.write_bytes(content)
    assert read(path)[1] == pytest.approx([index / 25 for index in range(20) if index != 7])


@pytest.mark.parametrize(("form", "codec"), [("h264", "libx264"), ("hevc", "libx265"), ("mpeg2video", "mpeg2video")])
@pytest.mark.parametrize("contained", [True, False])
def test_what_dicom_holds_is_a_recording_too(tmp_path: Path, form: str, codec: str, contained: bool) -> None:
    originals = [scene(number) for number in range(8)]
    path = encode(tmp_path / "clip.ts", originals, codec=codec, b_frames=2)
    content = path.read_bytes()
    if not contained:
        target = io.BytesIO()
        with av.open(str(path)) as source, av.open(target, "w", format=form) as copy:
            stream = copy.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    copy.mux(packet)
        content = target.getvalue()
    images = [to_grey(picture.image) for picture in open_recording(io.BytesIO(content), "a cine")]
    assert len(images) == 8
    for image, original in zip(images, originals, strict=True):
        assert np.abs(image.astype(int) - original[..., 0]).mean() < 6


def test_a_video_may_be_closed_from_elsewhere(tmp_path: Path) -> None:
    path = encode(tmp_path / "clip.mp4", [scene(number) for number in range(5)])
    video = open_recording(path)
    pictures = iter(video)
    next(pictures)
    video.close()
    assert len(list(pictures)) == 4
    video.close()


def test_nothing_is_loaded_until_a_recording_is_opened() -> None:
    loaded = "import sys, metfa.runtime, metfa.runtime.sources, metfa.runtime.sinks; sys.exit('av' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", loaded], check=False).returncode == 0
