"""Which frames come first."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metfa.runtime.labelling.frames import by_thumbnail
from metfa.runtime.labelling.order import OPEN, SKIPPED, Order, farthest_first
from metfa.runtime.phantom import PLANES

from .folder import still

if TYPE_CHECKING:
    from numpy.typing import NDArray

NUMBER, WANTED = 120, 5


@pytest.fixture(scope="module")
def collection() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the thumbnails of a collection of the phantom in no order, and the planes of its frames."""
    planes = np.random.default_rng(0).permutation(np.arange(NUMBER) % len(PLANES))
    vectors = [by_thumbnail(still(PLANES[plane], seed)).vector for seed, plane in enumerate(planes)]
    return np.stack(vectors), planes


def equal(frames: int, classes: int = len(PLANES)) -> NDArray[np.float32]:
    return np.full((frames, classes), 1 / classes, np.float32)


def unanswered(frames: int) -> NDArray[np.int64]:
    return np.full(frames, OPEN)


def answers_needed(order: Order, planes: NDArray[np.int64], skipped: int = 0) -> int:
    """Return how many answers a user gives until every class has its labels; every other one of the first is a skip."""
    answers = unanswered(len(planes))
    for number in range(len(planes)):
        counts = np.bincount(answers[answers >= 0], minlength=planes.max() + 1)
        if counts.min() >= WANTED:
            return number
        (frame,) = order.first(1, answers, WANTED)
        answers[frame] = SKIPPED if number < 2 * skipped and number % 2 else planes[frame]
    return len(planes)


def test_every_plane_is_among_the_first_frames(collection: tuple[NDArray[np.float32], NDArray[np.int64]]) -> None:
    vectors, planes = collection
    first = Order(vectors, equal(NUMBER)).first(60, unanswered(NUMBER), WANTED)
    assert min(Counter(planes[first]).values()) >= WANTED
    assert len(set(planes[first])) == len(PLANES)


def test_answers_lead_to_the_classes_that_lack_labels(
    collection: tuple[NDArray[np.float32], NDArray[np.int64]],
) -> None:
    vectors, planes = collection
    assert answers_needed(Order(vectors, equal(NUMBER)), planes) <= 45  # 30 at best, 52 in the order of the folder
    assert answers_needed(Order(vectors, equal(NUMBER)), planes, skipped=5) <= 55


@pytest.mark.parametrize(("accuracy", "most"), [(0.5, 43), (0.8, 36), (1.0, 30)])
def test_a_model_saves_answers_even_where_it_errs(
    collection: tuple[NDArray[np.float32], NDArray[np.int64]], accuracy: float, most: int
) -> None:
    _, planes = collection
    rng = np.random.default_rng(1)
    seen = np.where(rng.random(NUMBER) < accuracy, planes, rng.integers(0, len(PLANES), NUMBER))
    embedding = np.eye(len(PLANES))[seen] + rng.normal(0, 0.15, (NUMBER, len(PLANES)))
    probabilities = 0.1 / len(PLANES) + 0.9 * np.eye(len(PLANES))[seen]
    assert answers_needed(Order(embedding.astype(np.float32), probabilities.astype(np.float32)), planes) <= most


def test_a_rare_class_is_found_where_another_is_everywhere() -> None:
    planes = np.array([0] * 190 + [1] * 10)
    vectors = np.random.default_rng(0).normal(0, 0.3, (200, 8)).astype(np.float32)
    vectors[:, 0] += 3 * planes
    assert answers_needed(Order(vectors, equal(200, 2)), planes) <= 50  # 91 in no order


def test_the_uncertain_comes_before_the_certain_where_all_else_is_alike() -> None:
    vectors = np.eye(4, dtype=np.float32)
    sure = 15 / 16  # sums are exact
    probabilities = np.array([[sure, 1 - sure], [1 - sure, sure], [0.5, 0.5], [sure, 1 - sure]], np.float32)
    assert Order(vectors, probabilities).first(1, unanswered(4), WANTED) == [2]


def test_the_novel_comes_before_the_usual_where_all_else_is_alike() -> None:
    vectors = np.array([[1, 0], [1, 0.01], [0, 1], [0, 1.01], [-1, -0.4]], np.float32)
    assert Order(vectors, equal(5, 2)).first(1, unanswered(5), WANTED) == [4]


def test_clusters_take_turns() -> None:
    vectors = np.repeat(np.eye(5, dtype=np.float32), 20, axis=0)
    first = Order(vectors, equal(100)).first(5, unanswered(100), WANTED)
    assert {frame // 20 for frame in first} == set(range(5))


@given(st.integers(1, 40), st.integers(1, 6), st.integers(0, 50), st.integers(0, 1000))
def test_open_frames_come_once_and_no_other_does(frames: int, dimensions: int, number: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.integers(0, 2, (frames, dimensions)).astype(np.float32)  # many are the same
    answers = rng.integers(OPEN, 3, frames)
    first = Order(vectors, equal(frames, 3)).first(number, answers, WANTED)
    assert len(set(first)) == len(first) == min(number, int((answers == OPEN).sum()))
    assert all(answers[frame] == OPEN for frame in first)


@given(st.integers(2, 60), st.integers(1, 10), st.integers(0, 1000))
def test_clusters_are_hardly_wider_than_any_could_be(frames: int, number: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(frames, 3))
    clusters = farthest_first(vectors, number)
    assert set(clusters) == set(range(min(number, frames)))
    if number < frames:  # another centre would be farther from all than any frame is from its own: at most its diameter
        distances = np.linalg.norm(vectors[:, np.newaxis] - vectors, axis=2)
        same = clusters[:, np.newaxis] == clusters
        assert distances[same].max() <= 2 * np.sort(distances, axis=1)[:, -1].min() or number == 1


def test_what_is_all_the_same_is_one_cluster() -> None:
    assert set(farthest_first(np.ones((10, 3)), 5)) == {0}
