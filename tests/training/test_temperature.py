"""The temperature, beside an independent loss, a logistic regression, and the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from metfa.runtime.backends import Inference
from metfa.training.temperature import fit_temperature

LABELS = ("4CH", "Abdominal", "Femur")


def draw(number: int, sharpness: float, seed: int = 0, offset: float = 0.0) -> tuple[Inference, np.ndarray]:
    """Return logits whose softmax at ``sharpness`` is the true distribution of the classes, and classes from it."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 3, (number, len(LABELS)))
    likelihoods = np.exp(logits / sharpness)
    likelihoods /= likelihoods.sum(axis=1, keepdims=True)
    classes = np.array([random.choice(len(LABELS), p=row) for row in likelihoods])
    return Inference((logits + offset).astype(np.float32), np.zeros((number, 1), np.float32)), classes


def loss(logits: np.ndarray, classes: np.ndarray, temperature: float) -> float:
    """The negative log-likelihood with Platt's targets, frame by frame."""
    total = 0.0
    for row, true in zip(logits.astype(float).tolist(), classes.tolist(), strict=True):
        scaled = [value / temperature for value in row]
        evidence = max(scaled) + math.log(math.fsum(math.exp(value - max(scaled)) for value in scaled))
        for index, value in enumerate(scaled):
            share = len(logits) + 1 if index == true else 1 / (len(row) - 1)
            total -= share / (len(logits) + 2) * (value - evidence)
    return total


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 2.5])
def test_the_true_temperature_is_found(sharpness: float) -> None:
    inference, classes = draw(4000, sharpness)
    assert fit_temperature(inference.logits, classes) == pytest.approx(sharpness, rel=0.1)


def test_two_classes_are_a_logistic_regression_without_intercept() -> None:
    random = np.random.default_rng(0)
    margins = random.normal(0, 4, 2000)
    classes = (random.random(2000) < 1 / (1 + np.exp(-margins / 3))).astype(np.int64)
    logits = np.stack([np.zeros(2000), margins], axis=1).astype(np.float32)
    regression = LogisticRegression(C=np.inf, fit_intercept=False).fit(margins[:, np.newaxis], classes)
    assert fit_temperature(logits, classes) == pytest.approx(1 / regression.coef_[0, 0], rel=0.01)


@given(
    st.lists(
        st.tuples(st.lists(st.floats(-20, 20, width=32), min_size=3, max_size=3), st.integers(0, 2)),
        min_size=1,
        max_size=30,
    )
)
def test_no_other_temperature_is_likelier(frames: list[tuple[list[float], int]]) -> None:
    logits = np.array([row for row, _ in frames], np.float32)
    classes = np.array([true for _, true in frames])
    temperature = fit_temperature(logits, classes)
    assert 0.0099 < temperature < 101
    best = loss(logits, classes, temperature)
    for other in (temperature * 1.05, temperature / 1.05):
        if 0.01 <= other <= 100:
            assert best <= loss(logits, classes, other) + 1e-6


def test_frames_without_an_error_leave_it_finite() -> None:
    logits = np.tile(np.eye(3, dtype=np.float32) * 5, (20, 1))
    classes = np.tile(np.arange(3), 20)
    temperature = fit_temperature(logits, classes)
    probability = 1 / (1 + 2 * math.exp(-5 / temperature))
    assert probability == pytest.approx(61 / 62, abs=1e-6)
