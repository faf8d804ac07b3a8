"""How well what is shown agrees with the truth, and what scores and confidence tell."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from statistics import mean, median
from typing import TYPE_CHECKING, NamedTuple, get_args

import numpy as np
from sklearn.metrics import roc_auc_score

from metfa.runtime.bundle.contract import RejectionScore
from metfa.runtime.decisions.decider import rejection_score
from metfa.runtime.phantom.scan import FRAMES_PER_SECOND
from metfa.training.evaluation.scores import calibration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from metfa.runtime import ModelContract, Prediction

    from .scans import Recorded, Scan

PLANE = "plane"
"""The probability of all labels but background, as a score."""


@dataclass(frozen=True, slots=True)
class Quality:
    """How well what is shown agrees with the truth.

    An event is a run of frames with one label. It is right if it overlaps with a run of that plane in the truth; of
    several that overlap with the same one, only the first is.

    Attributes:
        events: how many there were.
        precision: share of them that are right; 1 where there is none.
        recall: share of the truth's that were found.
        false_per_minute: events that are not right, per minute.
        seconds_to_detection: median time from the beginning of a plane to its label, of those that were found; None
            where none was.
        labelled_background: share of the frames without a plane that have a label.
        wrong_label: share of the frames with a plane that have another plane's label.
    """

    events: int
    precision: float
    recall: float
    false_per_minute: float
    seconds_to_detection: float | None
    labelled_background: float
    wrong_label: float


class Run(NamedTuple):
    """Successive frames with one label."""

    label: str
    first: int  # number of its first frame
    end: int  # number of the frame after its last


def runs(shown: Sequence[str | None]) -> list[Run]:
    """Return the runs of frames with one label."""
    found = []
    for label, group in groupby(range(len(shown)), key=shown.__getitem__):
        indices = list(group)
        if label is not None:
            found.append(Run(label, indices[0], indices[-1] + 1))
    return found


def judge(shown: Sequence[str | None], truth: Sequence[str | None]) -> Quality:
    """Compare what is shown on each frame, a plane or None, with the truth, which has both."""
    events, delays = runs(shown), []
    planes = runs(truth)
    for plane in planes:
        found = [
            event.first
            for event in events
            if event.label == plane.label and event.first < plane.end and plane.first < event.end
        ]
        if found:
            delays.append(max(found[0] - plane.first, 0) / FRAMES_PER_SECOND)
    pairs = list(zip(shown, truth, strict=True))
    return Quality(
        events=len(events),
        precision=len(delays) / len(events) if events else 1.0,
        recall=len(delays) / len(planes),
        false_per_minute=(len(events) - len(delays)) / (len(truth) / FRAMES_PER_SECOND / 60),
        seconds_to_detection=median(delays) if delays else None,
        labelled_background=mean(label is not None for label, true in pairs if true is None),
        wrong_label=mean(label not in {None, true} for label, true in pairs if true is not None),
    )


def compare_scores(
    known: Sequence[Prediction], unknown: Sequence[Prediction], background: Sequence[int] = ()
) -> dict[str, dict[str, float]]:
    """Return how well each score tells known frames from unknown ones, whatever the threshold.

    ``auroc`` is the chance that a known frame scores higher than an unknown one; ``accepted_unknown`` the share of the
    unknown that are accepted at the threshold which accepts 95 % of the known.

    Args:
        known: frames of planes.
        unknown: frames that show none.
        background: the indices of the labels that are no planes; how likely all others are is a score, too.
    """
    predictions = [*known, *unknown]
    is_known = np.arange(len(predictions)) < len(known)
    logits = np.stack([prediction.logits for prediction in predictions])
    probabilities = np.stack([prediction.probabilities for prediction in predictions])
    compared = {name: rejection_score(logits, probabilities, name) for name in get_args(RejectionScore)}
    if background:
        compared[PLANE] = np.asarray(1 - probabilities[:, background].sum(axis=1), np.float64)
    report = {}
    for name, scores in compared.items():
        threshold = np.quantile(scores[is_known], 0.05)
        report[name] = {
            "auroc": float(roc_auc_score(is_known, scores)),
            "accepted_unknown": float((scores[~is_known] >= threshold).mean()),
        }
    return report


def compare_on_scan(scan: Scan, contract: ModelContract) -> dict[str, dict[str, float]]:
    """Compare the scores that frames can be rejected by, on frames of planes and those between them."""
    pairs = list(zip(*scan, strict=True))
    planes, others = ([each for each, true in pairs if (true is None) == between] for between in (False, True))
    background = [contract.labels.index(label) for label in contract.decision.background]
    return compare_scores(planes, others, background)


def calibration_error(recorded: Recorded, temperature: float) -> float:
    """Return the expected calibration error on the frames of planes."""
    pairs = [(prediction, true) for prediction, true in zip(*recorded.scan, strict=True) if true is not None]
    scaled = np.stack([prediction.logits for prediction, _ in pairs]).astype(np.float64) / temperature
    exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    confidence = (exponentials / exponentials.sum(axis=1, keepdims=True)).max(axis=1)
    correct = np.array([prediction.label == true for prediction, true in pairs])
    return float(calibration(confidence, correct).expected_error)
