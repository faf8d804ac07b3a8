"""Programs that speak DICOM over a network, by their titles and addresses."""

from __future__ import annotations

import re
from typing import NamedTuple

from .address import Address

OWN_TITLE = "METFA"
"""What metfa calls itself where nobody says otherwise."""

_TITLE = re.compile(r"(?=.*[^ ])[\x20-\x5b\x5d-\x7e]{1,16}")  # DICOM PS3.5 6.2: ASCII without control and backslash


class ApplicationEntity(NamedTuple):
    """A program that speaks DICOM.

    Attributes:
        title: what it is called, 1 to 16 characters.
        host: a name or an IP address, without brackets.
        port: from 1 to 65535.
    """

    title: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> ApplicationEntity:
        """Return what ``text`` says: ``AE@HOST:PORT``, an IPv6 host in brackets.

        Raises:
            ValueError: it says nothing of the kind.
        """
        title, _, address = text.partition("@")
        host, port = Address.parse(address)
        if not is_title(title) or not port:
            raise ValueError(text)
        return cls(title.strip(), host, port)

    def __str__(self) -> str:
        return f"{self.title}@{Address(self.host, self.port)}"


def is_title(text: str) -> bool:
    """Return whether ``text`` can be what a program is called."""
    return _TITLE.fullmatch(text) is not None


class StorePeer(NamedTuple):
    """Who gets DICOM objects, and from whom.

    Attributes:
        entity: who gets them.
        calling: the title of the one who sends.
    """

    entity: ApplicationEntity
    calling: str

    @classmethod
    def parse(cls, text: str) -> StorePeer:
        """Return what ``text`` says: ``store://AE@HOST:PORT``, perhaps with ``?calling=AE``.

        Raises:
            ValueError: it says nothing of the kind.
        """
        address, separator, query = text.removeprefix("store://").partition("?")
        name, _, calling = query.partition("=") if separator else ("calling", "=", OWN_TITLE)
        if not text.startswith("store://") or name != "calling" or not is_title(calling):
            raise ValueError(text)
        return cls(ApplicationEntity.parse(address), calling.strip())
