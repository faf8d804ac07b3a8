"""How the user names a peer."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote, unquote

from ..address import Address

SCHEME = "igtl://"
DEFAULT_PORT = 18944
"""What PLUS and 3D Slicer offer by default."""

_LISTEN = "listen:"


class DeviceAddress(NamedTuple):
    """Whose images are wanted: ``igtl://HOST[:PORT][/DEVICE]``.

    Attributes:
        server: who sends them.
        device: the name in the messages; None for that of the first image.
    """

    server: Address
    device: str | None = None

    @classmethod
    def parse(cls, url: str) -> DeviceAddress:
        """Take a URL apart.

        Raises:
            ValueError: it is not spelt so.
        """
        if not url.lower().startswith(SCHEME):
            raise ValueError(url)
        server, _, device = url[len(SCHEME) :].partition("/")
        return cls(Address.parse(server, DEFAULT_PORT), unquote(device) or None)

    def __str__(self) -> str:
        return f"{SCHEME}{self.server}" + (f"/{quote(self.device)}" if self.device else "")


class PeerAddress(NamedTuple):
    """Who takes what metfa sends: ``[listen:]HOST[:PORT]``.

    Attributes:
        address: of the peer, or of metfa.
        listens: whether metfa waits there for peers.
    """

    address: Address
    listens: bool = False

    @classmethod
    def parse(cls, text: str) -> PeerAddress:
        """Take ``text`` apart.

        Raises:
            ValueError: it is not spelt so.
        """
        listens = text.startswith(_LISTEN)
        return cls(Address.parse(text.removeprefix(_LISTEN), DEFAULT_PORT), listens)

    def __str__(self) -> str:
        return f"{_LISTEN if self.listens else ''}{self.address}"
