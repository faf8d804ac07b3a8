"""What the commands share."""

from __future__ import annotations

import signal
import subprocess
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from metfa.export.cli import main as export
from metfa.runtime.benchmark.cli import main as benchmark
from metfa.runtime.cli import main as stream
from metfa.runtime.doctor.cli import main as metfa
from metfa.runtime.labelling.cli import main as label
from metfa.training.cli.evaluate import main as evaluate
from metfa.training.cli.train import main as train
from metfa.training.cli.tune import main as tune

if TYPE_CHECKING:
    import click

CRASHING = """
import ctypes
from metfa.runtime.command import Command
Command("crash", callback=lambda: ctypes.string_at(0)).main([])
"""


def test_a_crash_in_native_code_is_not_silent() -> None:
    ended = subprocess.run([sys.executable, "-c", CRASHING], capture_output=True, text=True, check=False)
    assert ended.returncode == -signal.SIGSEGV
    assert "Fatal Python error: Segmentation fault" in ended.stderr
    assert "string_at" in ended.stderr


@pytest.mark.parametrize("command", [train, tune, evaluate, export, benchmark, label, stream, metfa])
def test_every_command_says_its_version(command: click.Command) -> None:
    result = CliRunner().invoke(command, ["--version"], prog_name="metfa-x")
    assert (result.exit_code, result.output) == (0, f"metfa-x {version('metfa')}\n")
