"""What of a stream goes to programs of others, while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ..openigtlink.address import PeerAddress
    from ..sinks import Sink
    from ..sources import Source
    from .devices import Device
    from .options import StreamOptions


def open_connections(
    options: StreamOptions, device: Device, source: Source, labels: Sequence[str], say: Callable[[str], object]
) -> Iterator[Sink]:
    """Open each connection that the user asks for, and yield its sink. That the other side is away is no error.

    Args:
        options: of the command.
        device: whose stream it is.
        source: the same, open.
        labels: the class names.
        say: tells the user a line.

    Raises:
        OutputError: it cannot be opened, whatever the other side does.
    """
    if options.igtl is not None:
        yield _open_igtl(options.igtl, device, say, images=options.igtl_images)


def _open_igtl(address: PeerAddress, device: Device, say: Callable[[str], object], *, images: bool) -> Sink:
    from ..sinks.openigtlink import OpenIGTLinkSink

    if address.listens and device.name:
        raise OutputError(
            expected="a single source with --igtl listen:…",
            received="several, which cannot share the address",
            remedy="let --igtl connect to HOST:PORT, or start a stream for each source",
        )
    return OpenIGTLinkSink(address, device.name, images=images, notify=lambda line: say(f"OpenIGTLink: {line}"))
