"""The programs of others that a stream is given to."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    """
    if options.mqtt is not None:
        from ..sinks.mqtt import MqttSink

        yield MqttSink(options.mqtt.of(device.file_name), say)
