"""HTTP/1.1 over one connection: requests, read strictly (RFC 9112), and the responses to them.

h11 turns bytes into requests and responses into bytes, and leaves the connections to ``server.py``. uvicorn never
closes one that asks for nothing, aiohttp installs 11 MB and compiled modules, and neither counts those of an address.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from urllib.parse import parse_qsl

import h11

MAX_HEAD_BYTES = 8192
"""Bytes of request line and headers together."""

TEXT = "text/plain; charset=utf-8"

_MAX_HEADERS = 64
_SEND_SECONDS = 5.0  # that a viewer may take for what it was sent
_WRITE_BUFFER = 1 << 16  # bytes that may wait for a viewer before it counts as slow
# h11 would also take folded lines, bare line feeds and control characters.
_STRICT_HEAD = re.compile(rb"(?:[!-~][\t -~\x80-\xff]*\r\n)+\r\n")

_SECURITY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}

_REMEDIES = {
    HTTPStatus.METHOD_NOT_ALLOWED: {"Allow": "GET, HEAD"},
    HTTPStatus.UNAUTHORIZED: {"WWW-Authenticate": "Bearer"},
}


class RefusalError(Exception):
    """A request that is not answered with what it asks for.

    Attributes:
        status: the response's status.
        reason: what was wrong, in a few words.
    """

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


@dataclass(frozen=True, slots=True)
class Request:
    """One request: GET, HEAD or POST. Which of the first two, only :class:`Connection` needs to know.

    Attributes:
        path: as it was sent, without the query; begins with a slash.
        query: the query's parameters; of one that is given twice, the last.
        headers: by names in lower case; values of a header that is given twice are joined with a comma.
        body: of POST; None of the others.
    """

    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """What a request is answered with.

    Attributes:
        body: whole, or in parts that follow one another as they come; HEAD gets none of it.
        content_type: what it is.
        status: of the answer.
        headers: beside those that every response has.
    """

    body: bytes | AsyncGenerator[bytes]
    content_type: str
    status: HTTPStatus = HTTPStatus.OK
    headers: dict[str, str] = field(default_factory=dict)


class Connection:
    """One viewer's connection.

    Args:
        reader: with a limit of ``MAX_HEAD_BYTES``.
        writer: the way back.
        max_body_bytes: that POST may send; 0 where a page can only be looked at.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, max_body_bytes: int = 0) -> None:
        self._reader, self._writer = reader, writer
        self._max_body_bytes = max_body_bytes
        self._http = h11.Connection(h11.SERVER)
        self._asks_for_head = False
        writer.transport.set_write_buffer_limits(high=_WRITE_BUFFER)

    async def receive(self) -> Request | None:
        """Return the next request, or None where the client has no more.

        Raises:
            RefusalError: it is no request, a larger one than a browser sends, or one that this server does not
                understand.
        """
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as end:
            if end.partial:
                raise _bad("a request that breaks off") from None
            return None
        except asyncio.LimitOverrunError:
            raise _too_large(f"more than {MAX_HEAD_BYTES} bytes") from None
        if not _STRICT_HEAD.fullmatch(head):
            raise _bad("no lines of HTTP")
        try:
            self._http.receive_data(head)
            event = self._http.next_event()
            assert isinstance(event, h11.Request)  # as the head is whole
            self._asks_for_head = event.method == b"HEAD"
            request = _parse(event, posts=self._max_body_bytes > 0)
            if event.method == b"POST":
                return replace(request, body=await self._body(request))
            if self._http.next_event() is h11.NEED_DATA:
                raise _bad("a body")
        except h11.RemoteProtocolError as error:
            raise RefusalError(HTTPStatus(error.error_status_hint), "no valid request") from None
        return request

    async def _body(self, request: Request) -> bytes:
        """Return what follows the head; only of a length that was said before, so that nothing beyond it is read."""
        if "content-length" not in request.headers:
            raise RefusalError(HTTPStatus.LENGTH_REQUIRED, "a body without its length")
        length = int(request.headers["content-length"])  # which h11 has checked
        if length > self._max_body_bytes:
            raise RefusalError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {self._max_body_bytes} bytes")
        try:
            body = await self._reader.readexactly(length)
        except asyncio.IncompleteReadError:
            raise _bad("a body that breaks off") from None
        self._http.receive_data(body)
        while not isinstance(self._http.next_event(), h11.EndOfMessage):
            pass
        return body

    async def respond(self, response: Response) -> None:
        """Answer the request that was received.

        Raises:
            OSError: the viewer is gone.
            asyncio.TimeoutError: it takes too long for what it is sent.
        """
        if isinstance(response.body, bytes):
            await self._send(_head(response), h11.Data(response.body), h11.EndOfMessage())
            return
        async with aclosing(response.body) as parts:
            await self._send(_head(response))
            if not self._asks_for_head:
                async for part in parts:
                    await self._send(h11.Data(part))
            await self._send(h11.EndOfMessage())

    async def refuse(self, refusal: RefusalError) -> None:
        """Say why there is no other response, after which the connection must be closed.

        Raises:
            OSError: as for :meth:`respond`.
            asyncio.TimeoutError: as for :meth:`respond`.
        """
        body = f"{refusal.status.value} {refusal.status.phrase}: {refusal.reason}\n".encode()
        headers = {"Connection": "close", **_REMEDIES.get(refusal.status, {})}
        await self.respond(Response(body, TEXT, refusal.status, headers))

    def begin_next(self) -> bool:
        """Return whether another request may follow the response that was sent."""
        if self._http.our_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        self._asks_for_head = False
        return True

    async def close(self) -> None:
        """End the connection, without what the viewer does not take in time."""
        self._writer.close()
        with suppress(OSError, asyncio.TimeoutError, asyncio.CancelledError):
            await asyncio.wait_for(self._writer.wait_closed(), _SEND_SECONDS)
        self.abort()

    def abort(self) -> None:
        """End the connection without what is still to be sent."""
        self._writer.transport.abort()

    async def _send(self, *events: h11.Response | h11.Data | h11.EndOfMessage) -> None:
        if self._asks_for_head:
            events = tuple(event for event in events if not isinstance(event, h11.Data))
        self._writer.write(b"".join(map(self._http.send, events)))
        await asyncio.wait_for(self._writer.drain(), _SEND_SECONDS)


def _parse(request: h11.Request, *, posts: bool) -> Request:
    if request.http_version not in {b"1.0", b"1.1"}:
        raise RefusalError(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "only HTTP/1.1 is spoken here")
    if len(request.headers) > _MAX_HEADERS:
        raise _too_large(f"more than {_MAX_HEADERS} headers")
    if request.method not in {b"GET", b"HEAD"} and not (posts and request.method == b"POST"):
        raise RefusalError(HTTPStatus.METHOD_NOT_ALLOWED, "this page can only be looked at")
    target = request.target.decode("ascii")
    if not target.startswith("/") or "#" in target:
        raise _bad("no path")
    headers: dict[str, str] = {}
    for field_name, field_value in request.headers:
        name, value = field_name.decode("ascii"), field_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    path, _, query = target.partition("?")
    return Request(path, dict(parse_qsl(query, keep_blank_values=True)), headers)


def _head(response: Response) -> h11.Response:
    headers = {"Content-Type": response.content_type, **response.headers, **_SECURITY}
    if isinstance(response.body, bytes):
        headers["Content-Length"] = str(len(response.body))
    return h11.Response(status_code=response.status, reason=response.status.phrase, headers=list(headers.items()))


def _bad(reason: str) -> RefusalError:
    return RefusalError(HTTPStatus.BAD_REQUEST, reason)


def _too_large(reason: str) -> RefusalError:
    return RefusalError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, reason)
