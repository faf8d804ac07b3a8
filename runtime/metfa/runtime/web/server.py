"""Serves a site to any number of viewers, from one thread that nobody waits for."""

from __future__ import annotations

import asyncio
import ipaddress
import threading
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING

from ..errors import OutputError
from .access import WrongTokenError
from .http import MAX_HEAD_BYTES, Connection, RefusalError

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable
    from typing import TypeAlias

    from .access import Access
    from .http import Request, Response

    Answer: TypeAlias = Callable[[Request, asyncio.Event], Awaitable[Response]]
    """The response to a request of somebody who may look; the event is set when the site ends."""

_IDLE_SECONDS = 20.0  # that a connection may be silent
_FIRST_SECONDS = 5.0  # that it may take for its first request
_GUESS_SECONDS = 1.0  # between two wrong tokens of one address
_FAREWELL_SECONDS = 0.8  # for all viewers together, when the site ends
_MAX_CONNECTIONS = 256
_MAX_CONNECTIONS_PER_ADDRESS = 128
_MAX_SILENT_PER_ADDRESS = 16  # connections of one address that have not yet asked for anything


class WebServer:
    """Answers requests until it is closed.

    A viewer that takes too long for what it is sent is let go. When the server is closed, nothing can be asked for any
    more, and responses that go on may still send their last.

    Nobody locks others out: of connections that ask for nothing the oldest make room, an address has half of all at
    most, and its wrong tokens are answered one a second.

    Args:
        listening: a socket that clients can connect to; it is closed with the server.
        access: who may look.
        answer: what requests are answered with.
        run: what the site does meanwhile; it returns when the event is set that it is given.
        max_body_bytes: that POST may send; 0 where the site can only be looked at.

    Attributes:
        error: a mistake of the server's that ended it, if one did.
    """

    def __init__(
        self,
        listening: socket.socket,
        access: Access,
        answer: Answer,
        *,
        run: Callable[[asyncio.Event], Awaitable[object]] = asyncio.Event.wait,
        max_body_bytes: int = 0,
    ) -> None:
        self.error: BaseException | None = None
        self._listening = listening
        self._access = access
        self._answer = answer
        self._meanwhile = run
        self._max_body_bytes = max_body_bytes
        self._loop = asyncio.new_event_loop()
        self._closing = asyncio.Event()
        self._ended = asyncio.Event()
        self._connections: dict[asyncio.Task[None], str] = {}  # and their addresses
        self._silent: set[asyncio.Task[None]] = set()  # that have not yet asked for anything that they may have
        self._next_guess_at: dict[str, float] = {}  # by address
        # A daemon: nothing that is only looked at may hold up the end of the process.
        self._thread = threading.Thread(target=self._run, name="metfa web", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Let the viewers go; may be called twice."""
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join()

    def refuse_to_go_on_broken(self) -> None:
        """Do nothing while the server is well.

        Raises:
            OutputError: it made a mistake.
        """
        if self.error is not None:
            raise OutputError(
                expected="the web server to go on",
                received=f"{type(self.error).__name__}: {self.error}",
                remedy="report this as a bug",
            )

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
            await self._meanwhile(self._closing)
        finally:
            self._ended.set()
            server.close()
            if self._connections:
                await asyncio.wait(self._connections, timeout=_FAREWELL_SECONDS)
            for connection in self._connections:
                connection.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        address = self._connections[task] = _network(writer.get_extra_info("peername"))
        connection = Connection(reader, writer, max_body_bytes=self._max_body_bytes)
        try:
            if not self._make_room(address):
                await connection.refuse(RefusalError(HTTPStatus.SERVICE_UNAVAILABLE, "too many viewers"))
                return
            self._silent.add(task)
            while not self._ended.is_set() and await self._answer_one(connection, task):
                pass
        except (OSError, asyncio.TimeoutError):
            pass  # the viewer is gone or too slow
        except asyncio.CancelledError:  # it was too slow at the end, or made room
            connection.abort()
        except Exception as error:
            self.error = error
            self._closing.set()
        finally:
            self._silent.discard(task)
            await connection.close()
            del self._connections[task]
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

    async def _answer_one(self, connection: Connection, task: asyncio.Task[None]) -> bool:
        """Answer one request; return whether another may follow."""
        try:
            request = await self._next_request(connection, _FIRST_SECONDS if task in self._silent else _IDLE_SECONDS)
            if request is None:
                return False
            self._access.check(request)
            self._silent.discard(task)
            response = self._access.keep_token(request) or await self._answer(request, self._ended)
            await connection.respond(response)
            return connection.begin_next()
        except RefusalError as refusal:
            if isinstance(refusal, WrongTokenError):
                self._silent.discard(task)  # it keeps its place until it is answered, or more could be tried
                await self._delay(self._connections[task])
            await connection.refuse(refusal)
            return False

    async def _delay(self, address: str) -> None:
        """Wait until it is an address's turn to be told that its token is wrong."""
        now = self._loop.time()
        turn = self._next_guess_at[address] = max(now, self._next_guess_at.get(address, now)) + _GUESS_SECONDS
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._ended.wait(), turn - now)

    async def _next_request(self, connection: Connection, seconds: float) -> Request | None:
        """Return the next request, or None where there is none in time, or before the site ends."""
        reading = asyncio.ensure_future(connection.receive())
        ending = asyncio.ensure_future(self._ended.wait())
        try:
            await asyncio.wait({reading, ending}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            return reading.result() if reading.done() else None
        finally:
            reading.cancel()
            ending.cancel()


def _network(peer: tuple[str, int]) -> str:
    """Return the address of a peer, or the network of which it may take any address."""
    address = ipaddress.ip_address(peer[0].partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return str(ipaddress.ip_network((address, 64), strict=False))
        address = address.ipv4_mapped
    return str(address)
