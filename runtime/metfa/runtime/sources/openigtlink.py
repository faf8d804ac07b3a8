"""Images of a server that speaks OpenIGTLink, such as PLUS, 3D Slicer or a scanner."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

from ..errors import SourceError
from ..openigtlink.address import DeviceAddress
from ..openigtlink.channel import Channel, ChannelError, ChecksumError, SilenceError
from ..openigtlink.images import GreyLevels, read_pixels
from ..openigtlink.messages import MalformedError, content_of
from .live import Captured, LiveSource, LostError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..openigtlink.messages import Header
    from .base import Notify

_CONNECT_SECONDS = 4.0
_FIRST_SECONDS = 5.0  # that the first image may take
_READ_SECONDS = 2.0  # the same of each further one
_RATE = 30.0  # frames per second; messages do not tell
_MAX_DAMAGED = 3  # images in succession; one is no reason to connect again
_MAX_OTHERS = 20  # messages that are told of where no image comes
_MAX_DELAY_SECONDS = 2.5  # with which an image can come: one that is later has another clock
_DRIFT = 1e-3  # seconds per second by which two clocks may run apart


def open_device(url: str, notify: Notify) -> LiveSource:
    """Open the images that a server sends: ``igtl://HOST[:PORT][/DEVICE]``.

    Raises:
        SourceError: the URL is spelt in another way, nobody answers, or no such images come.
    """
    try:
        address = DeviceAddress.parse(url)
    except ValueError:
        raise SourceError(
            expected="a URL such as igtl://127.0.0.1:18944/Image_Reference, its port and device optional",
            received=repr(url),
            remedy="correct --device",
        ) from None
    device: str | None = None  # of the last connection

    def connect() -> _DeviceConnection:
        nonlocal device
        connection = _DeviceConnection(address, notify)
        if device not in {None, connection.device}:
            notify(f"warning: the images are those of {connection.device!r} now; before, they were of {device!r}")
        device = connection.device
        return connection

    return LiveSource(str(address), connect, notify)


class _DeviceConnection:
    """The images of one device of a server; see :class:`~metfa.runtime.sources.live.Connection`.

    Attributes:
        device: whose images they are; the first names it, where the user does not.
    """

    rate = _RATE

    def __init__(self, address: DeviceAddress, notify: Notify) -> None:
        self.device = address.device
        self._notify = notify
        self._to_grey = GreyLevels()
        self._clock = SenderClock()
        self._damaged = 0  # images in succession
        self._has_warned = False
        try:
            self._channel = Channel.connect(address.server, _CONNECT_SECONDS)
        except ChannelError as reason:
            raise _no_images(
                address, str(reason), "start the server, such as PlusServer, or correct the host or the port"
            ) from None
        try:
            self._first: Captured | None = self._receive(_FIRST_SECONDS)
        except LostError as reason:
            self._channel.close()
            raise _no_images(
                address, str(reason), "name a device that sends IMAGE messages, and sends them without being asked"
            ) from None
        except BaseException:
            self._channel.close()
            raise
        height, width = self._first.image.shape[:2]
        self.description = f"OpenIGTLink images of {address.server}/{self.device}, {width}x{height} pixels"

    def read(self) -> Captured:
        """Wait for the next image.

        Raises:
            LostError: the server is gone, silent, or sends what is no image.
        """
        first, self._first = self._first, None
        return first or self._receive(_READ_SECONDS)

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def _receive(self, seconds: float) -> Captured:
        """Return the next image of the device, which the first image names where the user does not."""
        deadline = time.monotonic() + seconds
        others: deque[str] = deque(maxlen=_MAX_OTHERS)
        try:
            while time.monotonic() < deadline:
                header = self._channel.receive_header(deadline)
                arrived_at = time.monotonic()  # so that the age counts what it takes to receive and check the rest
                if header.type == "IMAGE" and self.device in {None, header.device}:
                    image = self._read_image(header, deadline, others)
                    if image is not None:
                        self.device = header.device
                        return Captured(image, self._clock.place(header.timestamp, arrived_at))
                else:
                    others.append(f"{header.type} of {header.device!r}")
                    self._channel.skip_body(header, deadline)
        except SilenceError:
            pass
        except (ChannelError, MalformedError) as reason:
            raise LostError(str(reason)) from None
        came = f", only {', '.join(dict.fromkeys(others))}" if others else ""
        raise LostError(f"no image for {seconds:g} s{came}")

    def _read_image(self, header: Header, deadline: float, others: deque[str]) -> NDArray[np.uint8] | None:
        """Return the image of a message; None where it is damaged or no image of one slice, which is noted."""
        try:
            body = self._channel.receive_body(header, deadline)
            image = self._to_grey(read_pixels(content_of(header, body)))
        except ChecksumError:
            self._damaged += 1
            if self._damaged == _MAX_DAMAGED:
                raise LostError(f"the checksums of {_MAX_DAMAGED} images in succession are wrong") from None
            if not self._has_warned:
                self._notify("warning: an image was left out, as its checksum is wrong; so are others like it")
            self._has_warned = True
            return None
        except MalformedError as reason:
            others.append(f"IMAGE of {header.device!r} ({reason})")
            return None
        self._damaged = 0
        return image


class SenderClock:
    """Brings a sender's timestamps to the clock of this machine.

    The two clocks need not agree. The quickest image counts as captured when it came, and others by how much later
    they were. So their intervals are the sender's, and their age tells of what waited on the way.
    """

    def __init__(self) -> None:
        self._timestamp = 0.0  # of the last image
        self._received_at = 0.0
        self._least: float | None = None  # difference of the clocks, and the delay of the quickest image

    def place(self, timestamp: float, received_at: float) -> float:
        """Return when an image was captured, in seconds on the monotonic clock: never after it came, nor going back.

        Args:
            timestamp: of its header, in seconds since any time; one that does not grow says nothing.
            received_at: when it came, on the monotonic clock.
        """
        delay = received_at - timestamp
        if timestamp <= self._timestamp or self._least is None or delay > self._least + _MAX_DELAY_SECONDS:
            self._least = delay
        else:
            self._least = min(delay, self._least + _DRIFT * (received_at - self._received_at))
        self._timestamp, self._received_at = timestamp, received_at
        return received_at - (delay - self._least)


def _no_images(address: DeviceAddress, received: str, remedy: str) -> SourceError:
    return SourceError(expected=f"OpenIGTLink images of {address}", received=received, remedy=remedy)
