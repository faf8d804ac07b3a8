"""How frequent the target's classes are, against naive oracles and shares that are known."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metfa.runtime.backends import Inference
from metfa.training.class_shares import RIDGE, bbse, estimate_shares, mlls, shares_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


def likelihoods(classes: NDArray[np.int64], means: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """p(x | class) up to a factor, [N, M], of points that lie around the mean of their class."""
    points = means[classes] + np.random.default_rng(seed).normal(size=(len(classes), means.shape[1]))
    distances = ((points[:, None] - means[None]) ** 2).sum(axis=2)
    return np.asarray(np.exp(-distances / 2))


def calibrated(likelihood: NDArray[np.float64], prior: NDArray[np.float64]) -> NDArray[np.float64]:
    """The true posterior under a prior: predictions that could not be better calibrated."""
    joint = likelihood * prior
    return np.asarray(joint / joint.sum(axis=1, keepdims=True))


@st.composite
def predictions(draw: st.DrawFn) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Any probabilities on the source, with any classes, and on the target."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    classes, count, others = draw(st.integers(2, 6)), draw(st.integers(1, 30)), draw(st.integers(1, 30))
    sharpness = draw(st.sampled_from([0.01, 0.5, 5.0]))
    source, target = (generator.dirichlet(np.full(classes, sharpness), number) for number in (count, others))
    return source, generator.integers(0, classes, count), target


@given(predictions())
def test_shares_are_shares(drawn: tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]) -> None:
    source, classes, target = drawn
    number = source.shape[1]
    for shares in (bbse(source, classes, target), mlls(target, np.full(number, 1 / number))):
        assert shares.shape == (number,)
        assert (shares >= 0).all()
        assert shares.sum() == pytest.approx(1)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.integers(0, 9), min_size=3, max_size=3).filter(any),
    st.lists(st.integers(1, 9), min_size=3, max_size=3),
)
def test_known_shares_are_recovered(of_target: list[int], of_source: list[int]) -> None:
    """Classes that the target does not have among them, and a source that is as uneven."""
    means = np.array([[0.0, 0.0], [2.5, 0.0], [0.0, 2.5]])
    shares, known = (np.array(weights) / sum(weights) for weights in (of_target, of_source))
    classes = np.repeat(np.arange(3), np.round(known * 6000).astype(int))
    targets = np.repeat(np.arange(3), np.round(shares * 6000).astype(int))
    balanced = np.full(3, 1 / 3)
    source = calibrated(likelihoods(classes, means, 0), balanced)
    target = calibrated(likelihoods(targets, means, 1), balanced)
    assert bbse(source, classes, target) == pytest.approx(shares, abs=0.04)
    assert mlls(target, balanced) == pytest.approx(shares, abs=0.04)
    hard = np.eye(3)
    assert bbse(hard[source.argmax(axis=1)], classes, hard[target.argmax(axis=1)]) == pytest.approx(shares, abs=0.04)


def test_counting_predictions_would_not_do() -> None:
    """Where many frames are confused, counting is wrong by far more than either estimate."""
    means = np.array([[0.0], [1.0]])
    classes, targets = np.repeat([0, 1], 5000), np.repeat([0, 1], [9000, 1000])
    balanced = np.array([0.5, 0.5])
    source, target = (
        calibrated(likelihoods(each, means, seed), balanced) for seed, each in enumerate((classes, targets))
    )
    assert shares_of(target.argmax(axis=1), 2)[0] < 0.7
    assert bbse(source, classes, target)[0] == pytest.approx(0.9, abs=0.04)
    assert mlls(target, balanced)[0] == pytest.approx(0.9, abs=0.04)


@given(predictions())
def test_bbse_solves_its_equation(drawn: tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]) -> None:
    """Against loops and the pseudo-inverse by singular values."""
    source, classes, target = drawn
    number = source.shape[1]
    confusion = np.zeros((number, number))
    for said, true in zip(source, classes, strict=True):
        for predicted in range(number):
            confusion[predicted, true] += said[predicted] / len(source)
    left, values, right = np.linalg.svd(confusion)
    weights = right.T @ (values / (values**2 + RIDGE) * (left.T @ target.mean(axis=0)))
    shares = np.maximum(weights, 0) * [(classes == label).mean() for label in range(number)]
    assert bbse(source, classes, target) == pytest.approx(shares / shares.sum(), abs=1e-4)


@given(predictions())
def test_mlls_is_the_likeliest_of_a_grid(
    drawn: tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]],
) -> None:
    """No shares on a grid of two classes are likelier."""
    target = drawn[2][:, :2] + 1e-3
    target /= target.sum(axis=1, keepdims=True)
    trained_on = np.array([0.3, 0.7])

    def likelihood(shares: NDArray[np.float64]) -> float:
        return float(np.log((target * shares / trained_on).sum(axis=1)).mean())

    grid = [np.array([first, 1 - first]) for first in np.linspace(0, 1, 101)]
    assert likelihood(mlls(target, trained_on)) >= max(map(likelihood, grid)) - 1e-3


def test_a_singular_confusion_matrix_has_an_answer() -> None:
    """A network that says the same of every frame tells nothing; one that confuses two classes shares them out."""
    nothing = np.full((6, 3), 1 / 3)
    assert bbse(nothing, np.array([0, 0, 0, 1, 1, 2]), nothing) == pytest.approx([9 / 14, 4 / 14, 1 / 14], abs=1e-6)
    confused = np.array([[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0, 1.0]])
    assert bbse(confused, np.array([0, 1, 2]), confused[[0, 2]]) == pytest.approx([0.25, 0.25, 0.5], abs=1e-6)


def test_predictions_that_the_source_never_has_tell_nothing() -> None:
    source = np.array([[1.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    target = np.array([[0, 0, 1.0]])
    assert bbse(source, np.array([0, 1, 1]), target) == pytest.approx([1 / 3, 2 / 3, 0])


def test_a_class_without_a_source_frame_gets_nothing() -> None:
    certain = np.eye(3)
    assert bbse(certain[[0, 1]], np.array([0, 1]), certain[[0, 0, 1, 2]])[2] == 0


@pytest.mark.parametrize("label", range(3))
def test_one_frame_is_of_the_class_that_it_looks_like(label: int) -> None:
    frame = np.full((1, 3), 0.1) + 0.7 * np.eye(3)[[label]]
    assert mlls(frame, np.full(3, 1 / 3)).argmax() == label
    source = np.full((3, 3), 0.1) + 0.7 * np.eye(3)
    assert bbse(source, np.arange(3), frame) == pytest.approx(np.eye(3)[label], abs=1e-6)


def test_estimates_are_of_calibrated_predictions_and_named() -> None:
    """An overconfident network gives the shares that the calibrated one does: the source tells its temperature."""
    means = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
    classes, targets = np.repeat(np.arange(3), 3000), np.repeat(np.arange(3), [7000, 1500, 500])
    logits = [np.log(likelihoods(each, means, seed)).astype(np.float32) for seed, each in enumerate((classes, targets))]
    nothing = np.zeros((1, 1), np.float32)
    modest, bold = (
        estimate_shares(
            "adabn",
            30,
            ("a", "b", "c"),
            Inference(factor * logits[0], nothing),
            classes,
            Inference(factor * logits[1], nothing),
        )
        for factor in (1, 20)
    )
    for (name, expected), estimate in product(zip("abc", (7 / 9, 1.5 / 9, 0.5 / 9), strict=True), (modest, bold)):
        assert (estimate.method, estimate.step) == ("adabn", 30)
        assert estimate.bbse[name] == pytest.approx(expected, abs=0.03)
        assert estimate.mlls[name] == pytest.approx(expected, abs=0.03)
