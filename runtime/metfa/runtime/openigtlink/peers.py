"""Who takes what metfa sends: a peer that it connects to, or those that connect to it. They come and go."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from functools import partial
from typing import TYPE_CHECKING

from ..address import Address, listen_on
from .channel import Channel, ChannelError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .address import PeerAddress

_CONNECT_SECONDS = 0.5  # that an attempt may take, as events wait meanwhile
_PAUSE_SECONDS = 2.0  # between two attempts to connect
_SEND_SECONDS = 2.0  # that the peers may take for a message
_MAX_PEERS = 8  # that may connect


def open_peers(address: PeerAddress, notify: Callable[[str], object]) -> Peers:
    """Return the peers that ``address`` names; that they are away is no error.

    Raises:
        OutputError: metfa cannot listen there.
    """
    return ListeningPeers(address.address, notify) if address.listens else ConnectedPeer(address.address, notify)


class Peers(ABC):
    """Who gets messages. For one thread.

    Args:
        notify: told in a line when a peer is there, and when it is away.
    """

    def __init__(self, notify: Callable[[str], object]) -> None:
        self._notify = notify
        self._channels: dict[str, Channel] = {}

    def tend(self) -> None:
        """Find out who is there; what they send is dropped. To be called many times a second."""
        self._find()
        for name, channel in list(self._channels.items()):
            self._keep(name, channel.drop_received)

    def send(self, message: bytes) -> bool:
        """Send a message to everybody who is there; return whether somebody took it."""
        self.tend()
        deadline = time.monotonic() + _SEND_SECONDS
        for name, channel in list(self._channels.items()):
            self._keep(name, partial(channel.send, message, deadline))
        return bool(self._channels)

    def close(self) -> None:
        """Let go of them."""
        for channel in self._channels.values():
            channel.close()
        self._channels.clear()

    @abstractmethod
    def _find(self) -> None:
        """Add the channel of who has come; do not wait for long."""

    def _add(self, name: str, channel: Channel) -> None:
        self._channels[name] = channel
        self._notify(f"{name} is there")

    def _keep(self, name: str, use: Callable[[], None]) -> None:
        """Use a channel; where the peer is lost, do without it from now on."""
        try:
            use()
        except ChannelError as reason:
            self._lose(name, reason)

    def _lose(self, name: str, reason: ChannelError) -> None:
        self._channels.pop(name).close()
        self._notify(f"{name} is away: {reason}")


class ConnectedPeer(Peers):
    """A peer that listens on an address, such as 3D Slicer; metfa connects again whenever it is lost."""

    def __init__(self, address: Address, notify: Callable[[str], object]) -> None:
        super().__init__(notify)
        self._address = address
        self._next_attempt = 0.0
        self._is_known_to_be_away = False

    def _find(self) -> None:
        if self._channels or time.monotonic() < self._next_attempt:
            return
        try:
            self._add(str(self._address), Channel.connect(self._address, _CONNECT_SECONDS))
            self._is_known_to_be_away = False
        except ChannelError as reason:
            if not self._is_known_to_be_away:
                self._notify(f"{self._address} is away: {reason}")
            self._is_known_to_be_away = True
        self._next_attempt = time.monotonic() + _PAUSE_SECONDS

    def _lose(self, name: str, reason: ChannelError) -> None:
        super()._lose(name, reason)
        self._is_known_to_be_away = True
        self._next_attempt = time.monotonic() + _PAUSE_SECONDS


class ListeningPeers(Peers):
    """Those that connect to an address of this machine, where metfa listens.

    Raises:
        OutputError: the address is none of this machine's, or in use.
    """

    def __init__(self, address: Address, notify: Callable[[str], object]) -> None:
        super().__init__(notify)
        self._listening = listen_on(
            address,
            purpose=f"listen on {address} for OpenIGTLink",
            remedy="give --igtl an address of this machine and a port that is free, such as listen:127.0.0.1:18944",
        )
        self._listening.setblocking(False)
        notify(f"listens on {Address(*self._listening.getsockname()[:2])}")

    def close(self) -> None:
        """Listen no more, and let go of who is there."""
        self._listening.close()
        super().close()

    def _find(self) -> None:
        try:
            connection, (host, port, *_) = self._listening.accept()
        except OSError:  # nobody has come, or is gone again
            return
        if len(self._channels) < _MAX_PEERS:
            self._add(str(Address(host, port)), Channel(connection))
        else:
            connection.close()
