"""One process at a time writes to a bundle."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from metfa.runtime.errors import BundleError
from metfa.runtime.lock import writing_alone

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
