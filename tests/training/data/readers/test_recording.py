"""Recordings: so many frames a second, none that shows what was there before."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metfa.runtime.errors import SourceError
from metfa.runtime.frame import Frame
from metfa.runtime.imaging.preprocess import to_grey
from metfa.runtime.sources.base import Source
from metfa.training.data.readers import list_domain
from metfa.training.data.readers.recording import sample

from .examples import skipped, write

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CODECS = {".avi": "MJPG", ".mkv": "MJPG", ".mp4": "mp4v"}


def scene(seed: int, height: int = 96, width: int = 128) -> np.ndarray:
    """A smooth picture that survives compression, uint8 [96, 128]."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8)).astype(np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def record(path: Path, pictures: Sequence[np.ndarray], rate: float = 25) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gif":
        image = pytest.importorskip("PIL.Image", reason="writes GIF with Pillow")
        first, *others = (image.fromarray(picture) for picture in pictures)
        first.save(path, save_all=True, append_images=others, duration=round(1000 / rate))
        return path
    size = pictures[0].shape[1::-1]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*CODECS[path.suffix]), rate, size, isColor=False)
    for picture in pictures:
        writer.write(picture)
    writer.release()
    return path


class Frames(Source):
    """Pictures as a source of a certain rate, perhaps with times of their own."""

    live = False
    description = "frames"

    def __init__(self, pictures: Sequence[np.ndarray], rate: float, times: Sequence[float] | None = None) -> None:
        self.rate = rate
        self._pictures = pictures
        self._times = times

    def __iter__(self) -> Iterator[Frame]:
        for index, picture in enumerate(self._pictures):
            yield Frame(picture, index, time.monotonic(), "frames", time=self._times[index] if self._times else None)


@pytest.mark.parametrize("suffix", [".avi", ".mkv", ".mp4", ".gif"])
def test_a_recording_is_sampled_at_the_chosen_rate(tmp_path: Path, suffix: str) -> None:
    path = record(tmp_path / f"clip{suffix}", [scene(seed) for seed in range(50)])
    listing = list_domain(f"{path}?rate=5")
    (entry,) = listing.entries
    assert (entry.label, entry.split, entry.group, entry.region) == (None, None, "recording 1", None)
    assert entry.medium.name == str(path)
    pictures = list(map(to_grey, entry.medium.read()))
    assert len(pictures) == 10
    for number, picture in enumerate(pictures):
        assert picture.shape == (96, 128)
        assert np.abs(picture.astype(int) - scene(5 * number)).mean() < 8
    (usual,) = list_domain(str(path)).entries
    assert len(list(usual.medium.read())) == 4, "two a second unless told otherwise"
    assert usual.medium.identity() != entry.medium.identity()


@given(
    count=st.integers(1, 60),
    source_rate=st.sampled_from([1.0, 10.0, 24.0, 29.97, 50.0]),
    rate=st.sampled_from([0.5, 1.0, 2.0, 7.0, 25.0, 100.0]),
)
def test_frames_are_those_at_or_next_after_each_tick(count: int, source_rate: float, rate: float) -> None:
    generator = np.random.default_rng(0)
    pictures = [generator.integers(0, 256, (32, 32)).astype(np.uint8) for _ in range(count)]
    ticks = range(int((count - 1) / source_rate * rate + 1e-9) + 1)
    expected = range(count) if rate >= source_rate else sorted({-int(-t * source_rate // rate) for t in ticks})
    wanted = [index for index in expected if index < count]
    got = [
        next(n for n, each in enumerate(pictures) if each is picture)
        for picture in sample(Frames(pictures, source_rate), rate)
    ]
    assert got == wanted


def test_frames_of_a_variable_rate_are_taken_as_they_were_shown() -> None:
    times = [index / 25 for index in range(50)] + [2.0 + 1.5 * index for index in range(4)]
    pictures = [np.random.default_rng(index).integers(0, 256, (32, 32)).astype(np.uint8) for index in range(54)]
    taken = sample(Frames(pictures, 9.45, times), 2)
    shown_at = [times[next(n for n, each in enumerate(pictures) if each is picture)] for picture in taken]
    assert shown_at == [0, 0.52, 1, 1.52, 2, 3.5, 5, 6.5]


@pytest.mark.parametrize(
    "name", ["12:30:05.avi", "file:x.avi", "-scan.avi", "clip%03d.avi", "a b'c.avi", "two\nlines.avi"]
)
def test_any_name_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    record(tmp_path / "clip.avi", [scene(seed) for seed in range(50)]).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for domain, count in ((name, 4), (f"./{name}?rate=5", 10), (f"{tmp_path / name}?rate=1", 2)):
        (entry,) = list_domain(domain).entries
        assert len(list(entry.medium.read())) == count, domain


def test_a_frozen_picture_is_taken_once_whatever_its_clock_says() -> None:
    pictures = []
    for index in range(40):
        picture = scene(0 if index < 20 else 1, 240, 320)
        noise = np.random.default_rng(index).integers(-4, 5, picture.shape)
        picture = np.clip(picture + noise, 0, 255).astype(np.uint8)
        cv2.putText(picture, f"12:00:{index:02}", (5, 235), cv2.FONT_HERSHEY_PLAIN, 0.8, 255)
        pictures.append(picture)
    taken = list(sample(Frames(pictures, 10), 10))
    assert [next(n for n, each in enumerate(pictures) if each is picture) for picture in taken] == [0, 20]


def test_a_loop_is_taken_once() -> None:
    assert len(list(sample(Frames([scene(index % 7) for index in range(70)], 10), 10))) == 7


def test_a_picture_that_moves_slowly_is_taken_whenever_enough_has_changed() -> None:
    wide = scene(3, 96, 600)
    pictures = [np.ascontiguousarray(wide[:, 2 * index : 2 * index + 128]) for index in range(100)]
    assert 5 < len(list(sample(Frames(pictures, 25), 25))) < 100


def test_a_folder_of_recordings_with_and_without_classes(tmp_path: Path) -> None:
    for name in ("flat/1.avi", "flat/2.avi", "classes/4CH/1.avi", "classes/4CH/p/2.avi", "classes/Lips/3.avi"):
        record(tmp_path / name, [scene(0), scene(1)], 2)
    write(tmp_path / "classes" / "Lips" / "4.png")
    flat = list_domain(str(tmp_path / "flat") + "?rate=1").entries
    assert [(entry.label, entry.group, len(list(entry.medium.read()))) for entry in flat] == [
        (None, "recording 1", 1),
        (None, "recording 2", 1),
    ]
    classes = list_domain(str(tmp_path / "classes")).entries
    assert [(entry.label, entry.group, len(list(entry.medium.read()))) for entry in classes] == [
        ("4CH", "recording 1", 2),
        ("4CH", "patient 2", 2),
        ("Lips", "recording 3", 2),
        ("Lips", None, 1),
    ]


def test_a_table_of_recordings(tmp_path: Path) -> None:
    record(tmp_path / "1.avi", [scene(seed) for seed in range(20)], 10)
    record(tmp_path / "2.avi", [scene(seed) for seed in range(20)], 10)
    (tmp_path / "table.csv").write_text("path,label,patient\n1.avi,4CH,Smith\n2.avi,4CH,Smith\n3.avi,4CH,Smith\n")
    listing = list_domain(f"{tmp_path / 'table.csv'}?label=4CH&rate=10")
    assert [entry.group for entry in listing.entries] == ["patient 1", "patient 1"]
    assert [len(list(entry.medium.read())) for entry in listing.entries] == [20, 20]
    assert skipped(listing) == {str(tmp_path / "3.avi"): "No such file or directory"}


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"no video" * 100, id="text"),
        pytest.param(b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom", id="a header alone"),
        pytest.param(cv2.imencode(".png", scene(0))[1].tobytes()[:300], id="a broken picture"),
    ],
)
def test_a_video_with_no_decodable_frame_is_an_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "clip.mp4").write_bytes(content)
    (entry,) = list_domain(str(tmp_path)).entries
    with pytest.raises(SourceError, match=r"clip\.mp4"):
        list(entry.medium.read())


def test_of_a_truncated_video_the_frames_come_before_the_error(tmp_path: Path) -> None:
    path = record(tmp_path / "clip.avi", [scene(seed) for seed in range(50)])
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    (entry,) = list_domain(f"{path}?rate=25").entries
    pictures = entry.medium.read()
    assert next(pictures).shape == (96, 128)
    with pytest.raises(SourceError, match="ends after"):
        list(pictures)


@pytest.mark.skipif("METFA_DATA" not in os.environ, reason="METFA_DATA names no folder of real images")
def test_real_recordings() -> None:
    listing = list_domain(str(Path(os.environ["METFA_DATA"], "ultrasound", "clips")))
    counts = {Path(entry.medium.name).stem: len(list(entry.medium.read())) for entry in listing.entries}
    assert listing.skipped == ()
    # 29, 10, 7 and 4 seconds; one image of an eye was made a video, with nothing that moves.
    assert counts.pop("sonosite-anon-eye1-video") == 1
    assert counts.pop("butterfly-ocular-phantom") in range(40, 60)
    assert counts.pop("lung_convex_CCBY40") in range(15, 22)
    assert counts.pop("lung_linear_CCBY40") in range(10, 16)
    assert not counts
