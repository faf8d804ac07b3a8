"""The dashboard as programs see it, over real connections."""

from __future__ import annotations

import base64
import http.client
import json
import math
import socket
import threading
import time
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from metfa.runtime import StreamStatistics
from metfa.runtime.decisions.scanner_check import ScannerReference, ScannerReport, ScannerStatistics
from metfa.runtime.errors import OutputError
from metfa.runtime.imaging.appearance import FEATURES
from metfa.runtime.sinks import Feeds, ScannerSink
from metfa.runtime.sinks.dashboard import board, events
from metfa.runtime.web import server

from .stream import ABOUT, LABELS, Stream, end, observe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from metfa.runtime import Observation

Answer = tuple[int, dict[str, str], bytes]
TOKEN = "correct-horse_battery"


def get(stream: Stream, path: str, method: str = "GET", **headers: str) -> Answer:
    with closing(http.client.HTTPConnection("127.0.0.1", stream.port, timeout=10)) as connection:
        return fetch(connection, path, method, **headers)


def fetch(connection: http.client.HTTPConnection, path: str, method: str = "GET", **headers: str) -> Answer:
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()


def answer_to(stream: Stream, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", stream.port), timeout=10) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(4096), b""))


def decode(jpeg: bytes) -> NDArray[np.uint8]:
    return np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE), np.uint8)


class Viewer:
    """Reads Server-Sent Events as a browser does."""

    def __init__(self, stream: Stream) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", stream.port, timeout=10)
        self.connection.request("GET", "/events")
        self.response = self.connection.getresponse()
        self.passed: list[tuple[str, dict[str, Any]]] = []
        assert self.response.status == 200
        assert self.response.readline() + self.response.readline() == b"retry: 1000\n\n"

    def messages(self) -> Iterator[tuple[str, dict[str, Any]]]:
        while line := self.response.readline():
            name = line.decode().removeprefix("event: ").strip()
            data = json.loads(self.response.readline().decode().removeprefix("data: "))
            assert self.response.readline() == b"\n"
            yield name, data

    def next(self, name: str) -> dict[str, Any]:
        """Return the next message of that name; others that come before it are kept for their turn."""
        for place, (kind, data) in enumerate(self.passed):
            if kind == name:
                del self.passed[place]
                return data
        give_up_at = time.monotonic() + 30
        for kind, data in self.messages():
            if kind == name:
                return data
            self.passed.append((kind, data))
            assert time.monotonic() < give_up_at, self.passed
        raise AssertionError(self.passed)

    def close(self) -> None:
        self.response.close()
        self.connection.close()


@pytest.fixture
def stream() -> Iterator[Stream]:
    with Stream() as stream:
        yield stream


@pytest.mark.parametrize(
    ("path", "kind", "contains"),
    [
        ("/", "text/html; charset=utf-8", b'<script type="module" src="page.js">'),
        ("/page.css", "text/css; charset=utf-8", b"--accent"),
        ("/page.js", "text/javascript; charset=utf-8", b"EventSource"),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8", b"\nmetfa_frames_classified_total 0\n"),
    ],
)
def test_what_is_served(stream: Stream, path: str, kind: str, contains: bytes) -> None:
    status, headers, body = get(stream, path)
    assert (status, headers["content-type"]) == (200, kind)
    assert contains in body
    assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'; ")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"
    status, headers, nothing = get(stream, path, "HEAD")
    assert (status, int(headers["content-length"]), nothing) == (200, len(body), b"")


def test_the_page_uses_nothing_from_elsewhere(stream: Stream) -> None:
    sources = b"".join(get(stream, path)[2] for path in ("/", "/page.css", "/page.js"))
    assert b"https:" not in sources
    assert sources.count(b"http:") == sources.count(b"xmlns='http://www.w3.org/2000/svg'")


@pytest.mark.parametrize(
    "path", ["/nothing", "/page.html", "/../sink.py", "/picture", "/snapshots/1", "/snapshots/0", "/snapshots/x", "//"]
)
def test_what_is_not_there(stream: Stream, path: str) -> None:
    status, _, body = get(stream, path)
    assert status == 404
    assert body


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [("POST", {}, 405), ("GET", {"Host": "attacker.example"}, 421), ("GET", {"Content-Length": "5"}, 400)],
)
def test_what_is_refused(stream: Stream, method: str, headers: dict[str, str], status: int) -> None:
    assert get(stream, "/", method, **headers)[0] == status


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"HEAD /events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", b"200"),
        (b"HEAD /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n", b"404"),
        (b"HEAD page HTTP/1.1\r\nHost: localhost\r\n\r\n", b"400"),
        (b"HEAD / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n", b"400"),
        (b"HEAD / HTTP/2.0\r\nHost: localhost\r\n\r\n", b"505"),
    ],
)
def test_head_gets_no_body_even_where_it_is_refused(stream: Stream, request_: bytes, status: bytes) -> None:
    head, _, body = answer_to(stream, request_).partition(b"\r\n\r\n")
    assert head.split()[1] == status
    assert body == b""


def test_events_reach_a_client_of_http_1_0_too(stream: Stream) -> None:
    with socket.create_connection(("127.0.0.1", stream.port), timeout=10) as connection:
        connection.sendall(b"GET /events HTTP/1.0\r\n\r\n")
        received = connection.recv(4096)
        stream.dashboard.close()
        received += b"".join(iter(lambda: connection.recv(4096), b""))
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert body.startswith(b"retry: 1000\n\nevent: hello\n")
    assert body.endswith(b"\n\nevent: end\ndata: {}\n\n")


def test_one_connection_serves_many_requests(stream: Stream) -> None:
    stream.put(observe(0))
    with closing(http.client.HTTPConnection("127.0.0.1", stream.port, timeout=10)) as connection:
        connection.connect()
        used = connection.sock
        for path in ("/", "/page.js", "/metrics", "/picture"):
            fetch(connection, path)
            assert connection.sock is used
        assert fetch(connection, "/nothing")[1]["connection"] == "close"


def test_a_wrong_token_costs_time_and_the_right_one_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_GUESS_SECONDS", 0.2)
    with Stream(token=TOKEN) as stream, ExitStack() as stack:
        began = time.monotonic()
        guesses = [stack.enter_context(socket.create_connection(("127.0.0.1", stream.port))) for _ in range(4)]
        for guess in guesses:
            guess.sendall(b"GET /?token=guessed-guessed-1 HTTP/1.1\r\nHost: a\r\n\r\n" * 9)
        assert get(stream, "/metrics", Authorization=f"Bearer {TOKEN}")[0] == 200
        assert len(stream.server._next_guess_at) == 1
        for guess in guesses:
            answers = b"".join(iter(lambda guess=guess: guess.recv(4096), b""))  # type: ignore[misc]
            assert answers.count(b"HTTP/1.1 401 ") == 1
            assert b"401 Unauthorized: this is not the token\n" in answers
        assert time.monotonic() - began > 0.8
        while stream.server._connections:
            time.sleep(0.01)
        assert not stream.server._next_guess_at


def test_wrong_tokens_do_not_hold_up_the_end() -> None:
    with Stream(token=TOKEN) as stream, socket.create_connection(("127.0.0.1", stream.port)) as guess:
        guess.sendall(b"GET /?token=guessed-guessed-1 HTTP/1.1\r\nHost: a\r\n\r\n")
        while not stream.server._next_guess_at:
            time.sleep(0.01)
        stream.dashboard.close()
        assert guess.recv(100).startswith(b"HTTP/1.1 401 ")


def test_the_token_moves_from_the_address_into_a_cookie() -> None:
    with Stream(token=TOKEN) as stream:
        assert get(stream, "/")[0] == 401
        assert get(stream, "/picture")[0] == 401
        assert get(stream, "/?token=guessed-token")[0] == 401
        status, headers, _ = get(stream, f"/?token={TOKEN}")
        assert (status, headers["location"]) == (303, "./")
        cookie = headers["set-cookie"].partition(";")[0]
        assert get(stream, "/", Cookie=cookie)[0] == 200
        assert get(stream, "/metrics", Authorization=f"Bearer {TOKEN}")[0] == 200


def test_a_viewer_is_told_what_happens(stream: Stream) -> None:
    stream.put(end(90))
    stream.put(observe(93, "Abdominal"))
    with closing(Viewer(stream)) as viewer:
        hello = viewer.next("hello")
        assert (hello["source"], hello["backend"], tuple(hello["labels"])) == ("phantom:B", "a backend", LABELS)
        event = viewer.next("event")
        assert event == {"number": 1, "plane": "Femur", "start": 2, "end": 3, "best": 2.667, "confidence": 0.9}
        assert viewer.next("frame") == {
            "number": 1,
            "index": 93,
            "time": 3.1,
            "session": 0,
            "label": "Abdominal",
            "confidence": 0.8,
            "probabilities": [0.8, 0.1, 0.1],
            "status": "Abdominal 75%",
            "plane": "Abdominal",
            "plane_confidence": 0.75,
            "latency_ms": 4.0,
        }
        assert 1 in [viewer.next("statistics")["frames"] for _ in range(2)]  # the first may be older than the frame
        stream.put(observe(94, status="undecided"))
        frame = viewer.next("frame")
        assert [frame[name] for name in ("number", "label", "status", "plane")] == [2, "Femur", "no plane", None]
    with closing(Viewer(stream)) as late:
        assert late.next("hello")["history"] == [
            {"time": 3.1, "session": 0, "label": "Abdominal", "plane": "Abdominal", "latency_ms": 4.0}
        ]
        assert late.next("event") == event


@pytest.mark.parametrize(
    ("report", "told"),
    [
        (
            ScannerReport("not enough yet", math.nan, math.nan, 0),
            {
                "verdict": "not enough yet",
                "text": "Too few images yet to tell whether they look like those the model was trained on.",
                "scanners": [{"name": "A", "distance": None}, {"name": "B", "distance": None}],
            },
        ),
        (
            ScannerReport("target", 1.23456, 0.5, 40),
            {
                "verdict": "target",
                "text": "In grey levels and texture, these images look like those of B, "
                "which the model was trained on; what they show is not checked.",
                "scanners": [{"name": "A", "distance": 1.235}, {"name": "B", "distance": 0.5}],
            },
        ),
        (
            ScannerReport("unknown", 7, None, 40),
            {
                "verdict": "unknown",
                "text": "These images look unlike those the model was trained on (scanner, preset or gain). "
                "Treat its labels with care.",
                "scanners": [{"name": "A", "distance": 7}],
            },
        ),
    ],
)
def test_a_viewer_is_told_of_the_scanner(
    monkeypatch: pytest.MonkeyPatch, report: ScannerReport, told: dict[str, Any]
) -> None:
    points = ((0.0,) * FEATURES,)
    reference = ScannerReference("A", points[0], points * FEATURES, points, 1.0)
    target = replace(reference, name="B") if report.target is not None else None
    scanner = ScannerSink(ScannerStatistics(1, reference, target), notify=print)
    _, names = scanner.finding()
    monkeypatch.setattr(scanner, "finding", lambda: (report, names))
    with Stream(scanner=scanner) as stream, closing(Viewer(stream)) as viewer:
        assert viewer.next("statistics")["scanner"] == told


def test_statistics_come_without_frames_too(stream: Stream) -> None:
    stream.put(observe(0))
    with closing(Viewer(stream)) as viewer:
        ages = [viewer.next("statistics")["idle_s"] for _ in range(3)]
    assert ages == sorted(ages)
    assert ages[2] > ages[0] + 0.5


def test_the_picture_is_the_newest_and_encoded_once(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[float] = []
    original = board._to_jpeg

    def encode(image: NDArray[np.uint8], width: int) -> bytes:
        encoded.append(image.mean())
        return original(image, width)

    monkeypatch.setattr(board, "_to_jpeg", encode)
    with closing(Viewer(stream)) as viewer:
        for level in (40, 200):
            stream.put(observe(level))
            viewer.next("frame")
            for _ in range(3):
                status, headers, picture = get(stream, "/picture?7")
                assert (status, headers["content-type"]) == (200, "image/jpeg")
                assert decode(picture).shape == (48, 64)
                assert decode(picture).mean() == pytest.approx(level, abs=2)
    assert encoded == [40, 200]


def test_a_frame_that_comes_while_a_picture_is_asked_for_does_not_get_the_picture_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Interrupted(board.Board):
        """Is given another frame as soon as it has looked which one is shown."""

        another: Observation | None = None

        def __getattribute__(self, name: str) -> Any:
            value = super().__getattribute__(name)
            if name == "_shown" and self.another is not None:
                another, self.another = self.another, None
                self.put(another)
                self.tick()
            return value

    shown = Interrupted(ABOUT, StreamStatistics(), None)
    shown.put(observe(40))
    shown.tick()
    shown.another = observe(200)
    for level in (40, 200):
        picture = shown.picture()
        assert picture is not None
        assert decode(picture).mean() == pytest.approx(level, abs=2)


def test_nothing_is_encoded_for_nobody(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board, "_to_jpeg", None)
    for index in range(20):
        stream.put(observe(index))
        time.sleep(0.01)


def test_large_pictures_are_shrunk(stream: Stream) -> None:
    large = np.zeros((1500, 2560, 3), np.uint8)
    stream.put(observe(0, image=large))
    stream.put(end(30, image=large))
    with closing(Viewer(stream)) as viewer:
        viewer.next("event")
        viewer.next("frame")
    assert decode(get(stream, "/picture")[2]).shape == (750, 1280)
    assert decode(get(stream, "/snapshots/1")[2]).shape == (281, 480)


def test_the_last_events_keep_their_best_frames(stream: Stream) -> None:
    for index in range(1, 31):
        stream.put(end(8 * index))
    with closing(Viewer(stream)) as viewer:
        numbers = [viewer.next("event")["number"] for _ in range(24)]
    assert numbers == list(range(7, 31))
    assert decode(get(stream, "/snapshots/30")[2]).mean() == pytest.approx(230, abs=2)
    assert get(stream, "/snapshots/6")[0] == 404


def test_the_end_is_told_with_the_last_frame(stream: Stream) -> None:
    with closing(Viewer(stream)) as viewer:
        viewer.next("hello")
        stream.put(observe(99))
        stream.dashboard.close()
        messages = list(viewer.messages())
    assert [data["index"] for name, data in messages if name == "frame"] == [99]
    (*_, end_of_stream, (name, picture)) = messages
    assert end_of_stream == ("end", {})
    assert name == "picture"
    assert decode(base64.b64decode(picture["jpeg"])).mean() == pytest.approx(99, abs=2)
    with pytest.raises(ConnectionRefusedError):
        get(stream, "/")
    stream.dashboard.close()


def test_an_event_at_the_end_comes_with_its_best_frame(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_FETCH_SECONDS", math.inf)
    with closing(Viewer(stream)) as viewer:
        stream.put(observe(30))
        stream.put(end(30))
        viewer.next("event")
        stream.put(observe(75))
        stream.put(end(75, "Abdominal"))
        stream.dashboard.close()  # before anybody can have asked for a picture
        messages = viewer.passed + list(viewer.messages())
    assert [data["plane"] for name, data in messages if name == "event"] == ["Abdominal"]
    best = {data["number"]: decode(base64.b64decode(data["jpeg"])).mean() for name, data in messages if name == "best"}
    assert best == {1: pytest.approx(20, abs=2), 2: pytest.approx(65, abs=2)}


def test_best_frames_that_could_be_asked_for_are_not_sent_again(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_FETCH_SECONDS", 0.0)
    with closing(Viewer(stream)) as viewer:
        stream.put(end(30))
        viewer.next("event")
        stream.dashboard.close()
        assert [name for name, _ in viewer.messages() if name in {"best", "end", "picture"}] == ["end"]


def test_viewers_are_told_of_the_end_only_when_the_board_shows_the_last_frame(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last tick is held up until every viewer has had its turn."""
    with closing(Viewer(stream)) as viewer:
        viewer.next("hello")
        loop, tick = stream.server._loop, stream.dashboard._board.tick
        stream.put(observe(98))
        viewer.next("frame")

        def hold_up() -> None:
            stream.dashboard._board.put(observe(99))  # as if it came at the very end
            tick()

        loop.call_soon_threadsafe(lambda: monkeypatch.setattr(stream.dashboard._board, "tick", hold_up))
        stream.dashboard.close()
        assert [data["index"] for name, data in viewer.messages() if name == "frame"][-1] == 99


def test_a_viewer_that_stops_reading_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_FAREWELL_SECONDS", 0.05)
    monkeypatch.setattr("metfa.runtime.web.http._SEND_SECONDS", 600.0)
    noise = np.random.default_rng(0).integers(0, 256, (1400, 1280), np.uint8)
    with Stream() as stream, socket.socket() as stuck:
        stream.put(observe(0, image=noise))
        with closing(Viewer(stream)) as viewer:
            viewer.next("frame")
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.connect(("127.0.0.1", stream.port))
        stuck.sendall(b"GET /picture HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20)
        stuck.recv(1)
        stream.dashboard.close()
        assert not stream.server._thread.is_alive()


def test_a_viewer_that_stops_reading_is_is_let_go_and_delays_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metfa.runtime.web.http._SEND_SECONDS", 0.2)
    noise = np.random.default_rng(0).integers(0, 256, (1400, 1280), np.uint8)
    with Stream() as stream, ExitStack() as stack:
        stream.put(observe(0, image=noise))
        watching = stack.enter_context(closing(Viewer(stream)))
        watching.next("frame")
        stuck = stack.enter_context(socket.socket())
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.connect(("127.0.0.1", stream.port))
        stuck.sendall(b"GET /picture HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20)
        for index in range(1, 12):
            stream.put(observe(index, image=noise))
            assert watching.next("frame")["index"] == index
        while len(stream.server._connections) > 1:
            time.sleep(0.01)


def test_many_viewers_see_the_same_and_the_stream_does_not_wait(stream: Stream) -> None:
    seen: list[int] = []

    def watch(viewer: Viewer) -> None:
        while (index := viewer.next("frame")["index"]) < 1000:
            get(stream, "/picture")
        seen.append(index)

    with ExitStack() as stack:
        viewers = [stack.enter_context(closing(Viewer(stream))) for _ in range(20)]
        threads = [threading.Thread(target=watch, args=(viewer,)) for viewer in viewers]
        for thread in threads:
            thread.start()
        for index in range(1001):
            stream.put(observe(index))
        for thread in threads:
            thread.join()
    assert seen == [1000] * 20


def test_too_many_connections_are_turned_away(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_MAX_CONNECTIONS", 3)
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(closing(Viewer(stream)))
        assert get(stream, "/")[0] == 503


def test_connections_that_ask_for_nothing_lock_nobody_out(stream: Stream) -> None:
    with closing(Viewer(stream)) as viewer, ExitStack() as stack:
        viewer.next("hello")
        silent = [stack.enter_context(socket.create_connection(("127.0.0.1", stream.port))) for _ in range(300)]
        for each in silent:
            each.sendall(b"GET / HT")
        assert get(stream, "/")[0] == 200
        with suppress(ConnectionResetError):
            assert silent[0].recv(1) == b""
        viewer.next("statistics")
        while len(stream.server._connections) > 18:  # as soon as the threads of those that are closed end
            time.sleep(0.05)


def test_one_address_does_not_take_every_place(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_MAX_CONNECTIONS_PER_ADDRESS", 3)
    networks = iter(["192.0.2.1"] * 4 + ["192.0.2.2"])
    monkeypatch.setattr(server, "_network", lambda _: next(networks))
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(closing(Viewer(stream)))
        assert get(stream, "/")[0] == 503
        assert get(stream, "/")[0] == 200


@pytest.mark.parametrize(
    ("peer", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_an_address_is_all_that_its_owner_may_take(peer: str, network: str) -> None:
    assert server._network((peer, 1234)) == network


@pytest.mark.parametrize("limit", ["_IDLE_SECONDS", "_FIRST_SECONDS"])
def test_a_silent_connection_is_closed(stream: Stream, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr(server, limit, 0.05)
    with socket.create_connection(("127.0.0.1", stream.port), timeout=10) as connection:
        if limit == "_IDLE_SECONDS":
            connection.sendall(b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
        connection.sendall(b"GET / HT")
        assert connection.recv(100) == b""


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\x02\x00\x01", b"\r\n\r\n"])
def test_viewers_that_vanish_do_no_harm(stream: Stream, sent: bytes) -> None:
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", stream.port)) as connection:
            connection.sendall(sent)
    assert get(stream, "/")[0] == 200


def test_a_mistake_of_the_server_is_reported_and_the_stream_goes_on(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metfa.runtime.sinks.dashboard.routes.to_prometheus", lambda _: 1 / 0)
    said: list[str] = []
    with Feeds(live=True, notify=said.append) as feeds:
        feeds.add(stream.dashboard)
        with pytest.raises(http.client.RemoteDisconnected):
            get(stream, "/metrics")
        while not said:
            feeds.put(observe(0))
            time.sleep(0.001)
        assert not feeds.failed
    assert said == [
        "dashboard: left out from here on: expected the web server to go on, "
        "received ZeroDivisionError: division by zero; report this as a bug"
    ]
    with pytest.raises(OutputError):
        stream.put(observe(1))
