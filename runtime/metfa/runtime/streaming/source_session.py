"""One source of ``metfa-stream``: its stream, its files, and what the user is told of it."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from ..bundle.directory import SCANNERS
from ..command import say
from ..errors import BundleError, OutputError
from ..plugins import call, load, names_in
from ..sinks import CollectionSink, ScannerSink, StatusLineSink, WindowSink
from ..text import printable
from .connections import open_connections
from .summary import StreamStatistics

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..bundle.contract import Region
    from ..decisions.scanner_check import ScannerStatistics
    from ..frame import ModelIdentity
    from ..sinks import Sink, StatusLine
    from ..sinks.dashboard import Board
    from ..sources import Source
    from .devices import Device
    from .exchange import ExchangeableClassifier
    from .options import StreamOptions


class SourceSession:
    """A source that is streamed.

    Args:
        device: as the user names it.
        source: open.
        classifier: of this source alone.
        scanners: what the bundle knows of the scanners of training; None where it knows nothing.
        options: of the command.

    Attributes:
        device: as above.
        source: as above.
        classifier: as above.
        statistics: of its stream.
        board: what the dashboard shows of it, where there is one.
    """

    def __init__(
        self,
        device: Device,
        source: Source,
        classifier: ExchangeableClassifier,
        scanners: ScannerStatistics | None,
        options: StreamOptions,
    ) -> None:
        self.device = device
        self.source = source
        self.classifier = classifier
        self.statistics = StreamStatistics()
        self.board: Board | None = None
        self._options = options
        # What compares the pictures with those of training; None where the bundle knows none.
        self._scanner_check = None if scanners is None else ScannerSink(scanners, self.say)
        self._collection: CollectionSink | None = None
        classifier.current.sector.report = self._report_sector

    def say(self, line: str) -> None:
        """Tell the user what happens, after the name of the source where there are several."""
        tell(f"{self.device.name}: {line}" if self.device.name else line)

    def expect(self, model: ModelIdentity, scanners: ScannerStatistics | None) -> None:
        """Compare the pictures with what the bundle of another model knows, from its first frame on; from any thread.

        Raises:
            BundleError: the scanner check would begin or end with that.
        """
        if (self._scanner_check is None) != (scanners is None):
            raise BundleError(
                expected=f"a bundle {'without' if scanners else 'with'} {SCANNERS}, as the one that serves",
                received=f"one {'with' if scanners else 'without'} it",
                remedy="restart the stream",
            )
        if self._scanner_check is not None and scanners is not None:
            self._scanner_check.expect(model, scanners)

    def show_on_board(self) -> Board:
        """Return what a dashboard shows of this source from now on."""
        from ..sinks.dashboard import About, Board

        serving = self.classifier.current
        about = About(
            self.source.description, self.source.live, str(serving.identity), serving.contract.labels, self.device.name
        )
        self.board = Board(about, self.statistics, self._scanner_check)
        return self.board

    def open_sinks(self, dashboard: Sink | None, line: StatusLine) -> Iterator[Sink]:
        """Open each sink that the user asks for, and yield it.

        Args:
            dashboard: of this source.
            line: on the terminal.

        Raises:
            OutputError: it cannot be opened.
            PluginError: nor can that of another package.
        """
        options, name, labels = self._options, self.device.name, self.classifier.current.contract.labels
        if dashboard is not None:
            yield dashboard
        yield from options.files.of(self.device).open(self.source, labels)
        yield from open_connections(options, self.device, self.source, self.say)
        for added, value in options.added:
            yield _open_added(added, value, self.source, labels)
        if sys.stderr.isatty():
            yield StatusLineSink(line, name)
        if options.collect is not None:
            directory = options.collect / self.device.file_name
            self._collection = CollectionSink(directory, options.collect_limit)
            yield self._collection
        if self._scanner_check is not None:
            yield self._scanner_check
        if options.window is not False:
            yield from self._open_window(labels)

    def fail(self, error: Exception) -> None:
        """Tell what ended the stream, while others go on."""
        self.say(f"ended: {error}")
        if self.board is not None:
            self.board.fail(str(error))

    def summarise(self) -> None:
        """Print what the stream amounts to."""
        lines = self.statistics.summary().describe(live=self.source.live).splitlines()
        if self._scanner_check is not None and self.statistics.frames:
            lines.append(self._scanner_check.describe())
        if self.device.name:
            lines = [f"{self.device.name}:", *(f"  {line}" for line in lines)]
        say(lines)

    def tell_of_collection(self) -> None:
        """Print how to train on what was collected, if something was to be."""
        options = self._options
        if self._collection is None or options.collect is None:
            return
        directory = options.collect / self.device.file_name
        roi = self.classifier.current.contract.input.region if options.region == "contract" else options.region
        say(
            [
                f"collection: {len(self._collection)} frames; "
                f"metfa-train --target {directory} --target-roi {roi or 'full'}"
            ]
        )

    def _report_sector(self, region: Region | None, width: int, height: int) -> None:
        found = f"{region} of {width}x{height}" if region else f"none found, the model sees all of {width}x{height}"
        self.say(f"sector: {found}")

    def _open_window(self, labels: Sequence[str]) -> Iterator[WindowSink]:
        """Yield a window; where that is impossible and nobody asked for one, say why."""
        try:
            yield WindowSink(self.device.name or self.device.spec, labels)
        except OutputError as error:
            if self._options.window:
                raise
            self.say(f"window: none ({error.received})")


def tell(line: str) -> None:
    """Print a line on stderr."""
    with suppress(OSError):  # a terminal that is gone must not keep the stream or its files from going on
        click.echo(printable(line), err=True)


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
