"""As much of HTTP/1.1 as a page that is only looked at needs: requests without a body, read strictly (RFC 9112)."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qsl

MAX_HEAD_BYTES = 8192
"""Bytes of request line and headers together."""

_MAX_HEADERS = 64
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE = re.compile(rf"({_TOKEN}) ([!-~]+) HTTP/(\d)\.(\d)")
_HEADER = re.compile(rf"({_TOKEN}):[ \t]*([\t -~\x80-\xff]*?)[ \t]*")


class RefusalError(Exception):
    """A request that is not answered with what it asks for.

    Attributes:
        status: the answer's status.
        reason: what was wrong, in a few words.
    """

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    Attributes:
        method: GET or HEAD.
        path: as it was sent, without the query; begins with a slash.
        query: the query's parameters; of one that is given twice, the last.
        headers: by names in lower case; values of a header that is given twice are joined with a comma.
        keep_alive: whether the client wants to send another request over the same connection.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    keep_alive: bool


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """Return the next request, or None where the client has no more.

    Args:
        reader: with a limit of ``MAX_HEAD_BYTES``.

    Raises:
        RefusalError: it is no request, a larger one than a browser sends, or one that this server does not understand.
    """
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as end:
        if end.partial:
            raise RefusalError(HTTPStatus.BAD_REQUEST, "a request that breaks off") from None
        return None
    except asyncio.LimitOverrunError:
        raise _too_large(f"more than {MAX_HEAD_BYTES} bytes") from None
    return parse_head(head)


def parse_head(head: bytes) -> Request:
    r"""Return the request that begins with ``head``.

    Args:
        head: request line and headers, up to and with the empty line (``\r\n\r\n``).

    Raises:
        RefusalError: as for :func:`read_request`.
    """
    first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    match = _REQUEST_LINE.fullmatch(first)
    if match is None:
        raise _bad("no request line")
    method, target, major, minor = match.groups()
    if (major, minor) not in {("1", "0"), ("1", "1")}:
        raise RefusalError(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "only HTTP/1.1 is spoken here")
    headers = _parse_headers(lines)
    if minor == "1" and "host" not in headers:
        raise _bad("no Host")
    if "transfer-encoding" in headers or headers.get("content-length", "0") != "0":
        raise _bad("a body")
    if method not in {"GET", "HEAD"}:
        raise RefusalError(HTTPStatus.METHOD_NOT_ALLOWED, "this page can only be looked at")
    if not target.startswith("/") or "#" in target:
        raise _bad("no path")
    path, _, query = target.partition("?")
    wishes = {wish.strip().lower() for wish in headers.get("connection", "").split(",")}
    keep_alive = minor == "1" and "close" not in wishes
    return Request(method, path, dict(parse_qsl(query, keep_blank_values=True)), headers, keep_alive)


def _parse_headers(lines: list[str]) -> dict[str, str]:
    if len(lines) > _MAX_HEADERS:
        raise _too_large(f"more than {_MAX_HEADERS} headers")
    headers: dict[str, str] = {}
    for line in lines:
        match = _HEADER.fullmatch(line)
        if match is None:
            raise _bad("a line that is no header")
        name, value = match[1].lower(), match[2]
        if name in headers:
            if name in {"host", "content-length"}:
                raise _bad(f"two {match[1]}")
            value = f"{headers[name]}, {value}"
        headers[name] = value
    return headers


def head_of(status: HTTPStatus, headers: dict[str, str]) -> bytes:
    """Return the status line and the headers of a response, with the empty line."""
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _bad(reason: str) -> RefusalError:
    return RefusalError(HTTPStatus.BAD_REQUEST, reason)


def _too_large(reason: str) -> RefusalError:
    return RefusalError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, reason)
