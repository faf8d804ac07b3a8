from __future__ import annotations

import asyncio
import socket
from contextlib import closing, suppress
from http import HTTPStatus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from metfa.runtime.web.http import MAX_HEAD_BYTES, TEXT, Connection, RefusalError, Request, Response

HOST = b"Host: localhost:8080\r\n"


def exchange(*parts: bytes, max_body_bytes: int = 0) -> tuple[list[Request], bytes]:
    """Return what is read from a connection that carries ``parts`` and is closed then, and the responses."""

    async def run() -> list[Request]:
        streams = await asyncio.open_connection(sock=ours, limit=MAX_HEAD_BYTES)
        connection = Connection(*streams, max_body_bytes=max_body_bytes)
        requests = []
        try:
            while (request := await connection.receive()) is not None:
                requests.append(request)
                await connection.respond(Response(b"body", TEXT))
                if not connection.begin_next():
                    break
        except RefusalError as refusal:
            await connection.refuse(refusal)
            raise
        finally:
            await connection.close()
        return requests

    ours, theirs = socket.socketpair()
    with closing(theirs):
        for part in parts:
            theirs.sendall(part)
        theirs.shutdown(socket.SHUT_WR)
        requests = asyncio.run(run())
        return requests, b"".join(iter(lambda: theirs.recv(4096), b""))


def read_one(head: bytes) -> Request:
    """Return the request of that head."""
    (request,), _ = exchange(head)
    return request


def test_what_a_browser_sends() -> None:
    request = read_one(
        b"GET /events?token=a%20b&x=&x=2 HTTP/1.1\r\nHost: localhost:8080\r\nAccept:text/event-stream\r\n"
        b"Cookie: \t metfa-8080=abc; other=1 \r\nX-Name: caf\xe9\r\nAccept: */*\r\nEmpty:\r\n\r\n"
    )
    assert request == Request(
        path="/events",
        query={"token": "a b", "x": "2"},
        headers={
            "host": "localhost:8080",
            "accept": "text/event-stream, */*",
            "cookie": "metfa-8080=abc; other=1",
            "x-name": "café",
            "empty": "",
        },
    )


@pytest.mark.parametrize(
    ("head", "keep_alive"),
    [
        (b"GET / HTTP/1.1\r\n" + HOST, True),
        (b"HEAD / HTTP/1.1\r\n" + HOST + b"Connection: keep-alive\r\n", True),
        (b"GET / HTTP/1.1\r\n" + HOST + b"Connection: Close\r\n", False),
        (b"GET / HTTP/1.1\r\n" + HOST + b"Connection: te, close\r\n", False),
        (b"GET / HTTP/1.0\r\n", False),
        (b"GET / HTTP/1.0\r\n" + HOST + b"Connection: keep-alive\r\n", False),
    ],
)
def test_whether_another_request_may_follow(head: bytes, keep_alive: bool) -> None:
    requests, responses = exchange(head + b"\r\n", head + b"\r\n")
    assert (len(requests) == 2) is keep_alive
    assert (b"\r\nConnection: close\r\n" not in responses) is keep_alive


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"", 400),
        (b"\r\n", 400),
        (b"GET\r\n", 400),
        (b"GET /\r\n", 400),
        (b"GET / HTTP/1\r\n", 400),
        (b"GET / http/1.1\r\n" + HOST, 400),
        (b"GET  / HTTP/1.1\r\n" + HOST, 400),
        (b" GET / HTTP/1.1\r\n" + HOST, 400),
        (b"GET / HTTP/1.1 \r\n" + HOST, 400),
        (b"GET\t/\tHTTP/1.1\r\n" + HOST, 400),
        (b"G(T / HTTP/1.1\r\n" + HOST, 400),
        (b"GET /\x00 HTTP/1.1\r\n" + HOST, 400),
        (b"GET /\xff HTTP/1.1\r\n" + HOST, 400),
        (b"GET / x HTTP/1.1\r\n" + HOST, 400),
        (b"GET /#fragment HTTP/1.1\r\n" + HOST, 400),
        (b"GET page HTTP/1.1\r\n" + HOST, 400),
        (b"GET * HTTP/1.1\r\n" + HOST, 400),
        (b"GET http://localhost/ HTTP/1.1\r\n" + HOST, 400),
        (b"GET / HTTP/2.0\r\n" + HOST, 505),
        (b"GET / HTTP/0.9\r\n" + HOST, 505),
        (b"GET / HTTP/1.2\r\n" + HOST, 505),
        (b"POST / HTTP/1.1\r\n" + HOST, 405),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n", 405),
        (b"get / HTTP/1.1\r\n" + HOST, 405),
        (b"CONNECT localhost:80 HTTP/1.1\r\n" + HOST, 405),
        (b"GET / HTTP/1.1\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + HOST, 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"No colon\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b": no name\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"Space : before the colon\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"Folded: a\r\n b\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"Bare: a\nb: c\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"Bare: a\rb\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"Nothing: \x00\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"Deleted: \x7f\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"N\xe4me: a\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: 0\r\nContent-Length: 5\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 64, 431),
    ],
)
def test_malformed_requests_are_refused(head: bytes, status: int) -> None:
    with pytest.raises(RefusalError) as refusal:
        read_one(head + b"\r\n")
    assert refusal.value.status == status


@given(st.binary(max_size=200), st.booleans())
@example(b"GET / HTTP/1.1\r\nHost: [::1", False)
def test_no_bytes_surprise_the_parser(garbage: bytes, begins_well: bool) -> None:
    begin = b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " if begins_well else b""
    with suppress(RefusalError):
        for request in exchange(begin + garbage + b"\r\n\r\n")[0]:
            assert request.path.startswith("/")
            assert not any(end in value for value in request.headers.values() for end in "\r\n\0")


def test_requests_follow_one_another_however_they_are_cut() -> None:
    requests, _ = exchange(b"GET /one HTTP/1.1\r\nHo", b"st: a\r\n\r", b"\nGET /two HTTP/1.1\r\nHost: a\r\n\r\n")
    assert [request.path for request in requests] == ["/one", "/two"]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n", HTTPStatus.BAD_REQUEST),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * MAX_HEAD_BYTES, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * MAX_HEAD_BYTES + b"\r\n\r\n", HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE),
    ],
)
def test_a_request_that_breaks_off_or_never_ends(sent: bytes, status: HTTPStatus) -> None:
    with pytest.raises(RefusalError) as refusal:
        exchange(sent)
    assert refusal.value.status == status


def test_a_page_that_takes_posts_reads_their_bodies_and_no_more() -> None:
    post = b"POST /answer HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\n\r\n"
    requests, _ = exchange(post, b"bo", b"dy" + b"GET / HTTP/1.1\r\n" + HOST + b"\r\n", max_body_bytes=4)
    assert [(request.path, request.body) for request in requests] == [("/answer", b"body"), ("/", None)]
    (empty,), _ = exchange(post.replace(b"4", b"0"), max_body_bytes=4)
    assert empty.body == b""


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"Content-Length: 5\r\n", 413),
        (b"Content-Length: 4\r\n", 400),  # it breaks off
        (b"Content-Length: -1\r\n", 400),
        (b"Content-Length: 1\r\nContent-Length: 2\r\n", 400),
        (b"Transfer-Encoding: chunked\r\n", 411),
        (b"", 411),
    ],
)
def test_bodies_of_another_length_are_refused(head: bytes, status: int) -> None:
    with pytest.raises(RefusalError) as refusal:
        exchange(b"POST / HTTP/1.1\r\n" + HOST + head + b"\r\nabc", max_body_bytes=4)
    assert refusal.value.status == status
