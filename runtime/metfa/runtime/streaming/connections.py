"""The programs of others that a stream is given to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..sinks import Sink
    from .devices import Device
    from .options import StreamOptions


def open_connections(options: StreamOptions, device: Device, say: Callable[[str], object]) -> Iterator[Sink]:
    """Open the connection to each program that the options name, and yield its sink.

    Args:
        options: of the command.
        device: what is streamed; of several sources, each has connections of its own.
        say: told in a line how a connection is doing; from any thread.

    Raises:
        OutputError: metfa cannot listen where it should.
    """
    if options.mqtt is not None:
        from ..sinks.mqtt import MqttSink

        yield MqttSink(options.mqtt.of(device.file_name), say)
    if options.igtl is not None:
        from ..sinks.openigtlink import OpenIGTLinkSink

        if options.igtl.listens and device.name:
            raise OutputError(
                expected="a single source with --igtl listen:…",
                received="several, which cannot share the address",
                remedy="let --igtl connect to HOST:PORT, or start a stream for each source",
            )
        yield OpenIGTLinkSink(options.igtl, device.name, say, images=options.igtl_images)
