"""``metfa-benchmark``: how fast this machine runs an exported bundle, by backend, precision and batch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .. import command
from ..bundle.directory import DEFAULT_DIRECTORY
from ..bundle_parameters import BundleType, allow_download
from ..command import Command, InterruptedCommand, say
from ..parameters import NumberRange

if TYPE_CHECKING:
    from .record import BenchmarkRecord

RECORD, CHART = "benchmark.json", "benchmark.svg"


@click.command(cls=Command, context_settings={"show_default": True})
@click.option(
    "--bundle",
    "directory",
    type=BundleType(),
    default=DEFAULT_DIRECTORY,
    help="What metfa-train and metfa-export made.",
)
@allow_download()
@click.option(
    "--seconds",
    type=NumberRange(min=0, min_open=True),
    metavar="S",
    default=3.0,
    help="To spend on each backend, precision and batch.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help=f"Write {RECORD} and {CHART}, in place of those of an earlier benchmark.",
)
def main(directory: Path, seconds: float, output: Path | None) -> None:
    """Measure how fast this machine runs a bundle: each backend, precision and batch, in turns.

    Beside the times is how far each is from FP32 on the CPU. What cannot run here is listed with the reason.

    Ctrl-C ends it with what was measured until then.
    """
    # What takes long to import (NumPy, OpenCV) is imported here, so that --help answers at once.
    from ..bundle.directory import Bundle
    from ..files import require_writable
    from .run import run_benchmark
    from .table import describe

    bundle = Bundle.open(directory)
    if output is not None:
        require_writable(output)
    try:
        record = run_benchmark(bundle, seconds, progress=_show)
    finally:
        _show("")
    say(describe(record))
    if output is not None:
        _write(record, output)
    if record.interrupted:
        raise InterruptedCommand("what was measured until then is above")


def run() -> None:
    """Be the process ``metfa-benchmark``."""
    command.run(main)


def _write(record: BenchmarkRecord, output: Path) -> None:
    from ..bundle.records import to_json
    from ..files import write_text
    from .chart import draw

    write_text(output / RECORD, to_json(record))
    write_text(output / CHART, draw(record))
    say([f"wrote {RECORD} and {CHART} in {output}"])


def _show(line: str) -> None:
    """Show what is done now on a terminal, in place of the line before."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{line}")
        sys.stderr.flush()
