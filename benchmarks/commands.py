"""The console scripts of this environment, run as a user runs them."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import click


def run(*command: object) -> None:
    """Show a command line and run it; end with its exit code if it fails."""
    name, *arguments = map(str, command)
    click.secho(f"\n$ {shlex.join([name, *arguments])}", bold=True)
    status = subprocess.run([Path(sys.executable).with_name(name), *arguments], check=False).returncode
    if status:
        sys.exit(status)
