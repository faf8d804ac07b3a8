"""Studies of two small domains: how they are run, and what they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import optuna
from click.testing import CliRunner, Result
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy.pool import NullPool

from metfa.training.cli.tune import main
from metfa.training.tuning.database import FILE

if TYPE_CHECKING:
    from pathlib import Path

SMALL = [
    *("--preset", "small", "--input-size", "28x28", "--steps", "6", "--candidates", "2"),
    *("--images-per-class", "2", "--threads", "1", "--device", "cpu", "--precision", "fp32"),
]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def trials_of(study: Path) -> list[Any]:
    """What a study holds of its finished trials, as Optuna's own tools read it."""
    storage = RDBStorage(f"sqlite:///{study / FILE}", {"poolclass": NullPool})
    trials = optuna.load_study(study_name="study", storage=storage).trials
    for trial in trials:
        trial.user_attrs.pop("directory", None)  # another for each process
    return [
        (trial.state, trial.params, trial.values, trial.intermediate_values, trial.user_attrs)
        for trial in trials
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED) or "failure" in trial.user_attrs
    ]
