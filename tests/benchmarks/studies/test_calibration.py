from __future__ import annotations

import math

import numpy as np
import pytest
from benchmarks.studies.calibration import believe

from metfa.runtime.backends import Inference


def test_a_temperature_changes_confidence_and_no_label() -> None:
    """Two frames of three are right; each has odds of 9 to 1 at temperature 1 and of 3 to 1 at temperature 2."""
    logits = np.array([[math.log(9), 0], [0, math.log(9)], [math.log(9), 0]], np.float32)
    said, classes = Inference(logits, np.zeros((3, 1), np.float32)), np.array([0, 1, 1])
    for temperature, confidence in ((1.0, 0.9), (2.0, 0.75)):
        scores = believe(said, classes, temperature)
        assert scores["accuracy"] == pytest.approx(2 / 3)
        assert scores["calibration_error"] == pytest.approx(confidence - 2 / 3, abs=1e-6)
        expected = -(2 * math.log(confidence) + math.log(1 - confidence)) / 3
        assert scores["negative_log_likelihood"] == pytest.approx(expected, rel=1e-5)
