"""Messages of OpenIGTLink: a header of 58 bytes, then a body; all numbers begin with their highest byte.

Source: ``Documents/Protocol/header.md``, ``timestamp.md`` and ``string.md`` of the OpenIGTLink library.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from .checksum import crc64

_HEADER = struct.Struct(">H12s20sIIQQ")
_EXTENDED_HEADER = struct.Struct(">HHII")
_STRING = struct.Struct(">HH")
_VERSIONS = (1, 2, 3)  # of headers; 2 came with version 3 of the protocol, and some senders write that
_FIRST_EXTENDED = 2  # version of the header from which the body has more than the content
_FRACTIONS = 1 << 32  # of a second
_US_ASCII = 3  # the MIB number of the encoding that the protocol recommends
_MAX_TEXT_BYTES = 0xFFFF

HEADER_BYTES = _HEADER.size

MAX_DEVICE_LENGTH = 20
"""Characters of a device name."""


class MalformedError(Exception):
    """Bytes that are no message of OpenIGTLink; says why, in words that fit behind a colon."""


class Header(NamedTuple):
    """What comes before a body.

    Attributes:
        version: of the header: 1, 2 or 3.
        type: of the message, such as ``IMAGE``.
        device: whose message it is; may be empty.
        timestamp: when the data were generated, in seconds since 1970 by the sender's clock; 0 where it does not say.
        body_bytes: length of the body, as the sender says it.
        checksum: CRC-64 of the body.
    """

    version: int
    type: str
    device: str
    timestamp: float
    body_bytes: int
    checksum: int

    @classmethod
    def unpack(cls, data: bytes | bytearray) -> Header:
        """Read a header of ``HEADER_BYTES``.

        Raises:
            MalformedError: its version is none that there is.
        """
        version, kind, device, seconds, fraction, body_bytes, checksum = _HEADER.unpack(data)
        if version not in _VERSIONS:
            raise MalformedError(f"what comes is no OpenIGTLink: a header of version {version}")
        return cls(version, _text(kind), _text(device), seconds + fraction / _FRACTIONS, body_bytes, checksum)


def content_of(header: Header, body: memoryview) -> memoryview:
    """Return the part of a body that its type describes: without the extended header and the metadata.

    Raises:
        MalformedError: the parts are longer than the body.
    """
    if header.version < _FIRST_EXTENDED:
        return body
    if len(body) < _EXTENDED_HEADER.size:
        raise MalformedError(f"a body of {len(body)} bytes, too short for its extended header")
    before, metadata_header, metadata, _ = _EXTENDED_HEADER.unpack_from(body)
    end = len(body) - metadata_header - metadata
    if not _EXTENDED_HEADER.size <= before <= end:
        raise MalformedError(f"a body of {len(body)} bytes, too short for its metadata")
    return body[before:end]


def pack(kind: str, device: str, timestamp: float, content: bytes) -> bytes:
    """Return a message with a header of version 1, which every peer reads.

    Args:
        kind: the type of the message, ASCII, at most 12 characters.
        device: whose message it is; the first 20 characters are kept, and those that are not ASCII become ``?``.
        timestamp: in seconds since 1970; ≥ 0.
        content: as the type describes it.
    """
    seconds, fraction = divmod(int(timestamp * _FRACTIONS), _FRACTIONS)
    name = device.encode("ascii", "replace")
    return _HEADER.pack(1, kind.encode("ascii"), name, seconds, fraction, len(content), crc64(content)) + content


def string_content(text: str) -> bytes:
    """Return the content of a STRING message.

    Raises:
        ValueError: the text is not ASCII, or longer than 65535 bytes.
    """
    data = text.encode("ascii")
    if len(data) > _MAX_TEXT_BYTES:
        raise ValueError(f"{len(data)} bytes, more than a STRING message can hold")
    return _STRING.pack(_US_ASCII, len(data)) + data


def _text(padded: bytes) -> str:
    return padded.partition(b"\0")[0].decode("ascii", "replace").rstrip()
