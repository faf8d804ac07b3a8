from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from metfa.runtime.backends import Inference
from metfa.runtime.decisions.decider import rejection_score
from metfa.training.calibration import FALSE_REJECTIONS, SCORE, calibrate, fit_temperature

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


def rejected(inference: Inference, threshold: float, temperature: float) -> float:
    scores = rejection_score(inference.logits, inference.calibrated(temperature), SCORE)
    return float((scores < threshold).mean())


def test_the_threshold_keeps_nearly_all_held_out_frames_of_each_domain() -> None:
    source, classes = draw(1000, 1.0)
    target, _ = draw(1000, 1.0, seed=1, offset=-2.0)
    for adapted in (None, target):
        spec = calibrate(LABELS, source, classes, adapted)
        assert spec.rejection is not None
        assert spec.rejection.score == SCORE
        shares = [rejected(each, spec.rejection.threshold, spec.temperature) for each in (source, adapted) if each]
        assert max(shares) == pytest.approx(FALSE_REJECTIONS, abs=0.002)
        assert spec.background == ()


def test_a_target_with_frames_of_no_plane_never_rejects_more() -> None:
    source, classes = draw(500, 1.0)
    target, _ = draw(500, 1.0, seed=1)
    nothing, _ = draw(200, 1.0, seed=2, offset=-30.0)
    mixed = Inference(np.concatenate([target.logits, nothing.logits]), np.zeros((700, 1), np.float32))
    pure, diluted = (calibrate(LABELS, source, classes, each).rejection for each in (target, mixed))
    assert pure is not None
    assert diluted is not None
    assert diluted.threshold < pure.threshold


def test_beside_a_class_of_background_nothing_is_rejected() -> None:
    source, classes = draw(300, 1.0)
    spec = calibrate(("4CH", "BackGround", "Femur"), source, classes, None)
    assert spec.background == ("BackGround",)
    assert spec.rejection is None


def test_a_single_frame_suffices() -> None:
    inference = Inference(np.array([[3.0, 1.0, 0.0]], np.float32), np.zeros((1, 1), np.float32))
    spec = calibrate(LABELS, inference, np.array([0]), inference)
    assert spec.rejection is not None
    assert rejected(inference, spec.rejection.threshold, spec.temperature) == 0


@pytest.mark.parametrize("adapted", [False, True])
@pytest.mark.parametrize("labels", [LABELS, ("4CH", "background", "Femur")], ids=["planes alone", "background"])
def test_the_greatest_confidence_is_that_of_the_frames_that_the_stream_would_keep(
    labels: tuple[str, ...], adapted: bool
) -> None:
    source, classes = draw(300, 1.5)
    target, _ = draw(200, 1.5, seed=1)
    spec = calibrate(labels, source, classes, target if adapted else None)
    threshold = -math.inf if spec.rejection is None else spec.rejection.threshold - 1e-9
    planes = [index for index, label in enumerate(labels) if label != "background"]
    highest = 0.0
    for row in (target if adapted else source).logits.astype(float).tolist():
        exponentials = [math.exp(value / spec.temperature) for value in row]
        if math.log(math.fsum(math.exp(value) for value in row)) >= threshold:
            highest = max(highest, *(exponentials[index] / sum(exponentials) for index in planes))
    assert spec.max_validation_confidence == pytest.approx(highest)
