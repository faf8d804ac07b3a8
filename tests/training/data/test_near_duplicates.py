"""Near-duplicates against a naive oracle that compares every pair, and what they cost."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import nullcontext
from itertools import count
from typing import TYPE_CHECKING
from unittest import mock

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.training.data.links import follow
from tests.training.data.media import picture, varied

from metfa.training.data import near_duplicates as search
from metfa.training.data.decoding import THUMBNAIL
from metfa.training.data.near_duplicates import near_duplicates
from metfa.training.data.thumbnails import RELATIVE, SIMILAR, Thumbnails

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray


@pytest.fixture(params=["all pairs", "divided"])
def way(request: pytest.FixtureRequest) -> Iterator[None]:
    """Compare every pair, or divide even a few pictures by planes."""
    divided = mock.patch.multiple(search, _ALL=0, _FEW=16)
    with divided if request.param == "divided" else nullcontext():
        yield


def compare_all(thumbnails: NDArray[np.uint8]) -> list[int]:
    different, number = np.unique(thumbnails, axis=0, return_inverse=True)
    vectors = different - different.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    centre = vectors.mean(axis=0)
    nearest = min(2 * (1 - SIMILAR), RELATIVE * 2 * (1 - centre @ centre))
    linked = ((2 * (1 - vectors @ vectors.T) <= nearest) | np.eye(len(different), dtype=bool))[np.ix_(number, number)]
    before, first = np.full(len(thumbnails), -1), np.arange(len(thumbnails))
    while not np.array_equal(first, before):  # until each knows the first of its group
        before, first = first, np.where(linked, first, len(first)).min(axis=1)
    _, groups = np.unique(first, return_inverse=True)
    return [int(group) for group in groups]


def thumbnail(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    size = (THUMBNAIL, THUMBNAIL)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8).reshape(-1)


def noise(seed: int) -> NDArray[np.float64]:
    """Return a vector of mean 0 and length 1."""
    vector = np.random.default_rng(seed).standard_normal(THUMBNAIL**2)
    vector -= vector.mean()
    return np.asarray(vector / np.linalg.norm(vector))


def at(distance: float, vector: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Return a vector of mean 0 and length 1 at a distance from another one."""
    away = noise(seed)
    away -= away @ vector * vector
    angle = 2 * np.arcsin(distance / 2)
    return np.asarray(np.cos(angle) * vector + np.sin(angle) * away / np.linalg.norm(away))


def grey(vectors: NDArray[np.float64], contrast: float = 1000) -> NDArray[np.uint8]:
    return np.clip(128 + contrast * vectors, 0, 255).round().astype(np.uint8)


kinds = st.one_of(
    st.just(None),  # a new one
    st.floats(0.05, 0.35),  # at this distance from another; 0.2 is the threshold
    st.sampled_from(["again", "darker", "flat"]),
)


@given(st.lists(st.tuples(kinds, st.integers(0, 1000)), min_size=1, max_size=60))
def test_groups_are_those_of_every_pair(drawn: list[tuple[float | str | None, int]]) -> None:
    vectors, thumbnails = [noise(0)], [grey(noise(0))]
    for seed, (kind, number) in enumerate(drawn, 1):
        other = number % len(vectors)
        vectors.append(at(kind, vectors[other], seed) if isinstance(kind, float) else vectors[other])
        if kind is None:
            vectors[-1] = noise(seed)
        thumbnails.append(
            thumbnails[other]
            if kind == "again"
            else np.full(THUMBNAIL**2, number % 3, np.uint8)
            if kind == "flat"
            else grey(vectors[-1], 700 if kind == "darker" else 1000)
        )
    domain = np.stack(thumbnails)
    expected = compare_all(domain)
    assert near_duplicates(domain).tolist() == expected
    with mock.patch.multiple(search, _ALL=0, _FEW=16):
        assert near_duplicates(domain).tolist() == expected


@pytest.mark.usefixtures("way")
def test_near_duplicates_are_those_whose_thumbnails_correlate() -> None:
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


@pytest.mark.usefixtures("way")
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


def scattered(count: int) -> NDArray[np.uint8]:
    """Pictures of which no two are alike."""
    return np.random.default_rng(0).integers(0, 256, (count, THUMBNAIL**2)).astype(np.uint8)


def crowded(count: int) -> NDArray[np.uint8]:
    """Two frozen frames that are just not alike, again and again with a little noise; dark frames; a slow pan."""
    random = np.random.default_rng(0)
    frozen = grey(np.stack([noise(0), at(0.22, noise(0), 1)])[np.arange(count // 2) % 2])
    frozen += random.integers(0, 2, frozen.shape, np.uint8)
    dark = (random.random((count // 4, THUMBNAIL**2)) < 0.01).astype(np.uint8)
    pan = grey(np.stack([at(distance, noise(2), 3) for distance in np.linspace(0, 1.4, count // 4)]))
    return random.permutation(np.concatenate([frozen, dark, pan]))


def pairs_compared(thumbnails: NDArray[np.uint8]) -> int:
    compared = []
    links = Thumbnails.links

    def counted(
        self: Thumbnails, some: NDArray[np.int64], others: NDArray[np.int64], groups: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        compared.append(len(some) * len(others))
        return links(self, some, others, groups)

    with mock.patch.object(Thumbnails, "links", counted), mock.patch.multiple(search, _ALL=0, _FEW=1 << 12):
        near_duplicates(thumbnails)
    return sum(compared)


def test_a_crowd_is_grouped_as_by_every_pair() -> None:
    thumbnails = crowded(1200)
    with mock.patch.multiple(search, _ALL=0, _FEW=1 << 10):
        found = near_duplicates(thumbnails)
    assert found.tolist() == compare_all(thumbnails)
    assert np.sort(np.bincount(found))[-4:].tolist() == [1, 300, 300, 300]


@pytest.mark.parametrize("make", [scattered, crowded])
def test_four_times_the_pictures_take_few_more_comparisons_each(
    make: Callable[[int], NDArray[np.uint8]],
) -> None:
    few, many = 1500, 6000
    assert pairs_compared(make(many)) / pairs_compared(make(few)) < 1.5 * many / few


def test_ctrl_c_ends_the_search_at_once() -> None:
    numbers, compared = count(1), list[int]()
    links = Thumbnails.links

    def counted(
        self: Thumbnails, some: NDArray[np.int64], others: NDArray[np.int64], groups: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        compared.append(number := next(numbers))  # each thread has its own, so that there is one signal
        if number == 3:
            signal.raise_signal(signal.SIGINT)  # as in a terminal, it reaches the main thread
        if number >= 3:
            time.sleep(0.1)  # which can act before all is compared
        return links(self, some, others, groups)

    with mock.patch.object(Thumbnails, "links", counted), pytest.raises(KeyboardInterrupt):
        near_duplicates(scattered(4000))
    assert len(compared) < 16  # blocks of 256
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("metfa near-duplicates")]
