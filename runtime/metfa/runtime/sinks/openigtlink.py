"""Events for programs that speak OpenIGTLink, such as 3D Slicer."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from ..openigtlink.images import image_content
from ..openigtlink.messages import MAX_DEVICE_LENGTH, pack, string_content
from ..openigtlink.peers import open_peers
from .base import Sink
from .events import event_record

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..frame import Observation, PlaneEvent
    from ..openigtlink.address import PeerAddress

_DEVICE = "metfa"  # where there is only one source
_IMAGE_SUFFIX = "_image"


class OpenIGTLinkSink(Sink):
    """A STRING message for each event, and where that is wanted an IMAGE of its best frame.

    The text is the event's line of :class:`~metfa.runtime.sinks.events.JsonLinesSink`, in ASCII. The image has the time
    of its frame, and a device name of its own, as some peers keep one message of each. What nobody is there to take is
    not kept.

    Args:
        address: of who takes them, or where metfa listens for who does.
        device: the device name of the texts; that of the images ends with ``_image``.
        say: told in a line when a peer is there or away, and in the end how many events were sent.
        images: whether the best frames are sent.

    Raises:
        OutputError: metfa cannot listen there.
    """

    name = "igtl"

    def __init__(self, address: PeerAddress, device: str, say: Callable[[str], object], *, images: bool) -> None:
        self._device, self._images = device or _DEVICE, images
        self._sent = self._missed = 0
        self._epoch = time.time() - time.monotonic()
        self._closed = False
        self._say = say
        self._peers = open_peers(address, lambda line: say(f"igtl: {line}"))
        self._peers.tend()

    def write(self, observation: Observation) -> None:
        """Nothing is sent of observations; they are the clock by which peers are looked after."""
        self._peers.tend()

    def write_event(self, event: PlaneEvent) -> None:
        """Send the event to who is there."""
        text = string_content(json.dumps({"type": "event", **event_record(event)}))
        message = pack("STRING", self._device, time.time(), text)
        if self._images:
            captured = self._epoch + event.best.captured_at
            device = self._device[: MAX_DEVICE_LENGTH - len(_IMAGE_SUFFIX)] + _IMAGE_SUFFIX
            message += pack("IMAGE", device, captured, image_content(event.best.image))
        if self._peers.send(message):
            self._sent += 1
        else:
            self._missed += 1

    def close(self) -> None:
        """Let go of the peers, and tell what they got."""
        if self._closed:
            return
        self._closed = True
        self._peers.close()
        self._say(f"igtl: events sent: {self._sent}; missed, as nobody was there: {self._missed}")
