"""Events for programs that speak OpenIGTLink, as pyigtl reads them, and peers that come and go."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import pyigtl
import pytest

from metfa.runtime import Frame, Observation, PlaneEvent, open_source
from metfa.runtime.address import Address
from metfa.runtime.cli import main
from metfa.runtime.errors import OutputError
from metfa.runtime.openigtlink import channel, peers
from metfa.runtime.openigtlink.address import PeerAddress
from metfa.runtime.sinks.openigtlink import OpenIGTLinkSink
from metfa.runtime.streaming.connections import open_connections
from metfa.runtime.streaming.devices import Device
from metfa.runtime.streaming.options import StreamOptions

from ..conftest import grey, make_observation, make_prediction
from .peer import Peer, transform_message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from metfa.runtime.sinks import Sink

COMMAND = [sys.executable, "-c", "from metfa.runtime.cli import run; run()"]
LISTEN = PeerAddress(Address("127.0.0.1", 0), listens=True)


def event(plane: str = "Femur", image: NDArray[np.uint8] | None = None) -> PlaneEvent:
    frame = Frame(grey(7) if image is None else image, 40, time.monotonic(), "phantom:A")
    return PlaneEvent(plane, 0.2, 2.5, 6, 75, 0.98, frame)


def observation() -> Observation:
    return make_observation(event().best, make_prediction("a", np.ones(1, np.float32), grey(7)))


@contextmanager
def sink_of(
    address: PeerAddress, told: list[str], *, device: str = "", images: bool = False
) -> Iterator[OpenIGTLinkSink]:
    with OpenIGTLinkSink(address, device, told.append, images=images) as sink:
        yield sink


def peer_address(peer: Peer) -> PeerAddress:
    return PeerAddress(Address("127.0.0.1", peer.port))


def port_in(told: list[str]) -> int:
    return int(told[0].rpartition(":")[2])


def look_until(sink: OpenIGTLinkSink, condition: Callable[[], object]) -> None:
    """Let the sink look after its peers until a condition holds."""
    give_up_at = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < give_up_at
        sink.write(observation())
        time.sleep(0.001)


@contextmanager
def client_of(port: int) -> Iterator[pyigtl.OpenIGTLinkClient]:
    client = pyigtl.OpenIGTLinkClient("127.0.0.1", port)
    try:
        yield client
    finally:
        client.stop()


def test_a_client_gets_the_event_as_json() -> None:
    told: list[str] = []
    with sink_of(LISTEN, told) as sink, client_of(port_in(told)) as client:
        look_until(sink, lambda: len(told) > 1)
        sink.write_event(event("Fémur"))
        message = client.wait_for_message("metfa", 10)
        assert json.loads(message.string) == {
            "type": "event",
            "plane": "Fémur",
            "start": 0.2,
            "end": 2.5,
            "start_index": 6,
            "end_index": 75,
            "confidence": 0.98,
            "best_index": 40,
            "source": "phantom:A",
        }
        assert message.string.isascii()
        assert message.timestamp == pytest.approx(time.time(), abs=10)
    assert re.fullmatch(r"igtl: listens on 127\.0\.0\.1:\d+", told[0])
    assert re.fullmatch(r"igtl: 127\.0\.0\.1:\d+ is there", told[1])
    assert told[2:] == ["igtl: events sent: 1; missed, as nobody was there: 0"]


@pytest.mark.parametrize("shape", [(48, 64), (48, 64, 3)])
def test_a_client_gets_the_best_frame_where_that_is_wanted(shape: tuple[int, ...]) -> None:
    told: list[str] = []
    best = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    with sink_of(LISTEN, told, device="left room", images=True) as sink, client_of(port_in(told)) as client:
        look_until(sink, lambda: len(told) > 1)
        ended = event(image=best)
        sink.write_event(ended)
        message = client.wait_for_message("left room_image", 10)
        assert client.wait_for_message("left room", 10).message_type == "STRING"
        np.testing.assert_array_equal(message.image[0], best if best.ndim == 2 else best[..., ::-1])
        assert message.timestamp == pytest.approx(time.time() - time.monotonic() + ended.best.captured_at, abs=1)


def test_a_server_gets_the_event() -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    server = pyigtl.OpenIGTLinkServer(port=0)
    told: list[str] = []
    try:
        address = Address("127.0.0.1", server.server_address[1])
        with sink_of(PeerAddress(address), told) as sink:
            sink.write_event(event())
            assert json.loads(server.wait_for_message("metfa", 10).string)["plane"] == "Femur"
    finally:
        server.stop()
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), handlers, strict=True):
            signal.signal(number, handler)  # which pyigtl has taken
    assert told == [f"igtl: {address} is there", "igtl: events sent: 1; missed, as nobody was there: 0"]


def test_a_peer_that_is_away_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "_PAUSE_SECONDS", 0.01)
    told: list[str] = []
    with Peer(b"") as gone:
        address = Address("127.0.0.1", gone.port)
    with sink_of(PeerAddress(address), told) as sink:
        sink.write_event(event())
        sink.write_event(event())
        with closing(socket.create_server(address)) as server:
            look_until(sink, lambda: len(told) > 1)
            sink.write_event(event())
            connection, _ = server.accept()
            connection.recv(1 << 16)
            connection.close()
            look_until(sink, lambda: len(told) > 2)
        sink.write_event(event())
    assert told[:3] == [
        f"igtl: {address} is away: connection refused",
        f"igtl: {address} is there",
        f"igtl: {address} is away: it closed the connection",
    ]
    assert told[-1] == "igtl: events sent: 1; missed, as nobody was there: 3"


def test_a_name_that_is_none_is_away() -> None:
    told: list[str] = []
    with sink_of(PeerAddress(Address("a..b", 18944)), told):
        pass
    assert told[0].startswith("igtl: a..b:18944 is away: ")


def test_a_peer_that_takes_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "_SEND_SECONDS", 0.05)
    told: list[str] = []
    with Peer(b"") as slow, sink_of(peer_address(slow), told, images=True) as sink:
        while len(told) == 1:
            sink.write_event(event(image=np.zeros((2000, 2000), np.uint8)))
    assert told[1] == f"igtl: 127.0.0.1:{slow.port} is away: it does not take what is sent"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such limit")
def test_a_peer_that_acknowledges_nothing_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that is switched off: what was sent stays here, and after a while the system gives it up."""
    monkeypatch.setattr(channel, "_UNACKNOWLEDGED_MS", 100)
    with Peer(b"") as full, closing(channel.Channel.connect(Address("127.0.0.1", full.port), 10)) as connection:
        with pytest.raises(channel.ChannelError, match="it does not take what is sent"):
            connection.send(bytes(1 << 26), time.monotonic())
        with pytest.raises(channel.ChannelError, match="connection timed out"):
            connection.receive_header(time.monotonic() + 10)


def test_what_a_peer_sends_is_dropped() -> None:
    told: list[str] = []
    with Peer(b"") as talkative, sink_of(peer_address(talkative), told) as sink:
        look_until(sink, lambda: talkative.connections)
        # More than the system keeps: where nobody reads it, sending never ends.
        thread = threading.Thread(target=talkative.send, args=(transform_message() * 100_000,))
        thread.start()
        look_until(sink, lambda: not thread.is_alive())
        sink.write_event(event())
        assert talkative.connections[0].recv(12)[2:8] == b"STRING"


def test_there_are_only_so_many_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "_MAX_PEERS", 1)
    told: list[str] = []
    with sink_of(LISTEN, told) as sink, closing(socket.create_connection(("127.0.0.1", port_in(told)))):
        look_until(sink, lambda: len(told) > 1)
        with closing(socket.create_connection(("127.0.0.1", port_in(told)))) as refused:
            sink.write(observation())
            refused.settimeout(10)
            assert refused.recv(1) == b""


def test_an_address_that_is_taken_is_refused() -> None:
    with Peer(b"") as peer, pytest.raises(OutputError, match=f"to be able to listen on 127.0.0.1:{peer.port} for"):
        OpenIGTLinkSink(PeerAddress(Address("127.0.0.1", peer.port), listens=True), "", print, images=False)


def stream(bundle: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, "--bundle", str(bundle), "--no-window", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_the_command_sends_the_events_of_a_server_to_a_server(bundle: Path) -> None:
    """From one peer to another: images in, events out."""
    received: list[Any] = []
    with Peer(b"") as slicer:
        result = stream(bundle, "--device", "phantom:A", "--limit", "30", "--igtl", f"127.0.0.1:{slicer.port}")
        received.append(slicer.connections[0].recv(1 << 16))
    assert result.returncode == 0
    assert f"igtl: 127.0.0.1:{slicer.port} is there" in result.stderr
    assert re.search(r"igtl: events sent: [1-9]\d*; missed, as nobody was there: 0", result.stderr)
    assert received[0][2:8] == b"STRING"


def test_a_peer_that_is_away_does_not_end_a_stream(bundle: Path, folder: Path) -> None:
    with Peer(b"") as gone:
        pass
    result = stream(bundle, "--device", str(folder), "--igtl", f"127.0.0.1:{gone.port}")
    assert result.returncode == 0
    assert f"igtl: 127.0.0.1:{gone.port} is away: connection refused" in result.stderr


def connections_of(*arguments: str) -> Iterator[Sink]:
    """Return the connections of the second of several sources."""
    context = main.make_context("metfa-stream", ["--device", "phantom:A", "--device", "phantom:B", *arguments])
    with open_source("phantom:B") as source:
        yield from open_connections(StreamOptions(**context.params), Device("phantom:B", "2"), source, print)


def test_several_sources_cannot_share_an_address() -> None:
    with pytest.raises(OutputError, match="expected a single source with --igtl listen:…, received several"):
        next(connections_of("--igtl", "listen:127.0.0.1"))


def test_a_single_source_may_have_a_name(tmp_path: Path) -> None:
    (tmp_path / "rooms.txt").write_text("room 1 = phantom:B")
    arguments = ["--devices", str(tmp_path / "rooms.txt"), "--igtl", "listen:127.0.0.1:0"]
    options = StreamOptions(**main.make_context("metfa-stream", arguments).params)
    with open_source("phantom:B") as source:
        (sink,) = open_connections(options, Device("phantom:B", "room 1"), source, print)
        sink.close()


def test_images_need_somebody_to_send_them_to() -> None:
    with pytest.raises(click.UsageError, match="expected --igtl with --igtl-images, received the latter alone"):
        next(connections_of("--igtl-images"))


def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(click.ClickException, match="expected HOST:PORT or listen:HOST:PORT, received 'a:b:c'; give"):
        next(connections_of("--igtl", "a:b:c"))
