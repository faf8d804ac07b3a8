"""Every score against a naive count of it, or against scikit-learn's."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    precision_recall_fscore_support,
    precision_score,
    recall_score,
    roc_auc_score,
)

from metfa.training.evaluation.one_versus_rest import (
    auc_interval,
    macro_auc,
    one_versus_rest,
    positive_label,
    wilson,
)
from metfa.training.evaluation.scores import (
    CALIBRATION_BINS,
    REJECTION_POINTS,
    calibration,
    guessing,
    rejection_curve,
    score,
    score_classes,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

CLASSES = 5

predictions = st.lists(st.tuples(st.integers(0, CLASSES - 1), st.integers(0, CLASSES - 1)), min_size=1, max_size=40)
judged = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60)


def arrays(pairs: list[tuple[int, int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    true, predicted = np.array(pairs, np.int64).T
    return true, predicted


def answers(pairs: list[tuple[float, bool]]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    return np.array([pair[0] for pair in pairs], np.float64), np.array([pair[1] for pair in pairs], np.bool_)


@given(predictions)
def test_scores_are_scikit_learns_over_the_classes_that_have_frames(pairs: list[tuple[int, int]]) -> None:
    true, predicted = arrays(pairs)
    scores = score(true, predicted, CLASSES)
    precision, recall, f1, _ = precision_recall_fscore_support(
        true, predicted, labels=np.unique(true), average="macro", zero_division=0.0
    )
    assert (scores.precision, scores.recall, scores.f1) == pytest.approx((precision, recall, f1))
    assert scores.accuracy == pytest.approx(accuracy_score(true, predicted))
    assert scores.images == len(pairs)
    assert np.array_equal(scores.confusion, confusion_matrix(true, predicted, labels=range(CLASSES)))


@pytest.mark.parametrize("sizes", [(2, 2, 2), (40, 5, 12), (7, 0, 3)], ids=str)
def test_guessing_is_what_a_guesser_comes_to(sizes: tuple[int, ...]) -> None:
    generator = np.random.default_rng(0)
    true = np.repeat(np.arange(len(sizes)), sizes)
    recalls = [score(true, generator.integers(0, len(sizes), len(true)), len(sizes)).recall for _ in range(2000)]
    mean, deviation = guessing(score(true, true, len(sizes)))
    assert np.mean(recalls) == pytest.approx(mean, abs=0.02)
    assert np.std(recalls) == pytest.approx(deviation, rel=0.1)


@given(predictions)
def test_each_class_is_scored_like_scikit_learn_does_or_has_no_frames(pairs: list[tuple[int, int]]) -> None:
    true, predicted = arrays(pairs)
    oracle = precision_recall_fscore_support(true, predicted, labels=range(CLASSES), zero_division=0.0)
    for label, scores in enumerate(score_classes(score(true, predicted, CLASSES).confusion)):
        assert scores.images == Counter(true.tolist())[label]
        if scores.images:
            expected = [float(column[label]) for column in oracle[:3]]
            assert [scores.precision, scores.recall, scores.f1] == pytest.approx(expected)
        else:
            assert (scores.precision, scores.recall, scores.f1) == (None, None, None)


@given(judged)
def test_the_calibration_error_is_the_weighted_gap_of_the_bins(pairs: list[tuple[float, bool]]) -> None:
    confidence, correct = answers(pairs)
    result = calibration(confidence, correct)
    edges = [number / CALIBRATION_BINS for number in range(CALIBRATION_BINS + 1)]
    error = 0.0
    for lower, upper, got in zip(edges[:-1], edges[1:], result.bins, strict=True):
        inside = [pair for pair in pairs if lower < pair[0] <= upper or pair[0] == lower == 0]
        assert [got.lower, got.upper] == pytest.approx([lower, upper])
        assert got.images == len(inside)
        if inside:
            mean = sum(pair[0] for pair in inside) / len(inside)
            accuracy = sum(pair[1] for pair in inside) / len(inside)
            assert [got.confidence, got.accuracy] == pytest.approx([mean, accuracy])
            error += len(inside) / len(pairs) * abs(mean - accuracy)
        else:
            assert (got.confidence, got.accuracy) == (None, None)
    assert result.expected_error == pytest.approx(error)
    assert 0 <= result.expected_error <= 1


@given(judged)
def test_a_point_of_the_rejection_curve_is_what_its_threshold_leaves(pairs: list[tuple[float, bool]]) -> None:
    curve = rejection_curve(*answers(pairs))
    assert [point.threshold for point in curve] == sorted({pair[0] for pair in pairs})
    for point in curve:
        left = [right for confidence, right in pairs if confidence >= point.threshold]
        assert point.coverage == len(left) / len(pairs)
        assert point.accuracy == sum(left) / len(left)
    coverages = [point.coverage for point in curve]
    assert coverages == sorted(coverages, reverse=True)
    assert coverages[0] == 1


def test_the_rejection_curve_of_many_frames_is_thinned_evenly() -> None:
    generator = np.random.default_rng(0)
    confidence = 1 - generator.random(5000) ** 4  # most are sure
    curve = rejection_curve(confidence, generator.random(5000) < confidence)
    assert len(curve) == REJECTION_POINTS
    assert np.diff([point.coverage for point in curve]) == pytest.approx(-1 / (REJECTION_POINTS - 1), abs=1e-3)


def softmax(generator: np.random.Generator, images: int) -> NDArray[np.float64]:
    exponentials = np.exp(generator.normal(size=(images, CLASSES)).round(1))  # some are equal
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


@given(st.lists(st.integers(0, CLASSES - 1), min_size=1, max_size=40), st.integers(0, 99))
def test_one_class_against_the_rest_is_what_scikit_learn_says(classes: list[int], seed: int) -> None:
    true = np.array(classes)
    probabilities = softmax(np.random.default_rng(seed), len(true))
    predicted = probabilities.argmax(axis=1)
    for label, scores in enumerate(one_versus_rest(true, predicted, probabilities)):
        positive, called = true == label, predicted == label
        assert scores.images == positive.sum()
        for estimate, oracle, defined in (
            (scores.sensitivity, recall_score(positive, called, zero_division=0), positive.any()),
            (scores.specificity, recall_score(~positive, ~called, zero_division=0), not positive.all()),
            (scores.positive_predictive_value, precision_score(positive, called, zero_division=0), called.any()),
            (scores.negative_predictive_value, precision_score(~positive, ~called, zero_division=0), not called.all()),
        ):
            if defined:
                assert estimate is not None
                assert estimate.value == pytest.approx(oracle)
                assert 0 <= estimate.lower <= estimate.value <= estimate.upper <= 1
            else:
                assert estimate is None
        if positive.any() and not positive.all():
            assert scores.auc is not None
            above = probabilities[positive, label, None] - probabilities[None, ~positive, label]
            assert scores.auc.value == pytest.approx(np.mean((above > 0) + (above == 0) / 2))
            assert 0 <= scores.auc.lower <= scores.auc.value <= scores.auc.upper <= 1
        else:
            assert scores.auc is None


def test_the_macro_auc_is_scikit_learns_over_the_classes_that_have_images() -> None:
    generator = np.random.default_rng(0)
    probabilities, true = softmax(generator, 60), generator.integers(0, CLASSES, 60)
    scores = one_versus_rest(true, probabilities.argmax(axis=1), probabilities)
    assert macro_auc(scores) == pytest.approx(roc_auc_score(true, probabilities, multi_class="ovr", average="macro"))
    few = one_versus_rest(np.where(true == 0, 1, true), probabilities.argmax(axis=1), probabilities)
    assert macro_auc(few) == pytest.approx(np.mean([each.auc.value for each in few if each.auc]))
    assert sum(each.auc is None for each in few) == 1
    assert macro_auc(one_versus_rest(np.zeros(3, np.int64), np.zeros(3, np.int64), probabilities[:3])) is None


@pytest.mark.parametrize(
    ("right", "images", "lower", "upper"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_of_a_share_is_the_published_one(right: int, images: int, lower: float, upper: float) -> None:
    """Newcombe, Statistics in Medicine 17:857, 1998, table I, method 3."""
    interval = wilson(right, images)
    assert interval.value == right / images
    assert (interval.lower, interval.upper) == pytest.approx((lower, upper), abs=5e-5)


@pytest.mark.parametrize(("positives", "negatives"), [(12, 30), (40, 40)])
@pytest.mark.parametrize("auc", [0.5, 0.8, 0.95])
def test_nineteen_of_twenty_intervals_of_an_auc_hold_the_true_one(auc: float, positives: int, negatives: int) -> None:
    """Scores of two normal distributions, whose true AUC is known."""
    generator = np.random.default_rng(0)
    apart = 2**0.5 * norm.ppf(auc)
    held, repetitions = 0, 400
    for _ in range(repetitions):
        above = generator.normal(apart, 1, (positives, 1)) > generator.normal(0, 1, negatives)
        interval = auc_interval(float(above.mean()), positives, negatives)
        held += interval.lower <= auc <= interval.upper
    assert 0.92 <= held / repetitions <= 0.99


def test_the_interval_of_an_auc_is_about_that_of_hanley_and_mcneil() -> None:
    """Radiology 143:29, 1982: 51 abnormal and 58 normal images, AUC 0.893, standard error 0.032."""
    interval = auc_interval(0.893, 51, 58)
    assert interval.upper - interval.lower == pytest.approx(2 * 1.96 * 0.032, rel=0.1)


def test_an_auc_of_one_or_none_has_an_interval_too() -> None:
    perfect, opposite = auc_interval(1.0, 10, 20), auc_interval(0.0, 10, 20)
    assert (perfect.upper, opposite.lower) == (1.0, 0.0)
    assert 0.7 < perfect.lower < 0.95
    assert opposite.upper == pytest.approx(1 - perfect.lower)
    assert auc_interval(1.0, 1000, 2000).lower > 0.99


@pytest.mark.parametrize(
    ("labels", "background", "positive"),
    [
        (("benign", "malignant"), (), "malignant"),
        (("0", "1"), (), "1"),
        (("Background", "4CH"), ("Background",), "4CH"),
        (("4CH", "background"), ("background",), "4CH"),
        (("a", "b", "c"), (), None),
    ],
)
def test_which_of_two_classes_is_positive(
    labels: tuple[str, ...], background: tuple[str, ...], positive: str | None
) -> None:
    assert positive_label(labels, background) == positive
