"""What ``metfa-stream`` does: open what its options name, run the stream, and say what came of it."""

from __future__ import annotations

import math
import os
import sys
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import click
import cv2

from ..backends.choice import has_nvidia_gpu
from ..bundle.directory import Bundle
from ..classifier import PlaneClassifier
from ..command import Interruption, say
from ..decisions.decider import why_nothing_is_shown
from ..decisions.scanner_check import read_scanner_statistics
from ..errors import MetfaError, OutputError
from ..plugins import call, load, names_in
from ..sinks import CollectionSink, ScannerSink, StatusLineSink, WindowSink
from ..sources import CaptureFormat, PacedSource, open_source
from ..text import printable
from .outputs import OutputFiles
from .run import run_stream
from .summary import StreamStatistics

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ..backends.choice import Precision
    from ..bundle.contract import ModelContract, Region, Roi
    from ..sinks import CollectionLimit, Sink
    from ..sinks.dashboard import Address, DashboardSink
    from ..sources import Source


class StreamOptions(NamedTuple):
    """The options of ``metfa-stream``, which says what each means."""

    device: str
    size: tuple[int, int] | None
    rate: float | None
    pixels: str | None
    bundle: Path
    region: Roi | Literal["contract"]
    backend: str
    precision: Precision | Literal["auto"]
    enter: float | None
    leave: float | None
    dwell: float | None
    rebuild: bool
    output: Path | None
    events: Path | None
    table: Path | None
    snapshots: Path | None
    collect: Path | None
    collect_limit: CollectionLimit
    window: bool | None
    serve: Address | None
    added: tuple[tuple[str, str], ...]
    realtime: bool
    overwrite: bool
    verbose: bool
    limit: int | None
    seconds: float | None


def run_session(options: StreamOptions) -> None:
    """Stream as the options say, with everything that the user is told. For the main thread.

    Raises:
        MetfaError: what opening the bundle, the source or a sink, and :func:`~.run.run_stream`, raise.
    """
    _keep_opencv_to_one_thread()
    files = OutputFiles(options.output, options.events, options.table, options.snapshots)
    files.refuse_to_overwrite(options.device, overwrite=options.overwrite)
    statistics = StreamStatistics()
    scanner_check: ScannerSink | None = None
    collection: CollectionSink | None = None

    def open_sinks() -> Iterator[Sink]:
        nonlocal collection
        labels = classifier.contract.labels
        if options.serve is not None:
            yield _open_dashboard(options.serve, source, classifier, statistics, scanner_check)
        yield from files.open(source, labels)
        for name, value in options.added:
            yield _open_added(name, value, source, labels)
        if sys.stderr.isatty():
            yield StatusLineSink()
        if options.collect is not None:
            collection = CollectionSink(options.collect, options.collect_limit)
            yield collection
        if scanner_check is not None:
            yield scanner_check
        if options.window is not False:
            yield from _open_window(options.device, labels, required=options.window)

    try:
        with ExitStack() as stack:
            classifier = _load_classifier(options)
            source = stack.enter_context(_open_source(options))
            if options.realtime:
                source = stack.enter_context(PacedSource(source))
            _say(f"source: {source.description}")
            # Up to here nothing was done that a signal could not simply end.
            interruption = stack.enter_context(Interruption())
            scanner_check = _open_scanner_check(options.bundle)
            run_stream(
                source,
                classifier,
                open_sinks(),
                interruption,
                statistics=statistics,
                limit=options.limit,
                seconds=math.inf if options.seconds is None else options.seconds,
                notify=_say,
            )
    except MetfaError:
        if statistics.frames:
            _summarise(statistics, scanner_check, live=source.live)
        raise
    _summarise(statistics, scanner_check, live=source.live)
    if collection is not None:
        roi = classifier.contract.input.region if options.region == "contract" else options.region
        _tell_of_collection(collection, options.collect, roi)


def _load_classifier(options: StreamOptions) -> PlaneClassifier:
    classifier = PlaneClassifier.load(
        options.bundle,
        backend=None if options.backend == "auto" else options.backend,
        precision=None if options.precision == "auto" else options.precision,
        region=options.region,
        rebuild=options.rebuild,
        notify=lambda line: _say(f"backend: {line}"),
    )
    classifier.contract = _decided_by(
        classifier.contract, enter=options.enter, exit=options.leave, dwell_ms=options.dwell
    )
    classifier.sector.report = _report_sector
    _report_backend(classifier, verbose=options.verbose)
    return classifier


def _open_source(options: StreamOptions) -> Source:
    wanted = CaptureFormat(options.size, options.rate, options.pixels)
    return open_source(options.device, wanted, notify=lambda line: _say(f"source: {line}"))


def _open_added(name: str, value: str, source: Source, labels: Sequence[str]) -> Sink:
    """Open the sink that an installed package adds under a name."""
    opens = load("metfa.sinks", name)
    if opens is None:
        raise OutputError(
            expected=f"a sink that an installed package adds ({', '.join(names_in('metfa.sinks')) or 'there is none'})",
            received=repr(name),
            remedy="correct --sink, or install the package that adds it",
        )
    sink: Sink = call("metfa.sinks", name, opens, value, source, labels)
    return sink


def _keep_opencv_to_one_thread() -> None:
    """Leave the cores to inference: a frame is so small that waking more threads costs more than they save."""
    cv2.setNumThreads(1)


def _tell_of_collection(collection: CollectionSink, directory: Path | None, roi: Roi) -> None:
    say([f"collection: {len(collection)} frames; metfa-train --target {directory} --target-roi {roi or 'full'}"])


def _say(line: str) -> None:
    with suppress(OSError):  # a terminal that is gone must not keep the stream or its files from going on
        click.echo(printable(line), err=True)


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


def _open_scanner_check(directory: Path) -> ScannerSink | None:
    """Return what compares the stream's pictures with those of training; None where the bundle knows none."""
    known = read_scanner_statistics(Bundle.open(directory))
    return None if known is None else ScannerSink(known, _say)


def _summarise(statistics: StreamStatistics, scanner_check: ScannerSink | None, *, live: bool) -> None:
    say(statistics.summary().describe(live=live).splitlines())
    if scanner_check is not None and statistics.frames:
        say(scanner_check.describe().splitlines())


def _open_dashboard(
    address: Address,
    source: Source,
    classifier: PlaneClassifier,
    statistics: StreamStatistics,
    scanner_check: ScannerSink | None,
) -> DashboardSink:
    from ..sinks.dashboard import About, DashboardSink

    about = About(source.description, source.live, classifier.backend_choice, classifier.contract.labels)
    token = os.environ.pop("METFA_TOKEN", None) or None  # no program that this one starts is to know it
    dashboard = DashboardSink(address, about, statistics, scanner=scanner_check, token=token)
    _say(f"dashboard: {dashboard.url}{'?token=… of your METFA_TOKEN' if token else ''}")
    return dashboard


def _open_window(title: str, labels: Sequence[str], *, required: bool | None) -> Iterator[WindowSink]:
    """Yield a window; where that is impossible and nobody asked for one, say why."""
    try:
        yield WindowSink(title, labels)
    except OutputError as error:
        if required:
            raise
        _say(f"window: none ({error.received})")
