"""Every score against a naive count of it, or against scikit-learn's."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

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
