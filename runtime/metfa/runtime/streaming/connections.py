"""The programs of others that a stream is given to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..command import require_extra
from ..errors import OutputError
from .devices import all_devices

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..sinks import Sink
    from ..sources import Source
    from .devices import Device
    from .options import StreamOptions


def open_connections(
    options: StreamOptions, device: Device, source: Source, say: Callable[[str], object]
) -> Iterator[Sink]:
    """Open the connection to each program that the options name, and yield its sink.

    Args:
        options: of the command.
        device: what is streamed; of several sources, each has connections of its own.
        source: the same, open.
        say: told in a line how a connection is doing; from any thread.

    Raises:
        MissingExtraError: a package is missing that a connection needs.
        OutputError: a connection cannot be opened.
        SourceError: the file of ``--dicom-study`` cannot be read.
        UsageError: options do not fit each other.
    """
    if options.mqtt is not None:
        from ..sinks.mqtt import MqttSink

        yield MqttSink(options.mqtt.of(device.file_name), say)
    if options.dicom is not None or options.dicom_study is not None:
        yield _open_dicom(options, device, source, say)
    if options.igtl is not None or options.igtl_images:
        yield _open_igtl(options, device, say)


def _open_dicom(options: StreamOptions, device: Device, source: Source, say: Callable[[str], object]) -> Sink:
    if options.dicom is None:
        raise click.UsageError("expected --dicom with --dicom-study, received the latter alone; add --dicom")
    if options.dicom_study is not None and _of_several(options):
        raise click.UsageError(
            "expected one --device with --dicom-study, received several; start a stream for each patient"
        )
    require_extra("pacs", "pydicom", "highdicom", "pynetdicom")
    from ..sinks.dicom import DicomFilesSink, DicomStoreSink, Documents
    from ..sources.dicom import read_study

    study = None if options.dicom_study is None else read_study(options.dicom_study)

    def tell(line: str) -> None:
        say(f"dicom: {line}")

    documents = Documents(live=source.live, study=study, say=tell)
    if isinstance(options.dicom, Path):
        return DicomFilesSink(options.dicom / device.file_name, documents)
    return DicomStoreSink(options.dicom, documents, tell)


def _open_igtl(options: StreamOptions, device: Device, say: Callable[[str], object]) -> Sink:
    if options.igtl is None:
        raise click.UsageError("expected --igtl with --igtl-images, received the latter alone; add --igtl")
    if options.igtl.listens and _of_several(options):
        raise OutputError(
            expected="a single source with --igtl listen:…",
            received="several, which cannot share the address",
            remedy="let --igtl connect to HOST:PORT, or start a stream for each source",
        )
    from ..sinks.openigtlink import OpenIGTLinkSink

    return OpenIGTLinkSink(options.igtl, device.name, say, images=options.igtl_images)


def _of_several(options: StreamOptions) -> bool:
    """Return whether several sources are streamed; a single one may have a name, too."""
    return len(all_devices(options.device, options.devices)) > 1
