"""The console scripts of this environment, run as a user runs them."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from pathlib import Path

import click

from metfa.runtime.bundle.directory import MANIFEST


def make_bundle(bundle: Path, *options: object, export: bool) -> None:
    """Train a bundle with these options of ``metfa-train`` where there is none, and export it if wanted."""
    if (bundle / MANIFEST).exists():
        return
    run("metfa-train", "--bundle", bundle, *options)
    if export:
        run("metfa-export", bundle)


def run(*command: object) -> None:
    """Show a command line and run it; end with its exit code if it fails, and name the signal if one ended it."""
    name, *arguments = map(str, command)
    line = shlex.join([name, *arguments])
    click.secho(f"\n$ {line}", bold=True)
    status = subprocess.run([Path(sys.executable).with_name(name), *arguments], check=False).returncode
    if status < 0:
        click.echo(
            f"Error: expected {name} to end by itself, received {signal.Signals(-status).name} in: {line}", err=True
        )
        sys.exit(128 - status)
    if status:
        sys.exit(status)
