"""How the user names a peer."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import quote, unquote

SCHEME = "igtl://"
DEFAULT_PORT = 18944
"""What PLUS and 3D Slicer offer by default."""

_LISTEN = "listen:"
_ADDRESS = re.compile(r"(?:\[(?P<ipv6>[\dA-Fa-f:.]+)\]|(?P<host>[^\[\]:/@\s]+))(?::(?P<port>\d{1,5}))?", re.ASCII)


class Address(NamedTuple):
    """Where a peer listens, or metfa does.

    Attributes:
        host: a name or an IP address, without brackets.
        port: from 1 to 65535; to listen, 0 lets the system choose.
    """

    host: str
    port: int = DEFAULT_PORT

    @classmethod
    def parse(cls, text: str) -> Address:
        """Return the address that ``text`` says: ``HOST`` or ``HOST:PORT``, an IPv6 host in brackets.

        Raises:
            ValueError: it says none.
        """
        parts = _ADDRESS.fullmatch(text)
        if parts is None or int(parts["port"] or 0) > 65535:
            raise ValueError(text)
        port = DEFAULT_PORT if parts["port"] is None else int(parts["port"])
        return cls(parts["ipv6"] or parts["host"], port)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


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
        return cls(Address.parse(server), unquote(device) or None)

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
        return cls(Address.parse(text.removeprefix(_LISTEN)), listens)

    def __str__(self) -> str:
        return f"{_LISTEN if self.listens else ''}{self.address}"
