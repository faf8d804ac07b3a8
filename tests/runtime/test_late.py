"""Sources that are not there when the stream begins: waited for where they may come, one by one, disturbing nobody."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from contextlib import closing
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from metfa.runtime import Frame, Source
from metfa.runtime.errors import SourceError
from metfa.runtime.sources import LateSource, late, may_come_later

from .conftest import grey, write_clip

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMMAND = [sys.executable, "-c", "from metfa.runtime.cli import run; run()"]
HEADLESS = {name: value for name, value in os.environ.items() if name not in {"DISPLAY", "WAYLAND_DISPLAY"}}
AWAY = SourceError(expected="an answer", received="none", remedy="wait")


class Three(Source):
    """Three frames."""

    live, rate, description = True, 25.0, "three frames"

    def __init__(self) -> None:
        self.closed = False

    def __iter__(self) -> Iterator[Frame]:
        for index in range(3):
            yield Frame(grey(index), index, float(index), "three")

    def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late, "_MIN_BACK_OFF", 0.001)


def test_a_source_is_opened_until_it_is_there() -> None:
    three, attempts, told = Three(), list[int](), list[str]()

    def open_third_time() -> Source:
        attempts.append(1)
        if len(attempts) < 3:
            raise AWAY
        return three

    source = LateSource(open_third_time, told.append)
    assert (source.live, source.is_there, source.description) == (True, False, "not there at the start")
    assert [frame.index for frame in source] == [0, 1, 2]
    assert (source.is_there, source.rate, source.description, told) == (True, 25.0, "three frames", ["three frames"])
    source.close()
    assert three.closed


def test_a_source_that_never_comes_ends_when_it_is_closed() -> None:
    asked = threading.Event()

    def never() -> Source:
        asked.set()
        raise AWAY

    source = LateSource(never, lambda line: None)
    frames: list[Frame] = []
    thread = threading.Thread(target=lambda: frames.extend(source))
    thread.start()
    assert asked.wait(10)
    source.close()
    thread.join(10)
    assert (thread.is_alive(), frames, source.is_there) == (False, [], False)


def test_a_source_that_comes_while_it_is_closed_is_let_go() -> None:
    three = Three()
    source = LateSource(lambda: source.close() or three, lambda line: None)  # type: ignore[func-returns-value]
    assert list(source) == []
    assert three.closed


@pytest.mark.parametrize(
    ("spec", "may"),
    [
        ("0", True),
        ("/dev/video7", True),
        ("rtsp://camera/scan", True),
        ("http://camera/scan.mp4", True),
        ("gst:videotestsrc ! appsink", True),
        ("scan.mp4", False),
        ("file:///scan.mp4", False),
        ("phantom:Z", False),
        ("-", False),
    ],
)
def test_files_do_not_come_later(spec: str, may: bool) -> None:
    assert may_come_later(spec) == may


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(bundle: Path, *devices: str, seconds: float = 60) -> subprocess.Popen[str]:
    arguments = ["--seconds", str(seconds), *(argument for device in devices for argument in ("--device", device))]
    return subprocess.Popen(
        [*COMMAND, "--bundle", str(bundle), "--no-window", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=HEADLESS,
    )


def test_one_of_several_sources_may_come_later(bundle: Path, tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4", 20)
    port = free_port()
    with start(bundle, str(tmp_path / "clip.mp4"), f"http://127.0.0.1:{port}/clip.mp4") as process:
        assert process.stderr is not None
        assert any("2: source: waited for: expected a video stream at" in line for line in process.stderr)
        handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
        handler.log_message = lambda *_: None  # type: ignore[attr-defined]
        with ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            assert any("2: source: recording http://" in line for line in process.stderr)
            summary, said = process.communicate(timeout=60)
            server.shutdown()
    assert process.returncode == 0, said
    assert summary.count(" frames, ") == 2


def test_a_source_that_never_came_counts_as_failed(bundle: Path, tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4", 20)
    devices = (str(tmp_path / "clip.mp4"), f"http://127.0.0.1:{free_port()}/clip.mp4")
    with start(bundle, *devices, seconds=1) as process:
        summary, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "expected 2 sources to be streamed to their ends, received 1 that failed: 2; see above" in said
    assert "20 frames" in summary


def test_where_nothing_is_there_the_command_ends(bundle: Path) -> None:
    with start(bundle, *(f"http://127.0.0.1:{free_port()}/{name}.mp4" for name in "ab")) as process:
        _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "received 2 that failed: 1 and 2; see above" in said
