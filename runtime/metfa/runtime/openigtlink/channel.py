"""A connection to a peer, in which nothing is believed and nothing takes for ever."""

from __future__ import annotations

import socket
import sys
import time
from typing import TYPE_CHECKING

import numpy as np

from .checksum import crc64
from .messages import HEADER_BYTES, Header

if TYPE_CHECKING:
    from ..address import Address

MAX_BODY_BYTES = 64 << 20
"""A message that announces more is refused before anything is reserved for it: an image of 4096x4096 in RGB fits."""

_BLOCK = 1 << 16  # bytes of what is skipped
_MAX_DROPPED_BLOCKS = 64  # at a time
_UNACKNOWLEDGED_MS = 5000  # after which a peer that is switched off, or cut off, is gone


class ChannelError(Exception):
    """The peer is lost; says why, in words that fit behind a colon."""


class SilenceError(ChannelError):
    """Nothing came."""


class ChecksumError(Exception):
    """A body is not what its sender sent."""


class Channel:
    """Messages to and from a peer; for one thread.

    Args:
        connection: connected; it is closed with this.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if sys.platform == "linux":  # others notice it later
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED_MS)
        self._skipped = memoryview(bytearray(_BLOCK))

    @classmethod
    def connect(cls, address: Address, seconds: float) -> Channel:
        """Connect to who listens on ``address``.

        Raises:
            ChannelError: nobody does, or not within so many seconds.
        """
        try:
            return cls(socket.create_connection(address, seconds))
        except TimeoutError:
            raise ChannelError(f"no answer within {seconds:g} s") from None
        except (OSError, UnicodeError) as cause:  # of a name that cannot be one
            raise ChannelError(_reason(cause)) from None

    def receive_header(self, deadline: float) -> Header:
        """Wait for the next message.

        Args:
            deadline: until when, on the monotonic clock.

        Raises:
            SilenceError: none has begun by then.
            ChannelError: the peer is gone, stopped in the middle, or announces a body that is too long.
            MalformedError: what comes is no message.
        """
        data = bytearray(HEADER_BYTES)
        view = memoryview(data)
        begun = self._receive_some(view, deadline)
        if not begun:
            raise SilenceError("nothing came")
        self._receive(view[begun:], deadline)
        header = Header.unpack(data)
        if header.body_bytes > MAX_BODY_BYTES:
            raise ChannelError(
                f"a message of {header.body_bytes} bytes is announced, and at most {MAX_BODY_BYTES} are taken"
            )
        return header

    def receive_body(self, header: Header, deadline: float) -> memoryview:
        """Return the body that follows ``header``.

        Raises:
            ChecksumError: it has another checksum; the next message can be received.
            ChannelError: the peer is gone, or stopped in the middle.
        """
        body = np.empty(header.body_bytes, np.uint8).data
        self._receive(body, deadline)
        if crc64(body) != header.checksum:
            raise ChecksumError
        return body

    def skip_body(self, header: Header, deadline: float) -> None:
        """Let the body that follows ``header`` pass.

        Raises:
            ChannelError: the peer is gone, or stopped in the middle.
        """
        left = header.body_bytes
        while left:
            part = self._skipped[: min(left, _BLOCK)]
            self._receive(part, deadline)
            left -= len(part)

    def send(self, message: bytes, deadline: float) -> None:
        """Send a whole message.

        Raises:
            ChannelError: the peer is gone, or does not take it in time; it may have got a part of it.
        """
        left = memoryview(message)
        try:
            while left:
                self._socket.settimeout(max(deadline - time.monotonic(), 0))
                left = left[self._socket.send(left) :]
        except (TimeoutError, BlockingIOError):
            raise ChannelError("it does not take what is sent") from None
        except OSError as cause:
            raise ChannelError(_reason(cause)) from None

    def drop_received(self) -> None:
        """Let pass what the peer has sent, without waiting for more.

        Raises:
            ChannelError: the peer is gone.
        """
        for _ in range(_MAX_DROPPED_BLOCKS):  # who never stops must not hold up the rest
            if not self._receive_some(self._skipped, deadline=0):
                return

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _receive(self, space: memoryview, deadline: float) -> None:
        """Fill ``space``."""
        while space:
            number = self._receive_some(space, deadline)
            if not number:
                raise ChannelError("it stopped in the middle of a message")
            space = space[number:]

    def _receive_some(self, space: memoryview, deadline: float) -> int:
        """Return how many bytes were put into ``space``, at least one, or 0 where none come in time."""
        try:
            self._socket.settimeout(max(deadline - time.monotonic(), 0))
            number = self._socket.recv_into(space)
        except BlockingIOError:
            return 0
        except OSError as cause:
            if isinstance(cause, TimeoutError) and cause.errno is None:  # the deadline; the system's has a number
                return 0
            raise ChannelError(_reason(cause)) from None
        if not number:
            raise ChannelError("it closed the connection")
        return number


def _reason(cause: Exception) -> str:
    return (getattr(cause, "strerror", None) or str(cause)).lower()
