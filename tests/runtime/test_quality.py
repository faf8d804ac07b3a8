from __future__ import annotations

import os
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from metfa.runtime import Region, open_source
from metfa.runtime.imaging.images import read_image
from metfa.runtime.imaging.preprocess import preprocess
from metfa.runtime.imaging.quality import PictureWatch, sharpness, signal
from metfa.runtime.phantom import BACKGROUND, PLANES, Phantom, load_profile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from metfa.runtime.frame import Unusable

HEIGHT, WIDTH = 112, 144
random = np.random.default_rng(0)


def scan(device: str, frames: int, seed: int = 0) -> Iterator[NDArray[np.uint8]]:
    images = Phantom(load_profile(device)).scan(seed)
    for _ in range(frames):
        yield preprocess(next(images)[0], height=HEIGHT, width=WIDTH)[0]


@lru_cache
def still(seed: int = 0) -> NDArray[np.uint8]:
    return np.asarray(preprocess(Phantom(load_profile("A")).image("4CH", seed), height=HEIGHT, width=WIDTH)[0])


def level(value: int) -> NDArray[np.uint8]:
    return np.full((HEIGHT, WIDTH), value, np.uint8)


def sensor_noise_in_the_dark() -> NDArray[np.uint8]:
    return random.integers(0, 16, (HEIGHT, WIDTH), np.uint8)


def one_bright_dot() -> NDArray[np.uint8]:
    picture = level(0)
    picture[50:54, 60:64] = 255
    return picture


def no_signal_screen() -> NDArray[np.uint8]:
    """One colour and its noise, as frame grabbers show it."""
    return random.integers(29, 33, (HEIGHT, WIDTH), np.uint8)


def gain_at_its_end() -> NDArray[np.uint8]:
    return np.asarray(np.minimum(still().astype(int) * 8, 255), np.uint8)


def white_noise_at_the_top() -> NDArray[np.uint8]:
    return random.integers(245, 256, (HEIGHT, WIDTH), np.uint8)


def low_gain() -> NDArray[np.uint8]:
    return np.asarray(still() // 3, np.uint8)


@pytest.mark.parametrize(
    ("picture", "verdict"),
    [
        (level(0), "no signal"),
        (level(16), "no signal"),
        (level(128), "no signal"),
        (level(255), "saturated"),
        (sensor_noise_in_the_dark(), "no signal"),
        (one_bright_dot(), "no signal"),
        (no_signal_screen(), "no signal"),
        (gain_at_its_end(), "saturated"),
        (white_noise_at_the_top(), "saturated"),
        (still(), None),
        (low_gain(), None),
    ],
    ids=[
        "black",
        "nearly black",
        "grey",
        "white",
        "sensor noise",
        "a dot",
        "no-signal screen",
        "far too much gain",
        "white noise",
        "plane",
        "plane with little gain",
    ],
)
def test_what_shows_nothing_is_recognised(picture: NDArray[np.uint8], verdict: Unusable | None) -> None:
    assert signal(picture) == verdict
    state = PictureWatch()(picture, 0.0)
    assert (state.unusable, state.cut) == (verdict, False)


@pytest.mark.parametrize("device", ["A", "B"])
def test_every_plane_of_the_phantom_is_a_picture(device: str) -> None:
    phantom = Phantom(load_profile(device))
    for plane in (*PLANES, BACKGROUND):
        assert signal(preprocess(phantom.image(plane, 0), height=HEIGHT, width=WIDTH)[0]) is None


@pytest.mark.parametrize("device", ["A", "B"])
def test_a_scan_is_neither_frozen_nor_cut(device: str) -> None:
    watch = PictureWatch()
    states = [watch(picture, index / 30) for index, picture in enumerate(scan(device, 40))]
    assert all(state.unusable is None and not state.cut for state in states)


@pytest.mark.parametrize("rate", [10, 30, 240])
@pytest.mark.parametrize("noise", [1, 3], ids=["the same bytes", "compressed"])
def test_a_paused_machine_is_frozen_after_a_second(rate: int, noise: int) -> None:
    watch, picture = PictureWatch(), still()
    states = []
    for index in range(2 * rate):
        noisy = np.clip(picture.astype(int) + random.integers(0, noise, picture.shape), 0, 255).astype(np.uint8)
        states.append(watch(noisy, index / rate).unusable)
    assert states[:rate] == [None] * rate
    assert states[rate + 1 :] == ["frozen"] * (rate - 1)
    assert watch(still(1), 2.0).unusable is None


def test_a_repeated_frame_or_a_few_are_not_frozen() -> None:
    watch = PictureWatch()
    pictures = list(scan("A", 6))
    assert all(watch(pictures[index // 20], index / 30).unusable is None for index in range(120))


def test_a_clock_on_the_screen_does_not_hide_that_it_is_frozen() -> None:
    watch, states = PictureWatch(), []
    for index in range(60):
        picture = still().copy()
        picture[2:6, 2:5] = random.integers(0, 256, (4, 3))
        states.append(watch(picture, index / 30).unusable)
    assert states[-1] == "frozen"


def test_after_a_restart_nothing_is_frozen_or_cut() -> None:
    watch = PictureWatch()
    watch(still(), 0.0)
    watch.restart()
    assert watch(still(), 10.0).unusable is None
    watch.restart()
    assert not watch(np.ascontiguousarray(255 - still()), 11.0).cut


def test_another_scene_is_a_cut() -> None:
    watch = PictureWatch()
    before, after = still(), np.ascontiguousarray(still(1)[::-1])
    assert [watch(picture, index / 30).cut for index, picture in enumerate([before, before, after, after])] == [
        False,
        False,
        True,
        False,
    ]


def test_a_black_frame_between_two_is_two_cuts() -> None:
    watch = PictureWatch()
    assert [watch(picture, index / 30).cut for index, picture in enumerate([still(), level(0), still()])] == [
        False,
        True,
        True,
    ]


def test_gain_is_no_cut() -> None:
    watch = PictureWatch()
    watch(still(), 0.0)
    assert not watch(low_gain(), 1 / 30).cut


needs_data = pytest.mark.skipif(
    "METFA_DATA" not in os.environ, reason="METFA_DATA does not name the folder of real data"
)


def real(*parts: str) -> Path:
    return Path(os.environ["METFA_DATA"], *parts)


@needs_data
@pytest.mark.parametrize(
    ("clip", "live"),
    [
        ("butterfly-ocular-phantom.mp4", True),
        ("lung_convex_CCBY40.mpeg", True),
        ("lung_linear_CCBY40.mp4", True),
        ("sonosite-anon-eye1-video.mp4", False),  # paused, with callipers
    ],
)
def test_real_clips_are_live_or_frozen_and_never_cut(clip: str, live: bool) -> None:
    watch = PictureWatch()
    with open_source(str(real("ultrasound", "clips", clip))) as source:
        states = [
            watch(preprocess(frame.image, height=HEIGHT, width=WIDTH)[0], frame.index / source.rate)
            for frame in islice(source, 60)
        ]
    assert {state.unusable for state in states} == ({None} if live else {None, "frozen"})
    assert states[-1].unusable == (None if live else "frozen")
    assert not any(state.cut for state in states)


@needs_data
def test_each_of_the_real_planes_is_another_scene() -> None:
    watch = PictureWatch()
    paths = sorted(real("sononet", "frames").iterdir())
    region = Region(81, 115, 793, 619)
    pictures = [preprocess(read_image(path), height=HEIGHT, width=WIDTH, region=region)[0] for path in paths]
    assert [watch(picture, index / 30).cut for index, picture in enumerate(pictures)] == [False] + [True] * 5


def test_sharpness_is_the_deviation_of_the_laplacian() -> None:
    picture = random.integers(0, 256, (20, 30), np.uint8)
    padded = np.pad(picture.astype(int), 1, mode="reflect")
    laplacian = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:] - 4 * padded[1:-1, 1:-1]
    assert sharpness(picture) == pytest.approx(laplacian.std())


def test_blur_is_less_sharp() -> None:
    picture = still()
    blurred = np.asarray(cv2.GaussianBlur(picture, (0, 0), 1.0), np.uint8)
    assert sharpness(blurred) < sharpness(picture) / 2
    assert sharpness(level(7)) == 0
