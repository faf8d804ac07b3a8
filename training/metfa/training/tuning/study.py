"""A search of hyper-parameters that sees no target label: trial after trial, shared by processes, resumable.

Trials have numbers, and a process that is free takes the lowest that no process has. An interrupted trial gives its
number back. What a trial tries depends on the seed, its number and the finished trials. So the study of one process is
a function of its options, as a run is: a resumed one goes on where an uninterrupted one would have.
"""

from __future__ import annotations

import json
import random
import shutil
import time
import warnings
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.trial import TrialState

from metfa.runtime.bundle import records
from metfa.runtime.errors import DivergenceError, StudyError
from metfa.runtime.files import utf8
from metfa.runtime.lock import own_directory, remove_abandoned, writing_alone

from ..development import adapts, develop
from ..methods import METHODS
from .database import OPENING, Database
from .space import configure, first, suggest
from .trials import Model, Trial, best_accuracy, models, value

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from lightning_fabric import Fabric
    from optuna.storages import RDBStorage

    from ..config import TrainingConfig
    from ..data.pair import DomainPair
    from ..selection.validators import Validators

RUNNING = "running-"
"""How the name begins of a directory inside a study in which a process runs its trials."""

FORMER = "journal.jsonl"
"""The file in which an earlier version kept a study."""

POLL = 1.0
"""Seconds until a process that found no trial to run looks again."""

RAMP_SHARE = 3
"""No trial is pruned in the first third of its steps: then λ₃, λ₅ and λ₆ have grown to 93 % (see ``--ramp``)."""

_CONFIG, _DIRECTORY, _NUMBER, _MODEL, _FAILURE = "config", "directory", "number", "model", "failure"


class Study:
    """A study that this process takes part in; see :func:`open_study`.

    Args:
        config: the run whose parameters are searched.
        directory: of this process, inside that of the study.
        study: Optuna's.
        storage: where it is kept.
    """

    def __init__(self, config: TrainingConfig, directory: Path, study: optuna.Study, storage: RDBStorage) -> None:
        self.adapts = adapts(METHODS[config.method])
        self._config = config
        self._directory = directory
        self._study = study
        self._storage = storage

    def finished(self) -> list[Trial]:
        """Return the finished trials by their number.

        Raises:
            StudyError: the database is damaged.
        """
        trials = [trial for trial in self._study.get_trials(deepcopy=False) if _is_finished(trial)]
        return sorted(map(self._describe, trials), key=lambda trial: trial.number)

    def run_trial(self, pair: DomainPair, fabric: Fabric, trials: int) -> Trial | None:
        """Run the next of so many trials; nothing of it stays but what the database says. For the main thread.

        Returns:
            The trial, or None where other processes have them all, after a moment: one may be given back.

        Raises:
            KeyboardInterrupt: Ctrl-C or SIGTERM ended it.
            MetfaError: what :func:`~..development.develop` raises, except that a run that diverges is a failed trial.
        """
        if self._taken() >= set(range(1, trials + 1)):
            time.sleep(POLL)
            _give_back(self._study, remove_abandoned(self._directory.parent, RUNNING))
            optuna.storages.fail_stale_trials(self._study)
            return None
        ended: list[optuna.trial.FrozenTrial] = []
        try:
            self._study.optimize(
                partial(self._run, pair=pair, fabric=fabric, trials=trials),
                n_trials=1,
                catch=(DivergenceError, _TakenError),
                callbacks=[lambda _, trial: ended.append(trial)],
            )
        except ValueError as error:
            if str(error) != "Cannot tell a FAIL trial.":
                raise
            return None  # others took it for dead, as this process was stopped for long
        return self._describe(ended[0]) if _is_finished(ended[0]) else None

    def _run(self, trial: optuna.Trial, pair: DomainPair, fabric: Fabric, trials: int) -> float:
        """Run one trial, and return its value."""
        self._storage.record_heartbeat(trial._trial_id)  # before it has a number, which others wait for
        trial.set_user_attr(_DIRECTORY, self._directory.name)
        number = self._take_number(trial)
        if number > trials:
            raise _TakenError
        self._study.sampler = _sampler(self._config, number)
        suggest(trial, self._config)
        config = configure(self._config, trial.params)
        accuracies: list[float] = []

        def report(step: int, validators: Validators) -> None:
            accuracies.append(validators.supervised_accuracy)
            trial.report(value(validators, max(accuracies), adapts=self.adapts), step)
            if step < config.steps and trial.should_prune():
                raise optuna.TrialPruned

        directory = self._directory / "trial"
        try:
            run = develop(config, pair, directory, fabric, on_candidate=report)
        except DivergenceError as error:
            trial.set_user_attr(_FAILURE, error.received)
            raise
        finally:
            shutil.rmtree(directory, ignore_errors=True)
        if run is None:
            raise KeyboardInterrupt
        model = Model(run.steps[run.selected], run.validators[run.selected])
        trial.set_user_attr(_MODEL, asdict(model))
        return value(model.validators, best_accuracy([*models(self.finished()), model]), adapts=self.adapts)

    def _take_number(self, trial: optuna.Trial) -> int:
        """Take the lowest number that is free."""
        while True:
            taken = self._taken(trial)
            number = next(number for number in count(1) if number not in taken)
            trial.set_user_attr(_NUMBER, number)
            # Of two that take the same number at once, the later sees that here; both may, and choose again.
            if number not in self._taken(trial):
                return number
            time.sleep(random.random())

    def _taken(self, own: optuna.Trial | None = None) -> set[int]:
        """Return the numbers of the finished and the running trials, but for a process's own."""
        return {
            trial.user_attrs[_NUMBER]
            for trial in self._study.get_trials(deepcopy=False)
            if _NUMBER in trial.user_attrs and (trial.state == TrialState.RUNNING or _is_finished(trial))
            if own is None or trial.number != own.number
        }

    def _describe(self, trial: optuna.trial.FrozenTrial) -> Trial:
        number = trial.user_attrs[_NUMBER]
        model, ending = None, ""
        if trial.state == TrialState.COMPLETE:
            model = records.from_json(
                Model,
                json.dumps(trial.user_attrs.get(_MODEL)),
                origin=f"the model of trial {number} in the study in {self._directory.parent}",
                remedy="restore it, or begin the study anew in another directory with --study",
                error=StudyError,
            )
        elif trial.state == TrialState.PRUNED:
            ending = f"pruned at step {trial.last_step}"
        else:
            ending = f"failed: {trial.user_attrs[_FAILURE]}"
        return Trial(number, dict(trial.params), model, ending)


class _TakenError(Exception):
    """Other processes were faster: there is no trial left."""


@contextmanager
def open_study(config: TrainingConfig, directory: Path, url: str | None = None) -> Iterator[Study]:
    """Yield a study, which is begun where there is none; other processes may run trials of it at the same time.

    Args:
        config: the run whose parameters are searched.
        directory: of the study, and of the runs of its trials; its name is that of the study in the database.
        url: of a database in place of a file in the directory.

    Raises:
        OutputError: the directory cannot be written.
        StudyError: the study is damaged, or of another run, or its database cannot be reached.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=ExperimentalWarning)  # of heartbeats
    if (directory / FORMER).exists():
        raise StudyError(
            expected=f"a study of this version of metfa in {directory}",
            received=f"one of an earlier version ({FORMER})",
            remedy="name another directory with --study",
        )
    database = Database(directory, url)
    with own_directory(directory, RUNNING) as own, database.explaining():
        with writing_alone(directory, wait=True), database.explaining(*OPENING):
            storage = database.open()
            study = optuna.create_study(
                storage=storage,
                study_name=utf8(directory.resolve().name),
                direction="maximize",
                load_if_exists=True,
                pruner=optuna.pruners.MedianPruner(n_warmup_steps=config.steps // RAMP_SHARE),
            )
            _claim(study, config, directory)
            _give_back(study, remove_abandoned(directory, RUNNING))
            opened = Study(config, own, study, storage)
            opened.finished()
        try:
            yield opened
        finally:
            _give_back(study, [own, *remove_abandoned(directory, RUNNING)])


def _give_back(study: optuna.Study, directories: Sequence[Path]) -> None:
    """Let others take the trials of processes that are gone, or are about to go."""
    names = {directory.name for directory in directories}
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if trial.user_attrs.get(_DIRECTORY) in names:
            study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)


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


def _is_finished(trial: optuna.trial.FrozenTrial) -> bool:
    """Return whether a trial came to its own end: a failed one without a reason was interrupted."""
    return trial.state in (TrialState.COMPLETE, TrialState.PRUNED) or (
        trial.state == TrialState.FAIL and _FAILURE in trial.user_attrs
    )


def _sampler(config: TrainingConfig, number: int) -> optuna.samplers.BaseSampler:
    """Return what chooses the parameters of a trial: the first has the options' own."""
    seed = int(np.random.SeedSequence((config.seed, number)).generate_state(1)[0])  # 32 well mixed bits
    sampler = optuna.samplers.TPESampler(seed=seed)
    return optuna.samplers.PartialFixedSampler(first(config), sampler) if number == 1 else sampler
