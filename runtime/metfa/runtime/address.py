"""Addresses on a network: a host and a port, as users write them."""

from __future__ import annotations

import re
import socket
from typing import NamedTuple, TypeVar

from .errors import OutputError

_ADDRESS = re.compile(r"(?:\[(?P<ipv6>[\dA-Fa-f:.]+)\]|(?P<host>[^\[\]:/@\s]+))(?::(?P<port>\d{1,5}))?", re.ASCII)
_Address = TypeVar("_Address", bound="Address")


class Address(NamedTuple):
    """Where a program listens.

    Attributes:
        host: a name or an IP address, without brackets.
        port: from 0 to 65535; to listen, 0 lets the system choose.
    """

    host: str
    port: int

    @classmethod
    def parse(cls: type[_Address], text: str, default_port: int | None = None) -> _Address:
        """Return the address that ``text`` says: ``HOST:PORT``, an IPv6 host in brackets.

        Args:
            text: as a user writes it.
            default_port: of a text without a port; None where there has to be one.

        Raises:
            ValueError: it says none.
        """
        parts = _ADDRESS.fullmatch(text)
        port = default_port if parts is None or parts["port"] is None else int(parts["port"])
        if parts is None or port is None or port > 65535:
            raise ValueError(text)
        return cls(parts["ipv6"] or parts["host"], port)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def listen_on(address: Address, *, purpose: str, remedy: str) -> socket.socket:
    """Return a socket that others can connect to from now on.

    Args:
        address: of this machine.
        purpose: what the user wants, as in "to be able to …".
        remedy: what to do where that cannot be.

    Raises:
        OutputError: the address is none of this machine's, or in use.
    """
    try:
        family, _, _, _, numeric = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(numeric, family=family, backlog=128)
    except (OSError, UnicodeError) as cause:
        raise OutputError(
            expected=f"to be able to {purpose}",
            received=str(getattr(cause, "strerror", cause)).partition(" (while")[0],
            remedy=remedy,
        ) from None
