from __future__ import annotations

import numpy as np
import pytest
from benchmarks.decisions.quality import PLANE, Quality, compare_scores, judge
from benchmarks.decisions.scans import SYSTEMS, TRANSITION, Recorded, Scan, without_transitions

from metfa.runtime import DecisionSpec, ModelContract, Prediction
from metfa.runtime.bundle.contract import SCHEMA, InputSpec, Normalisation, Provenance, Rejection

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


def predict(*logits: float, label: str = "a") -> Prediction:
    values = np.array(logits, np.float32)
    probabilities = np.exp(values) / np.exp(values).sum()
    return Prediction(label, float(probabilities.max()), probabilities, NOTHING, values, NOTHING.astype(np.uint8))


def test_scores_are_compared_by_rank() -> None:
    known = [predict(5, 0), predict(6, 0), predict(2, 2)]
    unknown = [predict(4, 0), predict(2, 1)]
    scores = compare_scores(known, unknown)
    # 2, 2 has the least probability of all, and the second least largest logit.
    assert scores["max-probability"]["auroc"] == pytest.approx(4 / 6)
    assert scores["max-logit"]["auroc"] == pytest.approx((2 + 2 + 0.5) / 6)
    assert scores["max-probability"]["accepted_unknown"] == 1.0


def test_how_likely_any_plane_is_tells_background_from_planes() -> None:
    """The first frame of a plane hesitates between two, which makes its largest probability small."""
    known = [predict(4, 4, 0), predict(3, 0, 0)]
    unknown = [predict(0, 1, 6), predict(2, 0, 2.5)]
    assert PLANE not in compare_scores(known, unknown)
    scores = compare_scores(known, unknown, background=[2])
    assert scores["max-probability"]["auroc"] == pytest.approx(1 / 4)
    assert (scores[PLANE]["auroc"], scores[PLANE]["accepted_unknown"]) == (1.0, 0.0)


def test_frames_near_a_change_of_the_truth_may_be_between_two_slices() -> None:
    scan = Scan([predict(number / 100, 0) for number in range(len(TRUTH))], TRUTH)
    kept = without_transitions(scan)
    assert kept.truth == [None] * (30 - TRANSITION) + ["a"] * (60 - 2 * TRANSITION) + [None] * (30 - 2 * TRANSITION) + [
        "b"
    ] * (60 - TRANSITION)
    assert [prediction.logits[0] for prediction in kept.predictions[:2]] == pytest.approx([0, 0.01])


def test_background_is_no_plane_whatever_shows_it() -> None:
    """Frames that are labelled as background, or rejected, are taken for nothing."""
    scan = Scan([predict(5, 0, label="a"), predict(0, 9, label="Background"), predict(-9, -9, label="a")], [None] * 3)
    contract = ModelContract(
        SCHEMA,
        ("a", "Background"),
        1,
        InputSpec(28, 28, "halve-linear", Normalisation("per-image", 1.0, None), None),
        DecisionSpec(1.0, Rejection("energy", 0.0), ("Background",)),
        Provenance("metfa", "metfa-vi", "A", "B"),
    )
    recorded = Recorded(scan, contract)
    assert SYSTEMS["each frame"](recorded) == ["a", None, "a"]
    assert SYSTEMS["each frame, rejection"](recorded) == ["a", None, None]
