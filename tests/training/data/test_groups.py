"""Groups against naive oracles: every pair compared, every link followed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.training.data.media import picture, varied

from metfa.training.data import groups
from metfa.training.data.decoding import THUMBNAIL
from metfa.training.data.groups import SIMILAR, join, near_duplicates

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray


def follow(count: int, linked: Callable[[int, int], bool]) -> list[int]:
    """Number the groups by first appearance, link by link."""
    numbers: list[int | None] = [None] * count
    following = 0
    for start in range(count):
        if numbers[start] is None:
            reached = [start]
            while reached:
                one = reached.pop()
                numbers[one] = following
                reached += [other for other in range(count) if numbers[other] is None and linked(one, other)]
            following += 1
    return [number for number in numbers if number is not None]


keys = st.lists(st.tuples(*[st.one_of(st.none(), st.integers(0, 6))] * 3), min_size=1, max_size=25)


@given(keys)
def test_pictures_that_share_any_key_are_joined(rows: list[tuple[int | None, ...]]) -> None:
    def linked(one: int, other: int) -> bool:
        return any(a is not None and a == b for a, b in zip(rows[one], rows[other], strict=True))

    of_kind: Sequence[Sequence[int | None]] = list(zip(*rows, strict=True))
    assert join(*of_kind).tolist() == follow(len(rows), linked)


def thumbnail(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    size = (THUMBNAIL, THUMBNAIL)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8).reshape(-1)


@pytest.mark.parametrize("block", [1, 4, 1000])
def test_near_duplicates_are_those_whose_thumbnails_correlate(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(groups, "_BLOCK", block)
    images = [picture(seed) for seed in range(6)]
    # Between two pictures, so that the ends of the row are linked by what is between them.
    images += [np.asarray(cv2.addWeighted(picture(0), 1 - t, picture(1), t, 0), np.uint8) for t in (0.1, 0.2, 0.3)]
    images += [varied(picture(2), 0), varied(picture(2), 1), picture(3)]
    flat = [np.full((40, 50), grey, np.uint8) for grey in (0, 0, 9)]
    thumbnails = np.stack([thumbnail(image) for image in [*images, *flat]])

    def linked(one: int, other: int) -> bool:
        pair = thumbnails[[one, other]].astype(float)
        if (pair.std(axis=1) == 0).any():
            return bool((pair[0] == pair[1]).all())
        return bool(np.corrcoef(pair)[0, 1] >= SIMILAR)

    found = near_duplicates(thumbnails).tolist()
    assert found == follow(len(thumbnails), linked)
    assert found[2] == found[9] == found[10]
    assert found[3] == found[11]
    assert len({found[-3], found[-1], found[4], found[5]}) == 4
    assert not linked(0, 8)
    assert found[0] == found[8]


def test_the_outline_of_the_sector_makes_no_near_duplicates() -> None:
    """Frames of nothing but speckle in one fan, each of which is there twice."""
    fan = np.zeros((224, 288), np.float32)
    cv2.ellipse(fan, (144, -20), (230, 230), 90, -38, 38, 1.0, -1)
    speckle = [cv2.GaussianBlur(np.random.default_rng(n).rayleigh(60, fan.shape), (0, 0), 1) for n in range(40)]
    frames = [np.clip(each * fan, 0, 255).astype(np.uint8) for each in speckle]
    thumbnails = np.stack([thumbnail(image) for image in frames + [varied(frame, 1) for frame in frames]])
    assert np.corrcoef(thumbnails[:40]).min() > SIMILAR
    assert near_duplicates(thumbnails).tolist() == [*range(40), *range(40)]


def test_there_may_be_none() -> None:
    assert near_duplicates(np.zeros((0, 1024), np.uint8)).tolist() == []
    assert join([]).tolist() == []
