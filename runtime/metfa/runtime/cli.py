"""``metfa-stream``: live frames in, plane decisions out."""

from __future__ import annotations

import math
import sys
import time
from contextlib import ExitStack, closing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from .bundle import DEFAULT_DIRECTORY
from .command import Command, Interruption, RoiType
from .errors import MetfaError, OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .backends.choice import BackendName, Precision
    from .contract import Region, Roi
    from .sinks import Sink, WindowSink

# What takes long to import (NumPy, OpenCV) is imported where it is used, so that --help answers at once.


@click.command(cls=Command)
@click.option(
    "--device",
    required=True,
    metavar="SPEC",
    help="Camera (0 or /dev/video0), video, image, folder of images, DICOM file, URL, or phantom:NAME.",
)
@click.option(
    "--bundle",
    type=click.Path(path_type=Path),
    default=DEFAULT_DIRECTORY,
    show_default=True,
    help="What metfa-train and metfa-export made.",
)
@click.option(
    "--roi",
    "region",
    type=RoiType(contract=True),
    default="contract",
    show_default=True,
    help="The part of each frame that the model sees: auto finds the ultrasound in it.",
)
@click.option(
    "--backend",
    type=click.Choice(["auto", "tensorrt", "cuda", "cpu"]),
    default="auto",
    show_default=True,
    help="What runs the model.",
)
@click.option("--precision", type=click.Choice(["auto", "fp32", "fp16"]), default="auto", show_default=True)
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE.mp4", help="Write the annotated video.")
@click.option("--events", type=click.Path(path_type=Path), metavar="FILE.jsonl", help="Write a record for each frame.")
@click.option(
    "--window/--no-window", default=None, help="Show the annotated video; by default, where there is a display."
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="End after N frames.")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), metavar="S", help="End after S seconds.")
def main(  # click passes the options by name
    device: str,
    bundle: Path,
    region: Roi | Literal["contract"],
    backend: BackendName | Literal["auto"],
    precision: Precision | Literal["auto"],
    output: Path | None,
    events: Path | None,
    window: bool | None,
    limit: int | None,
    seconds: float | None,
) -> None:
    """Classify live frames: which plane does the scanner show?

    Ends with the source, on Ctrl-C or SIGTERM, or when the window is closed; all files are complete then.
    """
    from .classifier import PlaneClassifier
    from .sources import open_source
    from .streaming import stream
    from .summary import StreamStatistics

    _refuse_to_overwrite(device, output, events)
    statistics = StreamStatistics()
    try:
        with Interruption() as interruption, ExitStack() as stack:
            classifier = PlaneClassifier.load(
                bundle,
                backend=None if backend == "auto" else backend,
                precision=None if precision == "auto" else precision,
                region=region,
            )
            classifier.sector.report = _report_sector
            click.echo(f"backend: {classifier.backend_choice}", err=True)
            source = stack.enter_context(open_source(device))
            click.echo(f"source: {source.description}", err=True)
            labels = classifier.contract.labels
            sinks = [stack.enter_context(sink) for sink in _open_files(output, events, source.rate, labels)]
            view = _open_window(device, labels, required=window) if window is not False else None
            if view is not None:
                sinks.append(stack.enter_context(view))
            deadline = math.inf if seconds is None else time.monotonic() + seconds

            def stop() -> bool:
                return interruption.requested or time.monotonic() > deadline or (view is not None and view.was_closed())

            observations = stack.enter_context(
                closing(stream(source, classifier, stop=stop, new_session=classifier.sector.restart))
            )
            for observation in islice(observations, limit):
                statistics.add(observation)
                for sink in sinks:
                    sink.write(observation)
    except MetfaError:
        if statistics.frames:
            click.echo(statistics.summary())
        raise
    click.echo(statistics.summary())


def _report_sector(region: Region | None, width: int, height: int) -> None:
    found = f"{region} of {width}x{height}" if region else f"none found, the model sees all of {width}x{height}"
    click.echo(f"sector: {found}", err=True)


def _open_files(output: Path | None, events: Path | None, rate: float, labels: Sequence[str]) -> Iterator[Sink]:
    from .sinks import JsonLinesSink, StatusLineSink, VideoSink

    if output is not None:
        yield VideoSink(output, rate, labels)
    if events is not None:
        yield JsonLinesSink(events, labels)
    if sys.stderr.isatty():
        yield StatusLineSink()


def _open_window(title: str, labels: Sequence[str], *, required: bool | None) -> WindowSink | None:
    """Open a window; where that is impossible and nobody asked for one, say why and return None."""
    from .sinks import WindowSink

    try:
        return WindowSink(title, labels)
    except OutputError as error:
        if required:
            raise
        click.echo(f"window: none ({error.received})", err=True)
        return None


def _refuse_to_overwrite(device: str, output: Path | None, events: Path | None) -> None:
    if output is not None and events is not None and output.resolve() == events.resolve():
        raise OutputError(
            expected="two files for --output and --events", received=f"{output} twice", remedy="choose another path"
        )
    source = Path(device)
    for path in (output, events):
        if path is not None and path.exists() and source.exists() and path.samefile(source):
            raise OutputError(
                expected="an output beside the source",
                received=f"{path}, the source itself",
                remedy="choose another path",
            )
