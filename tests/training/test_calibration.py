from __future__ import annotations

import math

import numpy as np
import pytest

from metfa.runtime.backends import Inference
from metfa.runtime.decisions.decider import rejection_score
from metfa.training.calibration import FALSE_REJECTIONS, SCORE, calibrate

from .test_temperature import LABELS, draw


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
