"""What a trial is worth, without target labels, and which of them wins.

It is the agreement of predictions and clusters (AMI) of the candidate that would become its model. That alone could be
won by a model that has unlearnt its classes, so the guard of :mod:`..selection.rule` holds between trials as it does
between the candidates of one:

- While the search goes on, a trial that has collapsed, or has lost accuracy on labelled frames against the best of the
  finished trials, gets a value below that of every sound one, and there the higher, the more accurate it is.
- That best is known only at the end. There, every finished trial is valued anew, guarded by the best accuracy of the
  whole study, and the highest wins.
- A running trial is pruned by the median of the others at the same step. There, its accuracy is compared with its own
  best so far: early in a run none is as accurate as a finished one. A pruned or failed trial cannot win, nor be the
  reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from metfa.runtime.errors import TrainingError

from ..selection.rule import is_sound
from ..selection.validators import Validators

if TYPE_CHECKING:
    from collections.abc import Sequence

MIN_SOUND, UNSOUND = -1.0, -2.0
"""The least value of a sound trial, and what is added to the accuracy, at most 1, of one that is not."""


@dataclass(frozen=True, slots=True)
class Model:
    """The candidate that a trial would export.

    Attributes:
        step: after which it was kept.
        validators: what it is judged by.
    """

    step: int
    validators: Validators


@dataclass(frozen=True, slots=True)
class Trial:
    """A finished trial.

    Attributes:
        number: in the study, from 1.
        parameters: by the name of their option.
        model: None where the trial was pruned or failed.
        ending: why there is no model.
    """

    number: int
    parameters: dict[str, float | int]
    model: Model | None
    ending: str


def models(trials: Sequence[Trial]) -> list[Model]:
    """Return the models of the trials that have one."""
    return [trial.model for trial in trials if trial.model is not None]


def best_accuracy(compared: Sequence[Model]) -> float:
    """Return the best accuracy on labelled frames."""
    return max(model.validators.supervised_accuracy for model in compared)


def value(validators: Validators, accuracy: float, *, adapts: bool) -> float:
    """Return what a candidate is worth beside a best accuracy; see the module."""
    if not adapts:
        return validators.supervised_accuracy
    if is_sound(validators, accuracy):
        return max(validators.ami, MIN_SOUND)
    return validators.supervised_accuracy + UNSOUND


def winner(trials: Sequence[Trial], *, adapts: bool) -> Trial:
    """Return the trial whose parameters are taken; of equals, the earliest, as the first has the defaults.

    Raises:
        TrainingError: no trial has come to its end.
    """
    ended = [(trial, trial.model.validators) for trial in trials if trial.model is not None]
    if not ended:
        raise TrainingError(
            expected="a trial that comes to its end",
            received=f"{len(trials)} that did not; the last {trials[-1].ending}",
            remedy="correct what it says, and name another directory with --study",
        )
    accuracy = max(validators.supervised_accuracy for _, validators in ended)
    return max(ended, key=lambda each: value(each[1], accuracy, adapts=adapts))[0]
