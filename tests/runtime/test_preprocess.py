from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metfa.runtime.bundle.contract import Region
from metfa.runtime.errors import SourceError
from metfa.runtime.imaging.preprocess import preprocess

if TYPE_CHECKING:
    from numpy.typing import NDArray

sizes = st.tuples(st.integers(1, 200), st.integers(1, 200))


@given(sizes, sizes, st.sampled_from([(), (1,), (3,), (4,)]), st.integers(0, 255))
def test_any_frame_becomes_the_input_and_an_even_one_stays_even(
    frame: tuple[int, int], model: tuple[int, int], colours: tuple[int, ...], level: int
) -> None:
    height, width = model
    result = preprocess(np.full((*frame, *colours), level, np.uint8), height=height, width=width)
    assert result.shape == (1, height, width)
    assert result.dtype == np.uint8
    assert result.flags.c_contiguous
    assert (result == level).all()


def test_shrinking_by_powers_of_two_averages_areas() -> None:
    image = np.random.default_rng(0).integers(0, 256, (12, 40), np.uint8)
    means = image.reshape(6, 2, 5, 8).mean(axis=(1, 3))
    # Each of the three halvings rounds to whole grey levels.
    assert np.abs(preprocess(image, height=6, width=5)[0] - means).max() <= 1.5


def test_of_an_axis_that_is_halved_alone_each_pair_is_averaged() -> None:
    levels = np.arange(256)
    pairs = np.stack(np.meshgrid(levels, levels, indexing="ij"), axis=2).astype(np.uint8)
    means = (pairs.sum(axis=2, dtype=np.uint16) + 1) // 2
    assert (preprocess(pairs.reshape(256, 512), height=256, width=256)[0] == means).all()
    in_rows = np.ascontiguousarray(pairs.transpose(0, 2, 1)).reshape(512, 256)
    assert (preprocess(in_rows, height=256, width=256)[0] == means).all()


def test_shrinking_by_other_factors_stays_close_to_averaging_areas() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (720, 1280), np.uint8)
    image = np.asarray(cv2.GaussianBlur(noise, (0, 0), 2), np.uint8)
    once = cv2.resize(image, (288, 224), interpolation=cv2.INTER_AREA)
    difference = preprocess(image, height=224, width=288)[0].astype(int) - once
    assert np.abs(difference).mean() < 1.5


@given(st.integers(2, 60), st.integers(28, 60))
def test_no_pixel_is_left_out(columns: int, width: int) -> None:
    columns *= 2 ** (columns % 4)  # halvings of even numbers
    for column in range(0, columns, 7):
        image = np.zeros((4, columns), np.uint8)
        image[:, column] = 255
        assert preprocess(image, height=4, width=width).any()


def test_enlarging_interpolates_while_the_other_axis_is_averaged() -> None:
    image = np.tile(np.array([[0], [100]], np.uint8), (1, 80))
    image[:, ::2] += 60  # each two columns average to 30 more
    # The centres of the eight rows lie at −0.375, −0.125, 0.125, … of the two.
    ramp = np.interp((np.arange(8) + 0.5) / 4 - 0.5, [0, 1], [30, 130])
    assert np.abs(preprocess(image, height=8, width=40)[0] - ramp[:, np.newaxis]).max() <= 1


def test_colours_become_luma() -> None:
    blue_green_red = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    assert preprocess(blue_green_red, height=1, width=3).ravel().tolist() == [29, 150, 76]


def test_only_the_region_counts() -> None:
    image = np.zeros((100, 120, 3), np.uint8)
    image[20:60, 30:90] = 200
    result = preprocess(image, height=28, width=28, region=Region(30, 20, 60, 40))
    assert (result == 200).all()


def test_the_frame_is_not_changed() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    before = image.copy()
    preprocess(image, height=28, width=28, region=Region(3, 3, 50, 50))
    assert (image == before).all()


@pytest.mark.parametrize(
    "region", [Region(0, 0, 65, 64), Region(0, 0, 64, 65), Region(64, 0, 1, 1), Region(0, 64, 1, 1)]
)
def test_a_region_beyond_the_frame_is_refused(region: Region) -> None:
    with pytest.raises(SourceError, match=f"inside the frame of 64x64 pixels, received x,y,width,height = {region}"):
        preprocess(np.zeros((64, 64), np.uint8), height=28, width=28, region=region)


@pytest.mark.parametrize("values", [(-1, 0, 1, 1), (0, -1, 1, 1), (0, 0, 0, 1), (0, 0, 1, 0)])
def test_an_impossible_region_is_refused(values: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="empty or begins outside"):
        Region(*values)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((64, 64), np.float32),
        np.zeros((64, 64), np.uint16),
        np.zeros((64,), np.uint8),
        np.zeros((0, 64), np.uint8),
        np.zeros((64, 64, 2), np.uint8),
        np.zeros((1, 64, 64, 3), np.uint8),
    ],
)
def test_what_is_no_frame_is_refused(image: NDArray[Any]) -> None:
    with pytest.raises(SourceError, match="expected a frame"):
        preprocess(image, height=28, width=28)
