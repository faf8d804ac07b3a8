from __future__ import annotations

import numpy as np
import pytest
from benchmarks.decisions.scans import Scan
from benchmarks.studies.settings import at_temperature, classify_events

from metfa.runtime import Prediction

TRUTH = [None] * 30 + ["a"] * 60 + [None] * 30 + ["b"] * 60


@pytest.mark.parametrize(
    ("shown", "kinds"),
    [
        (TRUTH, {"right": 2}),
        ([None] * 180, {}),
        (["a"] * 20 + [None] * 160, {"on background alone": 1}),
        (
            [None] * 40 + ["a"] * 10 + [None] * 10 + ["a"] * 10 + ["b"] * 10 + [None] * 100,
            {"right": 1, "repeated": 1, "of another plane": 1},
        ),
        (["c"] * 40 + ["a"] * 140, {"of another plane": 1, "right": 1}),
    ],
    ids=["the truth", "nothing", "background", "broken, then another", "begins on background"],
)
def test_events_are_counted_by_what_is_wrong(shown: list[str | None], kinds: dict[str, int]) -> None:
    assert classify_events(shown, TRUTH) == kinds


def test_another_temperature_changes_probabilities_alone() -> None:
    logits = np.array([2.0, 0.0, -1.0], np.float32)
    nothing = np.zeros(0, np.float32)
    prediction = Prediction("a", 1.0, np.array([1, 0, 0], np.float32), nothing, logits, np.zeros(0, np.uint8))
    (scaled,), truth = at_temperature(Scan([prediction], ["a"]), 2.0)
    powers = np.exp(np.array([1.0, 0.0, -0.5]))
    np.testing.assert_allclose(scaled.probabilities, powers / powers.sum(), rtol=1e-6)
    assert scaled.confidence == pytest.approx(powers[0] / powers.sum())
    assert (scaled.label, truth) == ("a", ["a"])
    assert scaled.logits is logits
