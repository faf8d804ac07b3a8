"""How the user names a server that runs the model: ``triton:HOST:PORT/MODEL[,BACKEND]``."""

from __future__ import annotations

import re
from dataclasses import dataclass

PREFIX = "triton:"
"""What the name of a server begins with, and no other backend's."""

SPELLING = "triton:HOST:PORT/MODEL[,BACKEND]"

_SPELLING = re.compile(
    r"triton:(?P<host>[\w.-]+|\[[\dA-Fa-f:.]+\]):(?P<port>\d{1,5})/(?P<model>[^/,\s]+)(?:,(?P<fallback>[^,]+))?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Where a Triton Inference Server runs a model, and what to do while it is away.

    Attributes:
        host: name or address; one of IPv6 in brackets.
        port: of its gRPC service.
        model: name of the model there.
        fallback: the backend that runs the bundle on this host meanwhile; ``auto`` for the best, None for none.
    """

    host: str
    port: int
    model: str
    fallback: str | None = None

    @property
    def target(self) -> str:
        """Host and port."""
        return f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> ServerAddress:
        """Take ``text`` apart.

        Raises:
            ValueError: it is not spelt so.
        """
        parts = _SPELLING.fullmatch(text)
        if parts is None or not 0 < int(parts["port"]) < 65536:
            raise ValueError(f"{text!r} is not spelt {SPELLING}")
        return cls(parts["host"], int(parts["port"]), parts["model"], parts["fallback"])
