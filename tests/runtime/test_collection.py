"""Frames that a stream collects for training."""

from __future__ import annotations

import math
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metfa.runtime import Decision, Frame, Observation
from metfa.runtime.decisions.uncertainty import uncertainty
from metfa.runtime.errors import OutputError
from metfa.runtime.frame import Unusable
from metfa.runtime.imaging.coded import CodedImage
from metfa.runtime.imaging.preprocess import to_grey
from metfa.runtime.sinks import CollectionLimit, CollectionSink
from metfa.runtime.sinks.collection import INTERVAL_SECONDS, perceptual_hash
from metfa.training.data.readers import list_domain

from .conftest import make_observation, make_prediction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from metfa.runtime.imaging.coded import Image

MANY = CollectionLimit(frames=100)
SURE, UNSURE = (0.98, 0.01, 0.01), (0.34, 0.33, 0.33)


def scene(seed: int, height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """A picture of smooth blobs, another for each seed."""
    noise = np.random.default_rng(seed).normal(size=(height, width))
    smooth = cv2.GaussianBlur(noise, (0, 0), 4)
    return np.asarray(255 * (smooth - smooth.min()) / np.ptp(smooth), np.uint8)


def observe(
    image: Image, time: float = 0.0, probabilities: tuple[float, ...] = UNSURE, session: int = 0
) -> Observation:
    picture = cv2.resize(to_grey(image), (40, 32), interpolation=cv2.INTER_AREA)
    prediction = make_prediction("dark", np.array(probabilities, np.float32), np.asarray(picture, np.uint8))
    return make_observation(Frame(image, 0, 1.0, "scan", session), prediction, time=time)


def collect(directory: Path, images: Sequence[Image], limit: CollectionLimit = MANY) -> int:
    with CollectionSink(directory, limit) as sink:
        for number, image in enumerate(images):
            sink.write(observe(image, number * INTERVAL_SECONDS))
    return len(sink)


def read(directory: Path) -> list[NDArray[np.uint8]]:
    return [np.asarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)) for path in sorted(directory.iterdir())]


def worths(directory: Path) -> list[int]:
    return sorted(int(path.name[:4]) for path in directory.iterdir())


def test_whole_frames_become_a_folder_that_training_takes(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "frames of B"
    images = [scene(seed) for seed in range(8)]
    assert collect(folder, images) == 8
    assert {image.tobytes() for image in read(folder)} == {image.tobytes() for image in images}
    items = list_domain(str(folder)).entries
    assert [item.label for item in items] == [None] * 8


def test_frames_are_in_grey_as_the_model_sees_them(tmp_path: Path) -> None:
    coloured = np.asarray(cv2.applyColorMap(scene(1), cv2.COLORMAP_JET), np.uint8)
    collect(tmp_path / "of colours", [coloured])
    np.testing.assert_array_equal(read(tmp_path / "of colours")[0], cv2.cvtColor(coloured, cv2.COLOR_BGR2GRAY))
    luma = 16 + scene(1) // 2
    collect(tmp_path / "of a video", [CodedImage(luma, lambda: coloured, is_limited=True)])
    np.testing.assert_array_equal(read(tmp_path / "of a video")[0], np.rint((luma - 16) * (255 / 219)))


def test_of_frames_that_look_alike_there_is_one(tmp_path: Path) -> None:
    image = scene(0)
    brighter = np.asarray(image // 2 + 100, np.uint8)
    noisy = np.clip(image + np.random.default_rng(0).normal(0, 4, image.shape), 0, 255).astype(np.uint8)
    assert collect(tmp_path / "frames", [image, brighter, noisy, scene(1), image]) == 2


@pytest.mark.parametrize("status", get_args(Unusable))
def test_a_picture_that_shows_nothing_is_not_collected(tmp_path: Path, status: Unusable) -> None:
    folder = tmp_path / "frames"
    with CollectionSink(folder, MANY) as sink:
        sink.write(replace(observe(scene(0)), decision=Decision(status, None, 0.0)))
    assert not folder.exists()


def test_frames_are_taken_at_a_pace_and_at_once_in_a_new_session(tmp_path: Path) -> None:
    with CollectionSink(tmp_path / "frames", MANY) as sink:
        for number in range(31):
            sink.write(observe(scene(number), number / 30))
        assert len(sink) == 1 + math.floor(1 / INTERVAL_SECONDS)
        sink.write(observe(scene(100), 1.01, session=1))
        assert len(sink) == 2 + math.floor(1 / INTERVAL_SECONDS)


@given(st.lists(st.sampled_from([SURE, (0.6, 0.3, 0.1), UNSURE]), min_size=1, max_size=12), st.integers(1, 4))
def test_the_limit_holds_at_any_time_and_the_least_worth_goes(
    tmp_path_factory: pytest.TempPathFactory, certainties: list[tuple[float, ...]], most: int
) -> None:
    folder = tmp_path_factory.mktemp("collected") / "frames"
    with CollectionSink(folder, CollectionLimit(frames=most)) as sink:
        before: list[int] = []
        for number, probabilities in enumerate(certainties):
            sink.write(observe(scene(number), number, probabilities))
            after = worths(folder)
            assert len(after) <= most
            if after != before:
                # One came; if another went, it was the one of least worth, and worth less than the one that came.
                assert len(after) == len(before) + 1 or after[0] > before[0] or after[1:] >= before[1:]
                assert sum(after) > sum(before)
            before = after
    assert len(sink) == len(before)


def test_the_least_certain_stay(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    with CollectionSink(folder, CollectionLimit(frames=3)) as sink:
        for number in range(12):
            sink.write(observe(scene(number), number, UNSURE if number % 4 == 3 else SURE))
    unsure = {scene(number).tobytes() for number in (3, 7, 11)}
    assert {image.tobytes() for image in read(folder)} == unsure


def test_the_limit_in_bytes_holds(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    limit = 10_000
    with CollectionSink(folder, CollectionLimit(bytes=limit)) as sink:
        for number in range(20):
            sink.write(observe(scene(number), number, UNSURE if number % 3 else SURE))
            assert sum(path.stat().st_size for path in folder.iterdir()) <= limit
    assert 2 <= len(sink) < 20


def test_a_frame_larger_than_the_limit_is_an_error(tmp_path: Path) -> None:
    with (
        CollectionSink(tmp_path / "frames", CollectionLimit(bytes=100)) as sink,
        pytest.raises(OutputError, match=r"the limit of the collection, .* MB, received one of .* MB; raise --collect"),
    ):
        sink.write(observe(scene(0)))


def test_a_collection_is_gone_on_with(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    collect(folder, [scene(0), scene(1)])
    half_written = folder / ".0734-00000000000000ff-x1.png"
    half_written.write_bytes(b"\x89PNG")
    assert collect(folder, [scene(1), scene(2)]) == 3
    assert not half_written.exists()
    assert collect(folder, [scene(3)], CollectionLimit(frames=2)) == 3, "nothing goes without something coming"


@pytest.mark.parametrize("name", ["notes.txt", "frame.png", "0734-ff.png", ".hidden"])
def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(
        OutputError, match=f"an empty folder, or one of collected frames, .* received one that holds {name}"
    ):
        CollectionSink(tmp_path, MANY)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_path_that_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="to be able to write"):
        CollectionSink(tmp_path / "file", MANY)


def test_a_full_disk_ends_it_with_whole_files(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with CollectionSink(folder, MANY) as sink:
        sink.write(observe(scene(0)))
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        try:
            with pytest.raises(OutputError, match="to be able to write"):
                sink.write(observe(scene(1), 1))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [image.tobytes() for image in read(folder)] == [scene(0).tobytes()]


def test_a_full_disk_keeps_the_frame_that_would_have_gone(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with CollectionSink(folder, CollectionLimit(frames=1)) as sink:
        sink.write(observe(scene(0), 0, SURE))
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        try:
            with pytest.raises(OutputError, match="to be able to write"):
                sink.write(observe(scene(1), 1, UNSURE))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert [image.tobytes() for image in read(folder)] == [scene(0).tobytes()]
        sink.write(observe(scene(2), 2, UNSURE))
    assert [image.tobytes() for image in read(folder)] == [scene(2).tobytes()]


@pytest.mark.parametrize("there", [True, False])
def test_only_a_folder_that_was_made_for_nothing_goes_again(tmp_path: Path, there: bool) -> None:
    folder = tmp_path / "new" / "frames"
    if there:
        folder.mkdir(parents=True)
    CollectionSink(folder, MANY).close()
    assert folder.exists() == there
    assert folder.parent.exists() == there


@given(st.integers(0, 500), st.floats(0.3, 1), st.integers(0, 70))
def test_the_hash_does_not_depend_on_gain_or_offset(seed: int, gain: float, offset: int) -> None:
    picture = scene(seed, 56, 72)
    changed = np.rint(picture * gain * 0.7 + offset).astype(np.uint8)
    assert (perceptual_hash(picture) ^ perceptual_hash(changed)).bit_count() <= 4
    assert perceptual_hash(picture).bit_length() <= 64


def test_hashes_of_different_pictures_are_far_apart() -> None:
    hashes = [perceptual_hash(scene(seed)) for seed in range(20)]
    distances = [(a ^ b).bit_count() for index, a in enumerate(hashes) for b in hashes[:index]]
    assert min(distances) > 6


@pytest.mark.parametrize(
    ("probabilities", "expected"),
    [((1.0, 0.0), 0.0), ((0.5, 0.5), 1.0), ((0.25, 0.75), 0.8113), ((0.5, 0.5, 0), 0.6309)],
)
def test_the_uncertainty_is_the_relative_entropy(probabilities: tuple[float, ...], expected: float) -> None:
    assert uncertainty(np.array(probabilities, np.float32)) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("limit", [CollectionLimit(frames=5), CollectionLimit(bytes=12_000)])
def test_two_streams_keep_the_limit_of_their_folder_together(tmp_path: Path, limit: CollectionLimit) -> None:
    most = 0
    with CollectionSink(tmp_path / "frames", limit) as one, CollectionSink(tmp_path / "frames", limit) as other:
        for number in range(16):
            (one, other)[number % 2].write(observe(scene(number), number * INTERVAL_SECONDS))
            files = list((tmp_path / "frames").iterdir())
            assert len(files) <= (limit.frames or math.inf)
            assert sum(path.stat().st_size for path in files) <= (limit.bytes or math.inf)
            most = max(most, len(files))
    assert most >= 4


def test_two_processes_that_collect_at_once_keep_the_limit(tmp_path: Path) -> None:
    code = """
import sys
from tests.runtime.test_collection import *
folder, first = Path(sys.argv[1]), int(sys.argv[2])
with CollectionSink(folder, CollectionLimit(frames=7)) as sink:
    for number in range(40):
        sink.write(observe(scene(first + number), number * INTERVAL_SECONDS))
        assert len(list(folder.glob("[0-9]*.png"))) <= 8  # the new one comes before the old one goes
"""
    commands = [[sys.executable, "-c", code, str(tmp_path / "frames"), str(first)] for first in (0, 1000)]
    processes = [subprocess.Popen(command, cwd=Path(__file__).parents[2]) for command in commands]
    assert [process.wait() for process in processes] == [0, 0]
    assert len(list((tmp_path / "frames").iterdir())) == 7


def test_what_a_user_puts_into_the_folder_later_is_left_alone(tmp_path: Path) -> None:
    with CollectionSink(tmp_path / "frames", MANY) as sink:
        sink.write(observe(scene(0)))
        (tmp_path / "frames" / "notes.txt").write_text("mine")
        sink.write(observe(scene(1), INTERVAL_SECONDS))
    assert len(sink) == 2
    assert (tmp_path / "frames" / "notes.txt").exists()
