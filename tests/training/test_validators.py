"""Validators against loops from their definitions, and at the values that are known."""

from __future__ import annotations

import math
from itertools import combinations, permutations
from statistics import pstdev

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from metfa.training.selection.validators import (
    SND_FRAMES,
    SND_TEMPERATURE,
    Validators,
    cluster,
    diversity,
    entropy,
    information_maximisation,
    neighbourhood_density,
    nuclear_norm,
    standard_error,
    validate,
)

Array = NDArray[np.float64]

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(1, 12)
class_counts = st.integers(2, 5)


def draw_probabilities(seed: int, size: int, classes: int) -> Array:
    """From nearly uniform to nearly one-hot."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(size, classes)) * generator.uniform(0, 40, (size, 1))
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def one_hot(labels: list[int], classes: int) -> Array:
    return np.eye(classes)[labels]


def naive_entropy(row: list[float]) -> float:
    return sum(-p * math.log(p) for p in row if p > 0)


def naive_mean(probabilities: Array) -> list[float]:
    return [sum(column) / len(column) for column in zip(*probabilities.tolist(), strict=True)]


def naive_mean_entropy(probabilities: Array) -> float:
    return sum(naive_entropy(row) for row in probabilities.tolist()) / len(probabilities)


def naive_density(probabilities: Array) -> float:
    rows, total = probabilities.tolist(), 0.0
    for i, row in enumerate(rows):
        cosines = [
            sum(a * b for a, b in zip(row, other, strict=True)) / math.hypot(*row) / math.hypot(*other)
            for j, other in enumerate(rows)
            if j != i
        ]
        exponentials = [math.exp(cosine / SND_TEMPERATURE) for cosine in cosines]
        total += naive_entropy([value / sum(exponentials) for value in exponentials])
    return total / len(rows)


def shares(one: list[int], other: list[int]) -> dict[tuple[int, int], float]:
    return {
        pair: 1 / len(one) * list(zip(one, other, strict=True)).count(pair) for pair in zip(one, other, strict=True)
    }


def information(one: list[int], other: list[int]) -> float:
    """Mutual information in nats."""
    joint = shares(one, other)
    p, q = shares(one, one), shares(other, other)
    return sum(value * math.log(value / p[a, a] / q[b, b]) for (a, b), value in joint.items())


def naive_v_measure(clusters: list[int], predicted: list[int]) -> float:
    """The harmonic mean of homogeneity and completeness, each 1 where its entropy is 0."""
    shared = information(clusters, predicted)
    of_clusters, of_predicted = information(clusters, clusters), information(predicted, predicted)
    homogeneity = shared / of_clusters if of_clusters else 1.0
    completeness = shared / of_predicted if of_predicted else 1.0
    return 2 * homogeneity * completeness / (homogeneity + completeness) if homogeneity + completeness else 0.0


def naive_ami(clusters: list[int], predicted: list[int]) -> float:
    """Above what all permutations give on average, as a share of the most that could be."""
    by_chance = [information(clusters, list(order)) for order in permutations(predicted)]
    expected = sum(by_chance) / len(by_chance)
    most = (information(clusters, clusters) + information(predicted, predicted)) / 2
    return (information(clusters, predicted) - expected) / (most - expected)


@given(seeds, sizes, class_counts)
def test_the_validators_of_predictions_are_their_definitions(seed: int, size: int, classes: int) -> None:
    p = draw_probabilities(seed, size, classes)
    mean_entropy, of_mean = naive_mean_entropy(p), naive_entropy(naive_mean(p))
    assert entropy(p).tolist() == pytest.approx([naive_entropy(row) for row in p.tolist()])
    assert information_maximisation(p) == pytest.approx(of_mean - mean_entropy, abs=1e-12)
    assert diversity(p) == pytest.approx(of_mean / math.log(classes), abs=1e-12)
    assert nuclear_norm(p) == pytest.approx(sum(np.linalg.svd(p)[1]) / size)
    if size > 1:
        assert neighbourhood_density(p) == pytest.approx(naive_density(p), abs=1e-9)
    said = validate(p, p.astype(np.float32), supervised_accuracy=0.5, accuracy_error=0.01)
    assert said.negative_entropy == pytest.approx(-mean_entropy, abs=1e-12)
    assert said.supervised_accuracy == 0.5


@given(st.integers(1, 200), st.data())
def test_the_error_of_an_accuracy_counts_two_frames_more_as_right_and_two_as_wrong(
    frames: int, data: st.DataObject
) -> None:
    right = data.draw(st.integers(0, frames))
    counted = [1] * (right + 2) + [0] * (frames - right + 2)
    assert standard_error(right / frames, frames) == pytest.approx(pstdev(counted) / math.sqrt(len(counted)))


@given(seeds, st.integers(3, 7), class_counts)
def test_agreement_with_clusters_is_v_measure_and_ami(seed: int, size: int, classes: int) -> None:
    p = draw_probabilities(seed, size, classes)
    embeddings = np.random.default_rng(seed).normal(size=(size, 4)).astype(np.float32)
    clusters, predicted = cluster(embeddings, classes).tolist(), p.argmax(axis=1).tolist()
    said = validate(p, embeddings, supervised_accuracy=1.0, accuracy_error=0.01)
    assert said.v_measure == pytest.approx(naive_v_measure(clusters, predicted), abs=1e-9)
    if 1 < len(set(predicted)) < size and len(set(clusters)) < size:
        assert said.ami == pytest.approx(naive_ami(clusters, predicted), abs=1e-6)


@given(seeds, sizes, class_counts)
def test_every_validator_is_finite_and_within_its_bounds(seed: int, size: int, classes: int) -> None:
    p = draw_probabilities(seed, size, classes)
    said = validate(p, p.astype(np.float32), supervised_accuracy=1.0, accuracy_error=0.01)
    greatest, least = math.log(classes) + 1e-9, -1e-9
    assert least <= said.v_measure <= 1 - least
    assert -1 <= said.ami <= 1 - least
    assert least <= said.information_maximisation <= greatest
    assert 1 / math.sqrt(classes) - 1e-9 <= math.sqrt(size) * said.nuclear_norm <= math.sqrt(min(size, classes)) + 1e-9
    assert -greatest <= said.negative_entropy <= -least
    assert least <= said.neighbourhood_density <= math.log(max(1, size - 1)) + 1e-9
    assert least <= said.diversity <= 1 - least


@given(seeds, st.integers(2, 8), class_counts)
def test_the_order_of_classes_and_frames_does_not_matter_to_predictions(seed: int, size: int, classes: int) -> None:
    p = draw_probabilities(seed, size, classes)
    generator = np.random.default_rng(seed)
    other = p[generator.permutation(size)][:, generator.permutation(classes)]
    for validator in (information_maximisation, nuclear_norm, diversity, neighbourhood_density):
        assert validator(other) == pytest.approx(validator(p), abs=1e-9)


def separated(labels: list[int]) -> NDArray[np.float32]:
    """Embeddings in tight clusters, one per label."""
    noise = np.random.default_rng(0).normal(size=(len(labels), 3), scale=0.01)
    return (10 * one_hot(labels, 3) + noise).astype(np.float32)


def test_predictions_that_are_the_clusters_agree_perfectly() -> None:
    labels = [0, 1, 2, 0, 1, 2, 2, 0]
    said = validate(
        one_hot([(label + 1) % 3 for label in labels], 3),
        separated(labels),
        supervised_accuracy=1.0,
        accuracy_error=0.01,
    )
    assert said.v_measure == pytest.approx(1)
    assert said.ami == pytest.approx(1)


def test_constant_predictions_agree_with_nothing_and_are_certain_of_it() -> None:
    labels = [0, 1, 2, 0, 1, 2]
    said = validate(one_hot([1] * 6, 3), separated(labels), supervised_accuracy=0.3, accuracy_error=0.01)
    assert {name: getattr(said, name) for name in Validators.__slots__} == pytest.approx(
        {
            "supervised_accuracy": 0.3,
            "accuracy_error": 0.01,
            "v_measure": 0,
            "ami": 0,
            "information_maximisation": 0,
            "nuclear_norm": 1 / math.sqrt(6),
            "negative_entropy": 0,
            "neighbourhood_density": math.log(5),
            "diversity": 0,
        },
        abs=1e-12,
    )


def test_certain_and_balanced_predictions_have_the_most_information() -> None:
    p = one_hot([0, 1, 2, 3] * 5, 4)
    assert information_maximisation(p) == pytest.approx(math.log(4))
    assert diversity(p) == pytest.approx(1)
    assert nuclear_norm(p) == pytest.approx(math.sqrt(4 / 20))  # M columns of length √(N / M), over N
    # Of the 19 others, 4 are identical, at a similarity of 1 over the temperature, and 15 have none.
    weight = math.exp(1 / SND_TEMPERATURE)
    share, rest = weight / (4 * weight + 15), 1 / (4 * weight + 15)
    assert neighbourhood_density(p) == pytest.approx(-4 * share * math.log(share) - 15 * rest * math.log(rest))


def test_uniform_predictions_have_no_information() -> None:
    p = np.full((20, 4), 1 / 4)
    assert information_maximisation(p) == pytest.approx(0)
    assert diversity(p) == pytest.approx(1)
    assert nuclear_norm(p) == pytest.approx(math.sqrt(20 / 4) / 20)  # one direction, of length √(N / M), over N
    assert neighbourhood_density(p) == pytest.approx(math.log(19))


def test_a_nuclear_norm_prefers_certainty_and_diversity() -> None:
    certain, uniform, collapsed = one_hot([0, 1, 2, 3] * 5, 4), np.full((20, 4), 1 / 4), one_hot([2] * 20, 4)
    assert nuclear_norm(certain) > nuclear_norm(collapsed) > nuclear_norm(uniform)


@pytest.mark.parametrize(
    "embeddings",
    [
        np.ones((1, 3)),
        np.ones((2, 3)),
        np.eye(3)[:2],
        np.ones((9, 3)),
        np.repeat(np.eye(3)[:2], 5, axis=0),
        np.zeros((9, 3)),
        1e30 * np.eye(9),
        1e-30 * np.eye(9),
        np.nextafter(np.ones((9, 3), np.float32), np.float32(2)) + np.eye(9, 3, dtype=np.float32) * 1e-7,
        np.array([[1e-20], [2e-20], [3e-20], [1.0]] * 2),
        np.array([[1e8], [1e8 + 8], [-1e8], [-1e8 - 8]]),
    ],
    ids=[
        "one frame",
        "two identical",
        "fewer frames than classes",
        "all identical",
        "fewer different ones than classes",
        "zeros",
        "huge",
        "tiny",
        "rounding apart",
        "differences that vanish",
        "far from zero",
    ],
)
def test_poor_embeddings_are_clustered_without_a_warning(embeddings: Array) -> None:
    vectors = embeddings.astype(np.float32)
    clusters = cluster(vectors, 4)
    assert clusters.shape == (len(vectors),)
    assert 0 <= clusters.min() <= clusters.max() < min(4, len(vectors))
    for i, j in combinations(range(len(vectors)), 2):
        if (vectors[i] == vectors[j]).all():
            assert clusters[i] == clusters[j]
    said = validate(draw_probabilities(0, len(vectors), 4), vectors, supervised_accuracy=1.0, accuracy_error=0.01)
    assert all(math.isfinite(getattr(said, name)) for name in Validators.__slots__)


def test_one_frame_has_no_neighbours() -> None:
    assert neighbourhood_density(np.array([[0.5, 0.5]])) == 0


def test_clusters_are_the_same_on_every_run() -> None:
    embeddings = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    assert (cluster(embeddings, 4) == cluster(embeddings.copy(), 4)).all()


def test_the_density_of_many_frames_is_that_of_some_evenly_spread() -> None:
    p = draw_probabilities(0, 2 * SND_FRAMES - 1, 3)
    assert neighbourhood_density(p) == neighbourhood_density(p[::2])
