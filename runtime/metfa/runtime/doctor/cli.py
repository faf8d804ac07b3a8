"""``metfa``: the version, the other commands, and ``metfa doctor``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .. import command
from ..bundle_parameters import BundleType, allow_download
from ..command import Command, say

if TYPE_CHECKING:
    from pathlib import Path

COMMANDS = {
    "metfa doctor": "Say what is installed here and what works.",
    "metfa-train": "Adapt a classifier from one scanner to another.",
    "metfa-tune": "Search hyper-parameters without target labels.",
    "metfa-export": "Write the files that an edge device runs.",
    "metfa-evaluate": "Score an exported model on labelled images.",
    "metfa-benchmark": "Measure how fast this machine runs an exported model.",
    "metfa-label": "Label images in a browser.",
    "metfa-stream": "Label the planes in live video.",
}


class _Commands(Command, click.Group):
    """A command with others below it; its help lists all commands of metfa."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, and then the commands."""
        super().format_options(ctx, formatter)
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Commands, invoke_without_command=True)
@click.pass_context
def main(ctx: click.Context) -> None:
    """Adapt an ultrasound plane classifier from one scanner to another, and run it live.

    Each command tells its options with --help.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@main.command(cls=Command)
@click.option(
    "--bundle",
    "directory",
    type=BundleType(),
    help="Also open this bundle, check its files and load its model.",
)
@allow_download()
def doctor(directory: Path | None) -> None:
    """Say what is installed here and what works, for a report of a problem.

    It names no user, machine, address or folder, and changes nothing.
    """
    # What takes long to import (NumPy, OpenCV) is imported here, so that --help answers at once.
    from . import screen

    say(screen.describe_host())
    if directory is not None:
        from . import model

        say(screen.section("Bundle", model.rows(directory)))


def run() -> None:
    """Be the process ``metfa``."""
    command.run(main)
