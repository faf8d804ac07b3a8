"""From predictions to decisions: when is a label shown, and what was held long enough to be an event?

Without clock and without I/O: the same frames at the same times give the same decisions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..frame import Decision, Frame, PlaneEvent
from ..imaging.quality import PictureWatch, sharpness, signal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ..bundle.contract import DecisionSpec, Rejection, RejectionScore
    from ..frame import Prediction


def rejection_score(
    logits: NDArray[np.float32], probabilities: NDArray[np.floating], score: RejectionScore
) -> NDArray[np.float64]:
    """Return how much a frame looks like one of the labels, [...].

    See :class:`~metfa.runtime.bundle.contract.Rejection`.

    Args:
        logits: [..., M].
        probabilities: [..., M], calibrated.
        score: its name.
    """
    if score == "max-probability":
        return np.asarray(probabilities.max(axis=-1), np.float64)
    largest = logits.max(axis=-1).astype(np.float64)
    if score == "max-logit":
        return np.asarray(largest)
    return np.asarray(largest + np.log(np.exp(logits - largest[..., np.newaxis]).sum(axis=-1)))  # energy


def is_rejected(prediction: Prediction, rejection: Rejection | None) -> bool:
    """Return whether a frame shows no plane that the model knows."""
    if rejection is None:
        return False
    return bool(rejection_score(prediction.logits, prediction.probabilities, rejection.score) < rejection.threshold)


def why_nothing_is_shown(spec: DecisionSpec) -> str | None:
    """Return why a model can hardly ever show a plane; None where it can, or where nothing is known."""
    highest = spec.max_validation_confidence
    if highest is None or highest >= spec.enter:
        return None
    return (
        f"warning: this model may never show a label: on held-out frames it was at most {_floor(highest)} sure of a "
        f"plane, and a label needs {spec.enter:.2f}"
    )


def _floor(confidence: float) -> str:
    """Return two digits that are never above ``confidence``."""
    return f"{math.floor(100 * confidence) / 100:.2f}"


class StillDecider:
    """Decides on frames that have nothing to do with each other. It makes no events.

    Args:
        spec: the contract's.
        labels: the contract's.
    """

    def __init__(self, spec: DecisionSpec, labels: Sequence[str]) -> None:
        self._spec = spec
        self._labels = labels
        self._planes = _planes(spec, labels)

    def __call__(self, frame: Frame, prediction: Prediction, time: float) -> tuple[Decision, PlaneEvent | None]:
        """Return what one frame shows, and None."""
        return self._decide(prediction), None

    def restart(self) -> PlaneEvent | None:
        """Nothing carries over anyway."""
        return None

    def exchange(self, spec: DecisionSpec, *, same_input: bool) -> PlaneEvent | None:
        """Decide by the numbers of another model of the same labels."""
        self._spec = spec
        self._planes = _planes(spec, self._labels)
        return None

    def _decide(self, prediction: Prediction) -> Decision:
        unusable = signal(prediction.picture)
        if unusable is not None:
            return Decision(unusable, None, 0.0)
        likeliest = max(self._planes, key=lambda index: prediction.probabilities[index])
        confidence = float(prediction.probabilities[likeliest])
        if is_rejected(prediction, self._spec.rejection) or confidence < self._spec.exit:
            return Decision("no plane", None, confidence)
        if confidence < self._spec.enter:
            return Decision("undecided", None, confidence)
        return Decision("plane", self._labels[likeliest], confidence)


class Decider:
    """Decides on the frames of a stream, one after another.

    The calibrated probabilities are averaged exponentially over time; a rejected frame adds nothing, so that they sum
    up to less than 1. A plane whose average reaches ``enter`` and stays there for ``dwell_ms`` is shown until it falls
    below ``exit``; then it is an event, from its first frame above ``enter`` to its last above ``exit``. The average
    begins at zero. All of it begins anew after a cut, after a gap, and where the picture is frozen, saturated or
    without a signal.

    A single image among recordings is decided by itself; if it shows a plane, that is an event at once.

    Args:
        spec: the contract's.
        labels: the contract's.
    """

    def __init__(self, spec: DecisionSpec, labels: Sequence[str]) -> None:
        self._spec = spec
        self._labels = labels
        self._planes = _planes(spec, labels)
        self._single = StillDecider(spec, labels)
        self._watch = PictureWatch()
        self._average = np.zeros(len(labels))
        self._time: float | None = None  # of the last frame
        self._run: _Run | None = None

    def __call__(self, frame: Frame, prediction: Prediction, time: float) -> tuple[Decision, PlaneEvent | None]:
        """Return what the stream shows with its next frame, and the event that has ended before it, if one has.

        Args:
            frame: the frame; it may be kept as the best of an event.
            prediction: what the model says of it.
            time: of the frame, in seconds into the stream.
        """
        if frame.last and self._time is None:
            return self._decide_single(frame, prediction, time)
        state = self._watch(prediction.picture, time)
        elapsed_ms = math.inf if self._time is None else 1000 * (time - self._time)
        self._time = time
        ended = None
        if state.cut or state.unusable is not None or not 0 <= elapsed_ms <= self._spec.gap_ms:
            ended = self._forget()
            elapsed_ms = 0.0
        if state.unusable is not None:
            return Decision(state.unusable, None, 0.0), ended
        rejected = is_rejected(prediction, self._spec.rejection)
        seen = 0.0 if rejected else prediction.probabilities
        self._average += -math.expm1(-elapsed_ms / self._spec.smoothing_ms) * (seen - self._average)
        ended = ended or self._leave()
        self._follow(frame, prediction, time, rejected=rejected)
        return self._decision(), ended

    def restart(self) -> PlaneEvent | None:
        """Begin anew; return the event that ends with that, if one does."""
        self._watch.restart()
        self._time = None
        return self._forget()

    def exchange(self, spec: DecisionSpec, *, same_input: bool) -> PlaneEvent | None:
        """Go on by the numbers of another model of the same labels; return the event that ends with that, if one does.

        What was seen up to now counts, and a plane that is shown stays until it falls below the new ``exit``.

        Args:
            spec: of the new model.
            same_input: whether its pictures are cropped and sized like the last model's, and can be compared with them.
        """
        self._spec = spec
        self._planes = _planes(spec, self._labels)
        self._single.exchange(spec, same_input=same_input)
        if not same_input:
            self._watch.restart()
        if self._run is not None and self._run.plane not in self._planes:
            return self._forget()
        return None

    def _decide_single(self, frame: Frame, prediction: Prediction, time: float) -> tuple[Decision, PlaneEvent | None]:
        decision, _ = self._single(frame, prediction, time)
        if decision.plane is None:
            return decision, None
        event = PlaneEvent(decision.plane, time, time, frame.index, frame.index, decision.confidence, frame)
        return decision, event

    def _forget(self) -> PlaneEvent | None:
        """Let nothing that was seen up to now count any more."""
        run, self._run = self._run, None
        self._average[:] = 0
        return self._event(run)

    def _leave(self) -> PlaneEvent | None:
        """Let go of a plane that is no longer seen."""
        run = self._run
        if run is None or self._average[run.plane] >= (self._spec.exit if run.shown else self._spec.enter):
            return None
        self._run = None
        return self._event(run)

    def _follow(self, frame: Frame, prediction: Prediction, time: float, *, rejected: bool) -> None:
        """Let the frame count for the plane that is seen, if one is."""
        likeliest = self._likeliest()
        if self._run is None and self._average[likeliest] >= self._spec.enter:
            self._run = _Run(likeliest, time, frame.index, frame)
        if self._run is not None:
            run = self._run
            run.shown = run.shown or 1000 * (time - run.start) >= self._spec.dwell_ms
            certainty = 0.0 if rejected else float(prediction.probabilities[run.plane])
            quality = certainty * sharpness(prediction.picture)
            run.add(frame, time, average=float(self._average[run.plane]), quality=quality)

    def _decision(self) -> Decision:
        if self._run is not None and self._run.shown:
            plane = self._run.plane
            return Decision("plane", self._labels[plane], float(self._average[plane]))
        confidence = float(self._average[self._likeliest()])
        return Decision("undecided" if confidence >= self._spec.exit else "no plane", None, confidence)

    def _likeliest(self) -> int:
        return max(self._planes, key=self._average.__getitem__)

    def _event(self, run: _Run | None) -> PlaneEvent | None:
        if run is None or not run.shown:
            return None
        return PlaneEvent(
            plane=self._labels[run.plane],
            start=run.start,
            end=run.end,
            start_index=run.start_index,
            end_index=run.end_index,
            confidence=run.confidence,
            best=run.best,
        )


@dataclass(slots=True)
class _Run:
    """A plane while it is seen.

    Attributes:
        plane: its index among the labels.
        start: of its first frame, in seconds into the stream.
        start_index: number of its first frame.
        best: its most certain, sharpest frame up to now.
        quality: how certain and sharp that is.
        end: of its last frame up to now, in seconds into the stream.
        end_index: number of that.
        confidence: its highest average up to now.
        shown: whether it was seen for long enough.
    """

    plane: int
    start: float
    start_index: int
    best: Frame
    quality: float = -1.0
    end: float = 0.0
    end_index: int = 0
    confidence: float = 0.0
    shown: bool = False

    def add(self, frame: Frame, time: float, *, average: float, quality: float) -> None:
        """Take in one more frame."""
        self.end, self.end_index = time, frame.index
        self.confidence = max(self.confidence, average)
        if quality > self.quality:
            self.best, self.quality = frame, quality


def _planes(spec: DecisionSpec, labels: Sequence[str]) -> list[int]:
    """Return the indices of the labels that are planes."""
    return [index for index, label in enumerate(labels) if label not in spec.background]
