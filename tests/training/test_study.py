"""Processes that share a study, and what becomes of it when they are killed or lose its database."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import sqlite3
import subprocess
import tempfile
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from metfa.runtime.errors import StudyError
from metfa.training.parallel import make_fabric
from metfa.training.selection.validators import Validators
from metfa.training.tuning import study as tuning
from metfa.training.tuning.database import FILE
from metfa.training.tuning.study import Study, open_study

from .studies import SMALL, run, trials_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.processes import Interpreter

    from metfa.training.config import TrainingConfig
    from metfa.training.tuning.trials import Trial

    Report = Callable[[int, Validators], None]

JUDGED = Validators(0.9, 0.0, 0.5, 0.5, 1.0, 1.0, -1.0, 1.0, 1.0)

KILLED = """
import os, signal, sys
from sqlalchemy import event
from sqlalchemy.engine import Engine
from metfa.training.cli.tune import main

operations = 0

def count(*_):
    global operations
    operations += 1
    if operations == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)

for name in ("before_cursor_execute", "commit"):
    event.listen(Engine, name, count)
try:
    main(sys.argv[2:])
finally:
    print(operations)
"""
"""``metfa-tune`` that is killed before an operation on its database, or says at its end how many there were."""


def test_a_search_that_was_killed_goes_on_to_the_same_end(
    interpreter: Interpreter, source: Path, target: Path, tmp_path: Path
) -> None:
    common = ["--source", source, "--target", target, *SMALL, "--trials", "2"]
    whole = tmp_path / "whole" / "study"
    operations = int(interpreter.run(KILLED, 0, *common, "--study", whole).stdout.splitlines()[-1])
    for share in (0.05, 0.3, 0.55, 0.97):
        cut = tmp_path / str(share) / "study"
        killed = interpreter.run(KILLED, int(share * operations), *common, "--study", cut)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        resumed = run(*common, "--study", cut)
        assert resumed.exit_code == 0, resumed.output
        assert sorted(path.name for path in cut.iterdir()) == [FILE, "tuned.json"]
        assert (cut / "tuned.json").read_bytes() == (whole / "tuned.json").read_bytes()
        assert trials_of(cut) == trials_of(whole)


def develop_by(*acts: Callable[[Report], bool]) -> Callable[..., Any]:
    """Return what stands in for training: each call acts, and is interrupted unless that returns whether it ends."""
    remaining = iter(acts)

    def develop(*_: object, on_candidate: Report) -> SimpleNamespace | None:
        if next(remaining)(on_candidate):
            return SimpleNamespace(steps=(12,), validators=(JUDGED,), selected=0)
        return None

    return develop


def run_trial(study: Study, trials: int) -> Trial | None:
    return study.run_trial(None, make_fabric("cpu"), trials)  # type: ignore[arg-type]  # nothing is trained


def test_an_interrupted_trial_is_the_next_of_another_process(
    config: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_study(config, tmp_path) as other, open_study(config, tmp_path) as interrupted:
        numbers = []

        def interrupt(_: Report) -> bool:
            ran = run_trial(other, 3)
            assert ran is not None
            numbers.append(ran.number)
            return False

        monkeypatch.setattr(tuning, "develop", develop_by(interrupt, *[lambda _: True] * 3))
        with pytest.raises(KeyboardInterrupt):
            run_trial(interrupted, 3)
        numbers += [trial.number for trial in (run_trial(other, 3), run_trial(interrupted, 3)) if trial]
        finished = other.finished()
    assert numbers == [2, 1, 3]
    assert [trial.number for trial in finished] == [1, 2, 3]
    assert finished[0].parameters["learning-rate"] == config.learning_rate


def test_a_trial_is_taken_over_when_its_process_shows_no_sign_of_life(
    config: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "POLL", 0.0)
    with open_study(config, tmp_path) as other, open_study(config, tmp_path) as stopped:

        def stop(report: Report) -> bool:
            assert run_trial(other, 1) is None  # the heart has just beaten
            assert run_trial(other, 1) is None
            with closing(sqlite3.connect(tmp_path / FILE)) as database, database:
                database.execute("UPDATE trial_heartbeats SET heartbeat = '2000-01-01 00:00:00'")
            assert run_trial(other, 1) is None  # it gives the trial back
            taken_over = run_trial(other, 1)
            assert taken_over is not None
            assert taken_over.number == 1
            report(4, JUDGED)
            return True

        monkeypatch.setattr(tuning, "develop", develop_by(stop, lambda _: True))
        assert run_trial(stopped, 1) is None
        assert [trial.number for trial in stopped.finished()] == [1]


def run_together(interpreter: Interpreter, *commands: list[object]) -> list[list[str]]:
    """Run ``metfa-tune`` several times at once, and return the lines that were printed."""
    started = [interpreter.start("from metfa.training.cli.tune import main; main()", *command) for command in commands]
    printed = []
    for process in started:
        ended = process.wait()
        assert ended.returncode == 0, ended.stderr
        printed.append(ended.stdout.splitlines())
    return printed


def assert_shared(printed: list[list[str]], trials: int) -> None:
    """Each trial was run once, and every process ends with the same table."""
    ran = [line.split(":")[0] for lines in printed for line in lines if line.startswith("trial ")]
    assert sorted(ran) == [f"trial {number} of {trials}" for number in range(1, trials + 1)]
    assert len({tuple(line for line in lines if line.startswith("  ")) for lines in printed}) == 1


def test_processes_share_the_trials(interpreter: Interpreter, source: Path, target: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    command: list[object] = ["--source", source, "--target", target, "--study", study, *SMALL, "--trials", 5]
    assert_shared(run_together(interpreter, command, command), trials=5)
    rates = {parameters["learning-rate"] for _, parameters, *_ in trials_of(study)}
    assert len(rates) == 5
    assert sorted(path.name for path in study.iterdir()) == [FILE, "tuned.json"]


@pytest.fixture
def postgresql() -> Iterator[str]:
    """The URL of a server of this test's own, which nothing but a socket leads to."""
    programs = [shutil.which("initdb"), *sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))]
    initdb = next((Path(program) for program in programs if program), None)
    if initdb is None:
        pytest.skip("needs initdb, of Debian's package postgresql")
    pytest.importorskip("psycopg", reason="needs psycopg")
    user = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())  # it does not run as root

    def serve(program: str, *arguments: object) -> None:
        command = [initdb.with_name(program), "-D", folder / "data", *arguments]
        served: dict[str, Any] = {}
        if os.geteuid() == 0:
            served = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL, cwd=folder, **served)

    with tempfile.TemporaryDirectory(dir="/tmp") as temporary:  # the path of a socket must be short
        folder = Path(temporary)
        os.chown(folder, user.pw_uid, user.pw_gid)
        serve("initdb", "--username=tuner", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync")
        serve("pg_ctl", "--wait", "--log", folder / "log", "-o", f"-k {folder} -c listen_addresses=''", "start")
        try:
            yield f"postgresql://tuner:secret@/postgres?host={folder}"
        finally:
            serve("pg_ctl", "--wait", "--mode=immediate", "stop")


def test_machines_share_a_study_on_a_server(
    interpreter: Interpreter, postgresql: str, source: Path, target: Path, tmp_path: Path
) -> None:
    common: list[object] = ["--source", source, "--target", target, *SMALL, "--storage", postgresql]
    one, other, third = tmp_path / "one" / "study", tmp_path / "other" / "study", tmp_path / "third"
    commands = [[*common, "--trials", 4, "--study", study] for study in (one, other)]
    assert_shared(run_together(interpreter, *commands), trials=4)
    assert [path.name for path in one.iterdir()] == ["tuned.json"]
    assert (one / "tuned.json").read_bytes() == (other / "tuned.json").read_bytes()
    assert "trial 1 of 1: " in run(*common, "--method", "adabn", "--trials", 1, "--study", third).output


@pytest.mark.parametrize(
    ("url", "received"),
    [
        ("postgresql://me:secret@/name?host=/nowhere&password=secret", "No such file or directory; start the server"),
        ("postgresql://me:se/cret@host:secret/name", r"one that SQLAlchemy cannot read \(postgresql:…\)"),
        ("oracle+nothing://me:secret@host/name", r"one that SQLAlchemy cannot read \(oracle\+nothing:…\)"),
        ("postgresql+pg8000://me:secret@host/name", "No module named 'pg8000'; install the driver"),
        ("sqlite:////nowhere/study.db", "unable to open database file; free space, correct its permissions"),
    ],
)
def test_a_database_that_cannot_be_used_is_one_line_without_its_password(
    config: TrainingConfig, tmp_path: Path, url: str, received: str
) -> None:
    if url.startswith("postgresql:"):
        pytest.importorskip("psycopg", reason="needs psycopg")
    with pytest.raises(StudyError, match=received) as raised, open_study(config, tmp_path / "study", url):
        pass
    assert "secret" not in str(raised.value)
    assert "se/cret" not in str(raised.value)
    assert not (tmp_path / "study").exists()
