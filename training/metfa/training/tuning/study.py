"""A search of hyper-parameters that sees no target label: trial after trial, in a directory, resumable.

What a trial is worth is the agreement of predictions and clusters (AMI) of the candidate that would become its model.
That alone could be won by a model that has unlearnt its classes, so the guard of :mod:`..selection.rule` holds between
trials as it does between the candidates of one:

- While the search goes on, a trial that has collapsed, or has lost accuracy on labelled frames against the best of the
  finished trials, gets a value below that of every sound one, and there the higher, the more accurate it is.
- That best is known only at the end. There, every finished trial is valued anew, guarded by the best accuracy of the
  whole study, and the highest wins.
- A running trial is pruned by the median of the others at the same step. There, its accuracy is compared with its own
  best so far: early in a run none is as accurate as a finished one. A pruned or failed trial cannot win, nor be the
  reference.

A study is a function of its options, as a run is: what a trial tries depends on the seed and the finished trials alone.
An interrupted trial is not one of them, so it is tried again, and a resumed study goes on where an uninterrupted one
would have.
"""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.trial import TrialState

from metfa.runtime.bundle import records
from metfa.runtime.errors import DivergenceError, StudyError, TrainingError

from ..development import adapts, develop
from ..methods import METHODS
from ..selection.rule import is_sound
from ..selection.validators import Validators
from .journal import open_journal
from .space import configure, first, space

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from lightning_fabric import Fabric

    from ..config import TrainingConfig
    from ..data.pair import DomainPair

JOURNAL = "journal.jsonl"
RUNNING = "running"
"""The directory inside a study that holds the run of a trial until it is finished."""

MIN_SOUND, UNSOUND = -1.0, -2.0
"""The least value of a sound trial, and what is added to the accuracy, at most 1, of one that is not."""

RAMP_SHARE = 3
"""No trial is pruned in the first third of its steps: then λ₃, λ₅ and λ₆ have grown to 93 % (see ``--ramp``)."""

_CONFIG, _MODEL, _FAILURE = "config", "model", "failure"
_REMEDY = "restore the file, or delete it to begin the study anew"


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
        number: among the finished, from 1.
        parameters: by the name of their option.
        model: None where the trial was pruned or failed.
        ending: why there is no model.
    """

    number: int
    parameters: dict[str, float | int]
    model: Model | None
    ending: str


class Study:
    """A study in a directory; see :func:`open_study`.

    Args:
        config: the run whose parameters are searched.
        directory: of the study.
        study: Optuna's.
    """

    def __init__(self, config: TrainingConfig, directory: Path, study: optuna.Study) -> None:
        self.adapts = adapts(METHODS[config.method])
        self._config = config
        self._directory = directory
        self._study = study

    def finished(self) -> list[Trial]:
        """Return the finished trials, in their order.

        Raises:
            StudyError: the journal is damaged.
        """
        trials = [trial for trial in self._study.get_trials(deepcopy=False) if _is_finished(trial)]
        return [self._describe(number, trial) for number, trial in enumerate(trials, 1)]

    def run_trial(self, pair: DomainPair, fabric: Fabric) -> Trial:
        """Run the next trial; nothing of it stays but what the journal says. For the main thread.

        Raises:
            KeyboardInterrupt: Ctrl-C or SIGTERM ended it.
            MetfaError: what :func:`~..development.develop` raises, except that a run that diverges is a failed trial.
        """
        before = self.finished()
        self._study.sampler = optuna.samplers.TPESampler(seed=_seed(self._config.seed, len(before)))
        if not before and not self._study.get_trials(states=(TrialState.WAITING,)):
            self._study.enqueue_trial(first(self._config))
        trial = self._study.ask(space(self._config))
        config = configure(self._config, trial.params)
        accuracies: list[float] = []

        def report(step: int, validators: Validators) -> None:
            accuracies.append(validators.supervised_accuracy)
            trial.report(value(validators, max(accuracies), adapts=self.adapts), step)
            if step < config.steps and trial.should_prune():
                raise optuna.TrialPruned

        directory = self._directory / RUNNING
        try:
            run = develop(config, pair, directory, fabric, on_candidate=report)
        except optuna.TrialPruned:
            self._study.tell(trial, state=TrialState.PRUNED)
        except DivergenceError as error:
            trial.set_user_attr(_FAILURE, error.received)
            self._study.tell(trial, state=TrialState.FAIL)
        else:
            if run is None:
                raise KeyboardInterrupt
            model = Model(run.steps[run.selected], run.validators[run.selected])
            trial.set_user_attr(_MODEL, asdict(model))
            best = best_accuracy([*models(before), model])
            self._study.tell(trial, value(model.validators, best, adapts=self.adapts))
        finally:
            shutil.rmtree(directory, ignore_errors=True)
        return self.finished()[-1]

    def _describe(self, number: int, trial: optuna.trial.FrozenTrial) -> Trial:
        model, ending = None, ""
        if trial.state == TrialState.COMPLETE:
            model = records.from_json(
                Model,
                json.dumps(trial.user_attrs.get(_MODEL)),
                origin=f"the model of trial {number} in {self._directory / JOURNAL}",
                remedy=_REMEDY,
                error=StudyError,
            )
        elif trial.state == TrialState.PRUNED:
            ending = f"pruned at step {trial.last_step}"
        else:
            ending = f"failed: {trial.user_attrs[_FAILURE]}"
        return Trial(number, dict(trial.params), model, ending)


@contextmanager
def open_study(config: TrainingConfig, directory: Path) -> Iterator[Study]:
    """Yield the study in ``directory``, which is begun where there is none; it is this process's until the block ends.

    Args:
        config: the run whose parameters are searched.
        directory: of the study.

    Raises:
        OutputError: the directory cannot be written.
        StudyError: its journal is damaged, or of another study, or another process has it.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with open_journal(directory / JOURNAL) as journal:
        shutil.rmtree(directory / RUNNING, ignore_errors=True)  # of a process that was killed
        try:
            storage = optuna.storages.JournalStorage(journal)
        except (AssertionError, AttributeError, LookupError, TypeError, ValueError) as cause:
            raise StudyError(
                expected=f"a journal of Optuna in {directory / JOURNAL}",
                received=f"operations that it cannot repeat ({cause!r})",
                remedy=_REMEDY,
            ) from None
        study = optuna.create_study(
            storage=storage,
            study_name="metfa-tune",
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(n_warmup_steps=config.steps // RAMP_SHARE),
        )
        _claim(study, config, directory)
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            study.tell(trial.number, state=TrialState.FAIL)
        yield Study(config, directory, study)


def _claim(study: optuna.Study, config: TrainingConfig, directory: Path) -> None:
    """Make sure that the study is of this run; one that has no trial yet becomes so."""
    wanted: dict[str, Any] = json.loads(records.to_json(config))
    if _CONFIG not in study.user_attrs and not study.get_trials(deepcopy=False):
        study.set_user_attr(_CONFIG, wanted)
    found = study.user_attrs.get(_CONFIG, {})
    differing = sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name))
    if differing:
        name = differing[0]
        raise StudyError(
            expected=f"the options with which the study in {directory} was begun",
            received=f"another {name.replace('_', ' ')} ({wanted.get(name)}, not {found.get(name)})",
            remedy="give the same options, or name another directory with --study",
        )


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


def _is_finished(trial: optuna.trial.FrozenTrial) -> bool:
    """Return whether a trial came to its own end: a failed one without a reason was interrupted."""
    return trial.state in (TrialState.COMPLETE, TrialState.PRUNED) or (
        trial.state == TrialState.FAIL and _FAILURE in trial.user_attrs
    )


def _seed(seed: int, trials: int) -> int:
    """Return 32 well mixed bits, others for every trial: the same would have a resumed study repeat itself."""
    return int(np.random.SeedSequence((seed, trials)).generate_state(1)[0])
