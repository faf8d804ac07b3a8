"""Serves the board to any number of viewers, from one thread that the stream never waits for."""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import json
import re
import threading
from contextlib import suppress
from functools import cache
from http import HTTPStatus
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from .access import WrongTokenError
from .http import MAX_HEAD_BYTES, RefusalError, Request, head_of, read_request

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

    from .access import Access
    from .board import Board

_FRAME_SECONDS = 1 / 15  # between two frames that viewers are shown
_IDLE_SECONDS = 20.0  # that a connection may be silent
_FIRST_SECONDS = 5.0  # that it may take for its first request
_GUESS_SECONDS = 1.0  # between two wrong tokens of one address
_SEND_SECONDS = 5.0  # that a viewer may take for what it was sent
_FAREWELL_SECONDS = 0.8  # for all viewers together, when the stream ends
_FETCH_SECONDS = 3.0  # that a viewer may take to ask for the best frame of an event that it was told of
_WRITE_BUFFER = 1 << 16  # bytes that may wait for a viewer before it counts as slow
_MAX_CONNECTIONS = 256
_MAX_CONNECTIONS_PER_ADDRESS = 128
_MAX_SILENT_PER_ADDRESS = 16  # connections of one address that have not yet asked for anything

_PAGES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
_JPEG, _TEXT, _METRICS = "image/jpeg", "text/plain; charset=utf-8", "text/plain; version=0.0.4; charset=utf-8"

_SECURITY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class DashboardServer:
    """Answers requests until it is closed.

    ========================  ======================================================================
    ``/``                     the page
    ``/events``               Server-Sent Events: what changes, to viewers that take it; slow ones get the newest
    ``/picture``              the newest frame as JPEG
    ``/snapshots/N``          the best frame of event N as JPEG, as long as it is on the page
    ``/metrics``              Prometheus text
    ========================  ======================================================================

    Nothing waits for a viewer in a queue: each is sent what is the newest when it has taken what came before, and is
    let go when that takes it too long. When the stream ends nothing can be asked for any more: viewers of ``/events``
    are sent the last pictures unasked.

    Nobody locks others out: of connections that ask for nothing the oldest make room, an address has half of all at
    most, and its wrong tokens are answered one a second.

    Args:
        listening: a socket that clients can connect to; it is closed with the server.
        access: who may look.
        board: what is shown.

    Attributes:
        error: a mistake of the server's that ended it, if one did.
    """

    def __init__(self, listening: socket.socket, access: Access, board: Board) -> None:
        self.error: BaseException | None = None
        self._listening = listening
        self._access = access
        self._board = board
        self._loop = asyncio.new_event_loop()
        self._closing = asyncio.Event()
        self._ended = asyncio.Event()  # and the board shows the last that there was
        self._connections: dict[asyncio.Task[None], str] = {}  # and their addresses
        self._silent: set[asyncio.Task[None]] = set()  # that have not yet asked for anything that they may have
        self._next_guess_at: dict[str, float] = {}  # by address
        # A daemon: nothing that is only looked at may hold up the end of the process.
        self._thread = threading.Thread(target=self._run, name="metfa dashboard", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Tell the viewers that the stream ended, and let them go; may be called twice."""
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join()

    def _run(self) -> None:
        with self._listening:
            try:
                self._loop.run_until_complete(self._serve())
                self._loop.run_until_complete(self._loop.shutdown_default_executor())
            except Exception as error:
                self.error = error
            finally:
                self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connected, sock=self._listening, limit=MAX_HEAD_BYTES)
        try:
            while not self._closing.is_set() and self.error is None:
                self._board.tick()
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._closing.wait(), _FRAME_SECONDS)
            self._board.tick()
        finally:
            self._ended.set()
            server.close()
            if self._connections:
                await asyncio.wait(self._connections, timeout=_FAREWELL_SECONDS)
            for connection in self._connections:
                connection.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.current_task()
        assert connection is not None
        address = self._connections[connection] = _network(writer.get_extra_info("peername"))
        viewer = _Viewer(writer)
        try:
            if not self._make_room(address):
                await viewer.refuse(RefusalError(HTTPStatus.SERVICE_UNAVAILABLE, "too many viewers"))
                return
            self._silent.add(connection)
            while not self._ended.is_set() and await self._answer_one(reader, viewer, connection):
                pass
        except (OSError, asyncio.TimeoutError):
            pass  # the viewer is gone or too slow
        except asyncio.CancelledError:  # it was too slow at the end of the stream, or made room
            writer.transport.abort()
        except Exception as error:
            self.error = error
        finally:
            self._silent.discard(connection)
            await viewer.leave()
            del self._connections[connection]
            if address not in self._connections.values():
                self._next_guess_at.pop(address, None)

    def _make_room(self, address: str) -> bool:
        """Return whether another connection of ``address``, already counted, may stay; a silent one may go for it."""
        silent = [each for each in self._connections if each in self._silent]  # the oldest first
        own = [each for each in silent if self._connections[each] == address]
        crowded = list(self._connections.values()).count(address) > _MAX_CONNECTIONS_PER_ADDRESS
        full = len(self._connections) > _MAX_CONNECTIONS
        if len(own) < _MAX_SILENT_PER_ADDRESS and not crowded and not full:
            return True
        for each in own or ([] if crowded else silent):
            self._silent.remove(each)
            each.cancel()
            return True
        return False

    async def _answer_one(self, reader: asyncio.StreamReader, viewer: _Viewer, connection: asyncio.Task[None]) -> bool:
        """Answer one request; return whether another may follow."""
        try:
            request = await self._next_request(reader, _FIRST_SECONDS if connection in self._silent else _IDLE_SECONDS)
            if request is None:
                return False
            self._access.check(request)
            self._silent.discard(connection)
            answer = self._route(request)
        except RefusalError as refusal:
            if isinstance(refusal, WrongTokenError):
                self._silent.discard(connection)  # it keeps its place until it is answered, or more could be tried
                await self._delay(self._connections[connection])
            await viewer.refuse(refusal)
            return False
        await answer(viewer, request)
        return request.keep_alive and request.path != "/events"  # which ends with its connection

    async def _delay(self, address: str) -> None:
        """Wait until it is an address's turn to be told that its token is wrong."""
        now = self._loop.time()
        turn = self._next_guess_at[address] = max(now, self._next_guess_at.get(address, now)) + _GUESS_SECONDS
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._ended.wait(), turn - now)

    async def _next_request(self, reader: asyncio.StreamReader, seconds: float) -> Request | None:
        """Return the next request, or None where there is none in time, or before the stream ends."""
        reading = asyncio.ensure_future(read_request(reader))
        ending = asyncio.ensure_future(self._ended.wait())
        try:
            await asyncio.wait({reading, ending}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            return reading.result() if reading.done() else None
        finally:
            reading.cancel()
            ending.cancel()

    def _route(self, request: Request) -> Callable[[_Viewer, Request], Awaitable[None]]:
        if request.path == "/" and "token" in request.query and self._access.token:
            return self._send_cookie
        if request.path in _PAGES:
            return self._send_page
        if request.path == "/events":
            return self._send_events
        if request.path == "/picture":
            return self._send_picture
        if request.path == "/metrics":
            return self._send_metrics
        if re.fullmatch(r"/snapshots/[1-9]\d{0,17}", request.path):
            return self._send_best_frame
        raise RefusalError(HTTPStatus.NOT_FOUND, "there is nothing of that name")

    async def _send_cookie(self, viewer: _Viewer, request: Request) -> None:
        """Move the token from the URL, which ends up in histories and pictures of the screen, into a cookie."""
        more = {"Location": "./", "Set-Cookie": self._access.cookie()}
        await viewer.send(request, b"", _TEXT, HTTPStatus.SEE_OTHER, more)

    async def _send_page(self, viewer: _Viewer, request: Request) -> None:
        name, kind = _PAGES[request.path]
        await viewer.send(request, _read(name), kind)

    async def _send_picture(self, viewer: _Viewer, request: Request) -> None:
        # In a thread: encoding takes milliseconds, in which the other viewers can be served.
        picture = await asyncio.to_thread(self._board.picture)
        await self._send_jpeg(viewer, request, picture)

    async def _send_best_frame(self, viewer: _Viewer, request: Request) -> None:
        await self._send_jpeg(viewer, request, self._board.best_frame(int(request.path.rpartition("/")[2])))

    async def _send_jpeg(self, viewer: _Viewer, request: Request, picture: bytes | None) -> None:
        if picture is None:
            await viewer.send(request, b"there is no such picture\n", _TEXT, HTTPStatus.NOT_FOUND)
        else:
            await viewer.send(request, picture, _JPEG)

    async def _send_metrics(self, viewer: _Viewer, request: Request) -> None:
        await viewer.send(request, self._board.metrics().encode(), _METRICS)

    async def _send_events(self, viewer: _Viewer, request: Request) -> None:
        """Send what changes until the stream or the viewer ends."""
        await viewer.begin_events()
        if request.method == "HEAD":
            return
        board = self._board
        messages = [("hello", board.greeting())]
        number, event, statistics_at = 0, 0, -1.0
        told_at: dict[int, float] = {}  # of events
        while True:
            ended = self._ended.is_set()  # before looking, so that the last frame is not missed
            if board.frame is not None and board.frame["number"] != number:
                number = board.frame["number"]
                messages.append(("frame", board.frame))
            for message in board.events_after(event):
                event = message["number"]
                told_at[event] = self._loop.time()
                messages.append(("event", message))
            if board.statistics and board.statistics["time"] != statistics_at:
                statistics_at = board.statistics["time"]
                messages.append(("statistics", board.statistics))
            if ended:
                messages.append(("end", {}))
            if messages:
                await viewer.send_events(messages)
            if ended:
                await self._send_last_pictures(viewer, told_at)
                return
            messages = []
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._ended.wait(), _FRAME_SECONDS)

    async def _send_last_pictures(self, viewer: _Viewer, told_at: dict[int, float]) -> None:
        """Send what the viewer may not have got when it could still ask: the latest best frames and the last frame."""
        for number, told in told_at.items():
            best = self._board.best_frame(number)
            if best is not None and self._loop.time() - told < _FETCH_SECONDS:
                await viewer.send_events([("best", {"number": number, "jpeg": base64.b64encode(best).decode()})])
        picture = await asyncio.to_thread(self._board.picture)
        if picture is not None:
            await viewer.send_events([("picture", {"jpeg": base64.b64encode(picture).decode()})])


class _Viewer:
    """One connection's way out."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        writer.transport.set_write_buffer_limits(high=_WRITE_BUFFER)

    async def send(
        self,
        request: Request,
        body: bytes,
        kind: str,
        status: HTTPStatus = HTTPStatus.OK,
        more: dict[str, str] | None = None,
    ) -> None:
        """Send a response."""
        headers = {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "Connection": "keep-alive" if request.keep_alive else "close",
            **_SECURITY,
            **(more or {}),
        }
        await self._write(head_of(status, headers) + (b"" if request.method == "HEAD" else body))

    async def refuse(self, refusal: RefusalError) -> None:
        """Say why there is no response, after which the connection must be closed."""
        body = f"{refusal.status.value} {refusal.status.phrase}: {refusal.reason}\n".encode()
        headers = {"Content-Type": _TEXT, "Content-Length": str(len(body)), "Connection": "close", **_SECURITY}
        if refusal.status == HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = "GET, HEAD"
        if refusal.status == HTTPStatus.UNAUTHORIZED:
            headers["WWW-Authenticate"] = "Bearer"
        await self._write(head_of(refusal.status, headers) + body)

    async def begin_events(self) -> None:
        """Send the head of an endless response, and when to ask again where it ends all the same."""
        head = head_of(HTTPStatus.OK, {"Content-Type": "text/event-stream", "Connection": "close", **_SECURITY})
        await self._write(head + b"retry: 1000\n\n")

    async def send_events(self, messages: list[tuple[str, dict[str, Any]]]) -> None:
        """Send Server-Sent Events."""
        await self._write(b"".join(f"event: {name}\ndata: {json.dumps(data)}\n\n".encode() for name, data in messages))

    async def leave(self) -> None:
        """End the connection, without what the viewer does not take in time."""
        self._writer.close()
        with suppress(OSError, asyncio.TimeoutError, asyncio.CancelledError):
            await asyncio.wait_for(self._writer.wait_closed(), _SEND_SECONDS)
        self._writer.transport.abort()

    async def _write(self, data: bytes) -> None:
        self._writer.write(data)
        await asyncio.wait_for(self._writer.drain(), _SEND_SECONDS)


def _network(peer: tuple[str, int]) -> str:
    """Return the address of a peer, or the network of which it may take any address."""
    address = ipaddress.ip_address(peer[0].partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return str(ipaddress.ip_network((address, 64), strict=False))
        address = address.ipv4_mapped
    return str(address)


@cache
def _read(name: str) -> bytes:
    return files(__package__).joinpath(name).read_bytes()
