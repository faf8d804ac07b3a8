from __future__ import annotations

import numpy as np
import pytest
from benchmarks.decisions import Quality, judge
from benchmarks.rejection import compare_scores

from metfa.runtime import Prediction

TRUTH = [None] * 30 + ["a"] * 60 + [None] * 30 + ["b"] * 60
NOTHING = np.zeros(0, np.float32)


@pytest.mark.parametrize(
    ("shown", "quality"),
    [
        (TRUTH, Quality(2, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0)),
        ([None] * 180, Quality(0, 1.0, 0.0, 0.0, None, 0.0, 0.0)),
        (["a"] * 180, Quality(1, 1.0, 0.5, 0.0, 0.0, 1.0, 0.5)),
        # Late, broken into two, of which the second is false; and a wrong one.
        (
            [None] * 45 + ["a"] * 15 + [None] * 3 + ["a"] * 57 + ["c"] * 60,
            Quality(3, 1 / 3, 0.5, 20.0, 0.5, 0.5, 0.5),
        ),
    ],
    ids=["the truth", "nothing", "one label for ever", "late, broken and wrong"],
)
def test_what_is_shown_is_compared_with_the_truth(shown: list[str | None], quality: Quality) -> None:
    assert judge(shown, TRUTH) == quality


def predict(*logits: float) -> Prediction:
    values = np.array(logits, np.float32)
    probabilities = np.exp(values) / np.exp(values).sum()
    return Prediction("a", float(probabilities.max()), probabilities, NOTHING, values, NOTHING.astype(np.uint8))


def test_scores_are_compared_by_rank() -> None:
    known = [predict(5, 0), predict(6, 0), predict(2, 2)]
    unknown = [predict(4, 0), predict(2, 1)]
    scores = compare_scores(known, unknown)
    # 2, 2 has the least probability of all, and the second least largest logit.
    assert scores["max-probability"]["auroc"] == pytest.approx(4 / 6)
    assert scores["max-logit"]["auroc"] == pytest.approx((2 + 2 + 0.5) / 6)
    assert scores["max-probability"]["accepted_unknown"] == 1.0
