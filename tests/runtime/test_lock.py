"""Directories that belong to one process."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from metfa.runtime.errors import BundleError
from metfa.runtime.lock import own_directory, remove_abandoned, writing_alone

if TYPE_CHECKING:
    from pathlib import Path

HOLDER = """
import sys
from pathlib import Path
from metfa.runtime.lock import writing_alone
with writing_alone(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_another_process_is_refused_until_the_first_ends_however_it_does(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path / "bundle"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(BundleError, match=r"received another command of metfa .* --bundle"):
            writing_alone(tmp_path / "bundle").__enter__()
        holder.kill()
    with writing_alone(tmp_path / "bundle"):
        pass


def test_a_directory_that_stays_empty_is_not_left_behind(tmp_path: Path) -> None:
    with writing_alone(tmp_path / "runs" / "bundle"):
        assert (tmp_path / "runs" / "bundle").is_dir()
    assert not (tmp_path / "runs").exists()


def test_a_file_system_without_locks_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no locks here")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with writing_alone(tmp_path):
        pass


OWNER = """
import sys
from pathlib import Path
from metfa.runtime.lock import own_directory
with own_directory(Path(sys.argv[1]), "own-") as directory:
    print(directory, flush=True)
    sys.stdin.read()
"""


def test_the_directory_of_a_process_is_abandoned_when_it_is_killed(tmp_path: Path) -> None:
    with (
        subprocess.Popen(
            [sys.executable, "-c", OWNER, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as owner,
        own_directory(tmp_path, "own-") as mine,
    ):
        assert owner.stdout is not None
        others = owner.stdout.readline().strip()
        assert remove_abandoned(tmp_path, "own-") == []
        owner.kill()
        owner.wait()
        assert [str(path) for path in remove_abandoned(tmp_path, "own-")] == [others]
        assert list(tmp_path.iterdir()) == [mine]
    assert list(tmp_path.iterdir()) == []


def test_who_waits_writes_when_the_other_has_ended(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        threading.Timer(0.1, holder.kill).start()
        with writing_alone(tmp_path, wait=True):
            assert holder.wait() != 0
