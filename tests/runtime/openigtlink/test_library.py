"""The examples of the OpenIGTLink library, the reference in C++, as peers: they compare the checksums, too."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from metfa.runtime import Frame, PlaneEvent, Source, open_source
from metfa.runtime.errors import SourceError
from metfa.runtime.openigtlink.address import PeerAddress
from metfa.runtime.sinks.openigtlink import OpenIGTLinkSink

from ..conftest import grey

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = Path("/usr/share/doc/openigtlink-examples/examples")
HEADERS = Path("/usr/include/openigtlink")
IMAGES = EXAMPLES / "Imager" / "img"

pytestmark = pytest.mark.skipif(
    not (shutil.which("g++") and HEADERS.is_dir() and IMAGES.is_dir()),
    reason="needs g++ and Debian's libopenigtlink-dev and openigtlink-examples",
)


def build(example: str, directory: Path) -> Path:
    program = directory / Path(example).name
    include = [f"-I{folder}" for folder in (HEADERS, *HEADERS.rglob("*/"))]
    source = EXAMPLES / f"{example}.cxx"
    subprocess.run(["g++", "-w", *include, source, "-o", program, "-lOpenIGTLink", "-lpthread"], check=True)
    return program


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def running(program: Path, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([program, *map(str, arguments)], stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def open_soon(url: str, server: subprocess.Popen[str]) -> Source:
    """Open a source once the server listens."""
    try:
        return open_source(url)
    except SourceError:
        assert server.poll() is None
    time.sleep(0.01)
    return open_soon(url, server)


def test_its_images_become_frames(tmp_path: Path) -> None:
    port = free_port()
    images = [np.fromfile(IMAGES / f"igtlTestImage{number}.raw", np.uint8).reshape(256, 256) for number in range(1, 6)]
    with (
        running(build("Imager/ImagerServer", tmp_path), port, 100, IMAGES) as server,
        open_soon(f"igtl://127.0.0.1:{port}/ImagerClient", server) as source,
    ):
        frames = list(islice(source, 10))
    for frame in frames:
        np.testing.assert_array_equal(frame.image, images[frame.index % 5])


def test_it_reads_events(tmp_path: Path) -> None:
    told: list[str] = []
    frame = Frame(grey(7), 40, time.monotonic(), "phantom:A")
    with OpenIGTLinkSink(PeerAddress.parse("listen:127.0.0.1:0"), "", told.append, images=True) as sink:
        client = build("Receiver/ReceiveClient", tmp_path)
        with running(client, "127.0.0.1", told[0].rpartition(":")[2]) as process:
            while len(told) == 1:
                sink.write_event(PlaneEvent("Femur", 0.2, 2.5, 6, 75, 0.98, frame))
                time.sleep(0.01)
            sink.close()
            _, received = process.communicate(timeout=60)
    assert 'Encoding: 3; String: {"type": "event", "plane": "Femur", ' in received
    assert "Device Name           : metfa_image\nScalar Type           : 3\n" in received
    assert "Dimensions            : (64, 48, 1)\nSpacing               : (1, 1, 1)\n" in received
