"""``metfa-stream``: live frames in, plane decisions out."""

from __future__ import annotations

import math
import os
import sys
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from . import command
from .bundle.directory import DEFAULT_DIRECTORY
from .command import Command, Interruption, say
from .errors import MetfaError, OutputError
from .parameters import AddressType, CollectionLimitType, NumberRange, RoiType, SizeType
from .text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .backends.choice import BackendName, Precision
    from .bundle.contract import ModelContract, Region, Roi
    from .classifier import PlaneClassifier
    from .sinks import CollectionLimit, CollectionSink, DeviceSink, Sink, WindowSink
    from .sinks.dashboard import Address, DashboardSink
    from .sources import CaptureFormat, Source
    from .streaming.summary import StreamStatistics

# What takes long to import (NumPy, OpenCV) is imported where it is used, so that --help answers at once.


def _one_device(_: click.Context, __: click.Parameter, devices: tuple[str, ...]) -> str:
    if len(devices) > 1:  # click alone would take the last without a word
        raise click.UsageError(f"expected one --device, received {' and '.join(devices)}; start a stream for each")
    return devices[0]


@click.command(cls=Command)
@click.option(
    "--device",
    required=True,
    multiple=True,
    callback=_one_device,
    metavar="SPEC",
    help="Camera (0 or /dev/video0), video, image, folder of images, DICOM file, URL, gst:PIPELINE, phantom:NAME, "
    "or - for frames on standard input.",
)
@click.option("--size", type=SizeType(), help="What the camera is asked for, or that of raw frames on standard input.")
@click.option("--rate", type=NumberRange(min=0, min_open=True), metavar="N", help="Frames per second, likewise.")
@click.option(
    "--format",
    "pixels",
    type=click.Choice(["MJPG", "YUYV", "gray", "bgr24"]),
    help="Pixels, likewise: MJPG or YUYV of a camera, gray or bgr24 of raw frames.",
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
@click.option("--precision", type=click.Choice(["auto", "fp32", "fp16", "int8"]), default="auto", show_default=True)
@click.option(
    "--enter",
    type=NumberRange(0.5, 1, min_open=True),
    metavar="P",
    help="Smoothed probability from which a plane counts as seen.  [default: the bundle's]",
)
@click.option(
    "--exit",
    "leave",
    type=NumberRange(0, 1, min_open=True),
    metavar="P",
    help="The same below which it no longer does; at most that of --enter.  [default: the bundle's]",
)
@click.option(
    "--dwell",
    type=NumberRange(min=0),
    metavar="MS",
    help="Milliseconds that a plane must have been seen before it is shown.  [default: the bundle's]",
)
@click.option("--rebuild", is_flag=True, help="Build a TensorRT engine here, where the bundle has none that fits.")
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE.mp4", help="Write the annotated video.")
@click.option(
    "--events", type=click.Path(path_type=Path), metavar="FILE.jsonl", help="Write a record for each frame and event."
)
@click.option(
    "--labels",
    "table",
    type=click.Path(path_type=Path),
    metavar="FILE.csv",
    help="Write a row for each image of a folder: name, label, confidence, status and the probability of each class.",
)
@click.option(
    "--snapshots",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Save the best frame of each plane that was held, as PNG with its JSON.",
)
@click.option(
    "--collect",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Save frames, few alike, the least certain and most novel first, for metfa-train --target DIR.",
)
@click.option(
    "--collect-limit",
    type=CollectionLimitType(),
    default="1000",
    show_default=True,
    help="Frames, or MB or GB (500MB), that DIR may hold.",
)
@click.option(
    "--window/--no-window", default=None, help="Show the annotated video; by default, where there is a display."
)
@click.option(
    "--serve",
    type=AddressType(),
    help="Show the stream to browsers, such as on 127.0.0.1:8080. On an address that other machines reach, they need a "
    "token: that of METFA_TOKEN, or else one that is made up and printed.",
)
@click.option("--realtime", is_flag=True, help="Play a recording at its own pace, not as fast as it can be classified.")
@click.option("--overwrite", is_flag=True, help="Replace the files of --output, --events and --labels.")
@click.option("--verbose", is_flag=True, help="Say why no faster backend runs the model.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="End after N frames.")
@click.option("--seconds", type=NumberRange(min=0, min_open=True), metavar="S", help="End after S seconds.")
def main(  # click passes the options by name
    device: str,
    size: tuple[int, int] | None,
    rate: float | None,
    pixels: str | None,
    bundle: Path,
    region: Roi | Literal["contract"],
    backend: BackendName | Literal["auto"],
    precision: Precision | Literal["auto"],
    enter: float | None,
    leave: float | None,
    dwell: float | None,
    rebuild: bool,
    output: Path | None,
    events: Path | None,
    table: Path | None,
    snapshots: Path | None,
    collect: Path | None,
    collect_limit: CollectionLimit,
    window: bool | None,
    serve: Address | None,
    realtime: bool,
    overwrite: bool,
    verbose: bool,
    limit: int | None,
    seconds: float | None,
) -> None:
    """Classify live frames: which plane does the scanner show?

    Ends with the source, on Ctrl-C, SIGTERM or SIGHUP, or when the window is closed; all files are complete then.
    """
    from .classifier import PlaneClassifier
    from .sinks import CollectionSink, StatusLineSink
    from .sources import CaptureFormat
    from .streaming.outputs import OutputFiles
    from .streaming.run import run_stream
    from .streaming.summary import StreamStatistics

    _keep_opencv_to_one_thread()
    files = OutputFiles(output, events, table, snapshots)
    files.refuse_to_overwrite(device, overwrite=overwrite)
    statistics = StreamStatistics()
    device_check: DeviceSink | None = None
    collection: CollectionSink | None = None

    def open_sinks() -> Iterator[Sink]:
        nonlocal collection
        labels = classifier.contract.labels
        if serve is not None:
            yield _open_dashboard(serve, source, classifier, statistics, device_check)
        yield from files.open(source, labels)
        if sys.stderr.isatty():
            yield StatusLineSink()
        if collect is not None:
            collection = CollectionSink(collect, collect_limit)
            yield collection
        if device_check is not None:
            yield device_check
        if window is not False and (view := _open_window(device, labels, required=window)) is not None:
            yield view

    try:
        with ExitStack() as stack:
            classifier = PlaneClassifier.load(
                bundle,
                backend=None if backend == "auto" else backend,
                precision=None if precision == "auto" else precision,
                region=region,
                rebuild=rebuild,
            )
            classifier.contract = _decided_by(classifier.contract, enter=enter, exit=leave, dwell_ms=dwell)
            classifier.sector.report = _report_sector
            _report_backend(classifier, verbose=verbose)
            source = _open_source(stack, device, CaptureFormat(size, rate, pixels), realtime=realtime)
            # Up to here nothing was done that a signal could not simply end.
            interruption = stack.enter_context(Interruption())
            device_check = _open_device_check(bundle)
            run_stream(
                source,
                classifier,
                open_sinks(),
                interruption,
                statistics=statistics,
                limit=limit,
                seconds=math.inf if seconds is None else seconds,
                notify=_say,
            )
    except MetfaError:
        if statistics.frames:
            _summarise(statistics, device_check, live=source.live)
        raise
    _summarise(statistics, device_check, live=source.live)
    if collection is not None:
        _tell_of_collection(collection, collect, classifier.contract.input.region if region == "contract" else region)


def run() -> None:
    """Be the process ``metfa-stream``."""
    command.run(main)


def _keep_opencv_to_one_thread() -> None:
    """Leave the cores to inference: a frame is so small that waking more threads costs more than they save."""
    import cv2

    cv2.setNumThreads(1)


def _tell_of_collection(collection: CollectionSink, directory: Path | None, roi: Roi) -> None:
    say([f"collection: {len(collection)} frames; metfa-train --target {directory} --target-roi {roi or 'full'}"])


def _say(line: str) -> None:
    with suppress(OSError):  # a terminal that is gone must not keep the stream or its files from going on
        click.echo(printable(line), err=True)


def _open_source(stack: ExitStack, device: str, wanted: CaptureFormat, *, realtime: bool) -> Source:
    from .sources import PacedSource, open_source

    source = stack.enter_context(open_source(device, wanted, notify=lambda line: _say(f"source: {line}")))
    if realtime:
        source = stack.enter_context(PacedSource(source))
    _say(f"source: {source.description}")
    return source


def _decided_by(contract: ModelContract, **options: float | None) -> ModelContract:
    """Return the contract with the numbers of its decision that were given as options.

    Raises:
        UsageError: they do not fit each other.
    """
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    enter, leave = (given.get(name, getattr(contract.decision, name)) for name in ("enter", "exit"))
    if leave > enter:
        bundles = "" if {"enter", "exit"} <= set(given) else "; what is not given is the bundle's"
        raise click.UsageError(
            f"expected --exit of at most --enter, received {leave:g} and {enter:g}{bundles}; "
            "give for example --enter 0.8 --exit 0.5"
        )
    return replace(contract, decision=replace(contract.decision, **given))


def _report_backend(classifier: PlaneClassifier, *, verbose: bool) -> None:
    """Say what runs the model, and why nothing faster does, where asked or where there is a GPU for it.

    A model that may never show a label is warned of.
    """
    from .backends.choice import has_nvidia_gpu
    from .decisions.decider import why_nothing_is_shown

    _say(f"backend: {classifier.backend_choice}")
    refusals = classifier.backend_refusals
    if not verbose:  # the driver is asked only where there is something to say
        refusals = refusals[:1] if refusals and has_nvidia_gpu() else ()
    for refusal in refusals:
        _say(f"backend: {refusal}")
    if doubt := why_nothing_is_shown(classifier.contract.decision):
        _say(f"{doubt}; train it longer, or lower that with --enter")


def _report_sector(region: Region | None, width: int, height: int) -> None:
    found = f"{region} of {width}x{height}" if region else f"none found, the model sees all of {width}x{height}"
    _say(f"sector: {found}")


def _open_device_check(directory: Path) -> DeviceSink | None:
    """Return what compares the stream's pictures with those of training; None where the bundle knows none."""
    from .bundle.directory import Bundle
    from .decisions.device_check import read_device_statistics
    from .sinks import DeviceSink

    known = read_device_statistics(Bundle.open(directory))
    return None if known is None else DeviceSink(known, _say)


def _summarise(statistics: StreamStatistics, device_check: DeviceSink | None, *, live: bool) -> None:
    say(statistics.summary().describe(live=live).splitlines())
    if device_check is not None and statistics.frames:
        say(device_check.describe().splitlines())


def _open_dashboard(
    address: Address,
    source: Source,
    classifier: PlaneClassifier,
    statistics: StreamStatistics,
    device_check: DeviceSink | None,
) -> DashboardSink:
    from .sinks.dashboard import About, DashboardSink

    about = About(source.description, source.live, classifier.backend_choice, classifier.contract.labels)
    token = os.environ.pop("METFA_TOKEN", None) or None  # no program that this one starts is to know it
    dashboard = DashboardSink(address, about, statistics, device=device_check, token=token)
    _say(f"dashboard: {dashboard.url}{'?token=… of your METFA_TOKEN' if token else ''}")
    return dashboard


def _open_window(title: str, labels: Sequence[str], *, required: bool | None) -> WindowSink | None:
    """Open a window; where that is impossible and nobody asked for one, say why and return None."""
    from .sinks import WindowSink

    try:
        return WindowSink(title, labels)
    except OutputError as error:
        if required:
            raise
        _say(f"window: none ({error.received})")
        return None
