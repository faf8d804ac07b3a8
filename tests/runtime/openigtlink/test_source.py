"""Images of an OpenIGTLink server, and everything that can go wrong with one."""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import contextmanager
from itertools import islice, pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest

from metfa.runtime import Frame, open_source
from metfa.runtime.errors import SourceError
from metfa.runtime.openigtlink.messages import HEADER_BYTES
from metfa.runtime.sources import CaptureFormat, live, may_come_later, openigtlink
from metfa.runtime.sources.openigtlink import SenderClock

from ..conftest import grey
from .peer import Peer, image_message, transform_message

if TYPE_CHECKING:
    from collections.abc import Iterator


SERVER = """
import sys, time
import numpy as np
import pyigtl

server = pyigtl.OpenIGTLinkServer(port=0)
print(server.server_address[1], flush=True)
for number in range(10_000):
    image = np.full((1, 48, 64), number % 256, np.uint8)
    server.send_message(pyigtl.ImageMessage(image, device_name="Image_Reference"), wait=False)
    server.send_message(pyigtl.TransformMessage(np.eye(4), device_name="ProbeToTracker"), wait=False)
    time.sleep(0.01)
"""
"""Sends images as fast as one server may, whether or not somebody takes them."""


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the limits be short, so that no test waits for long; a source is lost by what its messages say."""
    monkeypatch.setattr(live, "_STALL_SECONDS", 10)
    monkeypatch.setattr(live, "_MIN_BACK_OFF", 0.001)
    monkeypatch.setattr(live, "_MAX_BACK_OFF", 0.004)
    monkeypatch.setattr(openigtlink, "_FIRST_SECONDS", 0.4)
    monkeypatch.setattr(openigtlink, "_READ_SECONDS", 0.4)


def image(level: int, device: str = "Image_Reference", height: int = 48) -> bytes:
    return image_message(grey(level, height), device)


@contextmanager
def frames_of(url: str, told: list[str] | None = None) -> Iterator[Iterator[Frame]]:
    with open_source(url, notify=list[str]().append if told is None else told.append) as source:
        yield iter(source)


def level(frame: Frame) -> int:
    return int(frame.image[0, 0])


def test_images_of_pyigtl_become_frames() -> None:
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        with open_source(f"igtl://127.0.0.1:{port}") as source:
            assert source.live
            assert source.description == f"OpenIGTLink images of 127.0.0.1:{port}/Image_Reference, 64x48 pixels"
            frames = list(islice(source, 20))
        server.kill()
    assert [frame.session for frame in frames] == [0] * 20
    assert {frame.source for frame in frames} == {f"igtl://127.0.0.1:{port}"}
    steps = [later.index - frame.index for frame, later in pairwise(frames)]
    assert [(level(later) - level(frame)) % 256 for frame, later in pairwise(frames)] == steps


def test_only_the_newest_image_is_kept() -> None:
    with Peer(image(0)) as peer, frames_of(peer.url) as frames:
        assert level(next(frames)) == 0
        for number in range(1, 200):
            peer.send(image(number))
        peer.send(transform_message())
        while level(frame := next(frames)) != 199:  # what was not read yet may be in between
            pass
        assert frame.index == 199


def test_the_first_image_names_the_device() -> None:
    with Peer(transform_message() + image(1, "a")) as peer, frames_of(peer.url) as frames:
        assert level(next(frames)) == 1
        peer.send(image(2, "b") + image(3, "a"))
        assert level(next(frames)) == 3


def test_the_user_names_the_device() -> None:
    with Peer(image(1, "a") + image(2, "left room")) as peer, frames_of(f"{peer.url}/left%20room") as frames:
        assert level(next(frames)) == 2


def test_colours_are_blue_green_red() -> None:
    rgb = np.zeros((48, 64, 3), np.uint8)
    rgb[..., 0] = 200
    with Peer(image_message(rgb)) as peer, frames_of(peer.url) as frames:
        assert next(frames).image[0, 0].tolist() == [0, 0, 200]


def test_metadata_are_passed_over() -> None:
    message = image_message(grey(7), header_version=2, metadata={"Depth": "55"})
    with Peer(message) as peer, frames_of(peer.url) as frames:
        np.testing.assert_array_equal(next(frames).image, grey(7))


def broken_off() -> bytes:
    return image(9)[:1000]


def forged() -> bytes:
    """Return a header that announces a terabyte."""
    message = bytearray(image(9)[:HEADER_BYTES])
    message[42:50] = (1 << 40).to_bytes(8, "big")
    return bytes(message)


def damaged() -> bytes:
    message = bytearray(image(9))
    message[-1] ^= 1
    return bytes(message)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (broken_off(), "it stopped in the middle of a message"),
        (forged(), "a message of 1099511627776 bytes is announced, and at most 67108864 are taken"),
        (3 * damaged(), "the checksums of 3 images in succession are wrong"),
        (b"HTTP/1.1 400 Bad Request\r\n" + bytes(100), "what comes is no OpenIGTLink: a header of version 18516"),
        (b"", "no image for 0.4 s"),
        (transform_message(), "no image for 0.4 s, only TRANSFORM of 'ProbeToTracker'"),
        (
            image_message(np.zeros((48, 64, 2), np.uint8)),
            "no image for 0.4 s, only IMAGE of 'Image_Reference' (2 components of scalar type 3 in byte order 2)",
        ),
    ],
    ids=["stopped", "forged length", "wrong checksums", "another protocol", "silent", "no image", "another image"],
)
def test_a_server_that_fails_is_connected_to_again(data: bytes, reason: str) -> None:
    told: list[str] = []
    with Peer(image(1), image(2)) as peer, frames_of(peer.url, told) as frames:
        assert level(next(frames)) == 1
        peer.send(data)
        frame = next(frames)
        assert (level(frame), frame.session, frame.losses) == (2, 1, 1)
    assert told[-2] == f"lost: {reason}; reconnecting"
    assert told[-1].startswith("back after ")


@pytest.mark.parametrize("data", [b"", broken_off()], ids=["between messages", "in a message"])
def test_a_server_that_is_gone_is_waited_for(data: bytes) -> None:
    told: list[str] = []
    with Peer(image(1), image(2)) as peer, frames_of(peer.url, told) as frames:
        next(frames)
        peer.send(data)
        peer.drop()
        assert level(next(frames)) == 2
    assert told[0] == "lost: it closed the connection; reconnecting"
    assert len(told) == 2


def test_a_server_may_come_back_with_another_device() -> None:
    told: list[str] = []
    with Peer(image(1, "a"), image(2, "b")) as peer, frames_of(peer.url, told) as frames:
        next(frames)
        peer.drop()
        assert level(next(frames)) == 2
    assert told[1] == "warning: the images are those of 'b' now; before, they were of 'a'"


def test_a_server_that_dribbles_is_lost() -> None:
    told: list[str] = []
    with Peer(image(1), image(2)) as peer, frames_of(peer.url, told) as frames:
        next(frames)
        dribbles = threading.Event()

        def dribble() -> None:
            for byte in image(9):
                if dribbles.wait(0.01) or len(peer.connections) > 1:
                    return
                peer.connections[0].sendall(bytes([byte]))

        thread = threading.Thread(target=dribble)
        thread.start()
        try:
            assert level(next(frames)) == 2  # the first connection never was a second without a byte
        finally:
            dribbles.set()
            thread.join()
    assert told[0] == "lost: it stopped in the middle of a message; reconnecting"


def test_one_wrong_checksum_costs_one_image() -> None:
    told: list[str] = []
    with Peer(image(1)) as peer, frames_of(peer.url, told) as frames:
        next(frames)
        for number in range(2, 6):  # more than may come in succession
            peer.send(damaged() + image(number))
            frame = next(frames)
            assert (level(frame), frame.session) == (number, 0)
    assert told == ["warning: an image was left out, as its checksum is wrong; so are others like it"]


def test_images_of_another_size_are_another_session() -> None:
    told: list[str] = []
    with Peer(image(1)) as peer, frames_of(peer.url, told) as frames:
        next(frames)
        peer.send(image(2, height=50))
        frame = next(frames)
        assert (frame.session, frame.losses, frame.image.shape) == (1, 0, (50, 64))
    assert told == ["the size changed from 64x48 to 64x50 pixels"]


@pytest.mark.parametrize(
    ("greeting", "device", "received"),
    [
        (b"", "", "no image for 0.4 s; "),
        (image(1, "a") + image(1, "a"), "/b", "no image for 0.4 s, only IMAGE of 'a'; name a device"),
        (3 * damaged(), "", "the checksums of 3 images in succession are wrong"),
        (forged(), "", "a message of 1099511627776 bytes is announced"),
        (b"220 mail.example ESMTP" + bytes(100), "", "what comes is no OpenIGTLink: a header of version 12850"),
    ],
    ids=["silent", "another device", "wrong checksums", "forged length", "another protocol"],
)
def test_a_server_without_such_images_is_refused(greeting: bytes, device: str, received: str) -> None:
    with Peer(greeting) as peer, pytest.raises(SourceError) as error:
        open_source(peer.url + device)
    assert f"expected OpenIGTLink images of {peer.url}{device}, received {received}" in str(error.value)


def test_a_server_that_is_away_is_refused() -> None:
    with Peer(b"") as peer:
        url = peer.url
    with pytest.raises(SourceError, match="received connection refused; start the server, such as PlusServer"):
        open_source(url)
    assert may_come_later(url)


@pytest.mark.parametrize("url", ["igtl://", "igtl://host:70000", "igtl://host:a/b", "igtl:///device"])
def test_a_url_that_is_spelt_wrongly_is_refused(url: str) -> None:
    with pytest.raises(SourceError, match=r"expected a URL such as igtl://127\.0\.0\.1:18944/Image_Reference"):
        open_source(url)


def test_a_server_has_a_format_of_its_own() -> None:
    with pytest.raises(SourceError, match="which has a format of its own"):
        open_source("igtl://127.0.0.1", CaptureFormat(rate=30))


def test_a_source_that_waits_can_be_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openigtlink, "_READ_SECONDS", 60)
    with Peer(image(1)) as peer:
        source = open_source(peer.url)
        frames = iter(source)
        next(frames)
        source.close()
        assert next(frames, None) is None


def test_the_timestamps_of_the_sender_are_those_of_the_frames() -> None:
    with Peer(image_message(grey(1), timestamp=5000.0)) as peer, frames_of(peer.url) as frames:
        first = next(frames)
        peer.send(image_message(grey(2), timestamp=5000.0 + 1e-6))
        assert next(frames).captured_at - first.captured_at == pytest.approx(1e-6, abs=0.01)


def test_what_waits_on_the_way_is_older() -> None:
    clock = SenderClock()
    assert clock.place(5000.0, 10.0) == 10.0  # the clocks differ by anything
    assert clock.place(5000.1, 10.3) == pytest.approx(10.1, abs=1e-3)
    assert clock.place(5000.2, 10.3) == pytest.approx(10.2, abs=1e-3)
    assert clock.place(5000.3, 10.3) == pytest.approx(10.3, abs=1e-3)


def test_a_quicker_image_sets_the_clock() -> None:
    clock = SenderClock()
    assert clock.place(5000.0, 10.5) == 10.5  # it had waited for half a second
    assert clock.place(5000.1, 10.5) == 10.5
    assert clock.place(5000.4, 10.5) == 10.5
    assert clock.place(5000.5, 10.7) == pytest.approx(10.6, abs=1e-3)


@pytest.mark.parametrize("timestamp", [0.0, 5000.0, 4000.0])
def test_timestamps_that_do_not_grow_say_nothing(timestamp: float) -> None:
    clock = SenderClock()
    clock.place(5000.0, 10.0)
    assert [clock.place(timestamp, at) for at in (11.0, 12.0, 13.5)] == [11.0, 12.0, 13.5]


def test_a_clock_that_was_set_back_is_followed() -> None:
    clock = SenderClock()
    clock.place(5000.0, 10.0)
    assert clock.place(4000.0, 11.0) == 11.0
    assert clock.place(4000.1, 11.2) == pytest.approx(11.1, abs=1e-3)


def test_clocks_that_run_apart_are_no_delay() -> None:
    clock = SenderClock()
    ages = [at - clock.place(at * (1 - 1e-4), at) for at in np.arange(1, 1800, 1 / 30)]  # 0.18 s in half an hour
    assert max(ages) < 1e-3


def test_a_time_never_goes_back() -> None:
    clock, random = SenderClock(), np.random.default_rng(0)
    sent = 5000 + np.arange(300) / 30
    received = np.maximum.accumulate(sent - 4000 + random.exponential(0.1, 300))
    captured = [clock.place(*times) for times in zip(sent.tolist(), received.tolist(), strict=True)]
    assert captured == sorted(captured)
    assert all(at <= by for at, by in zip(captured, received.tolist(), strict=True))
