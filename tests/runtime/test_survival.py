"""``metfa-stream`` with real networks, pipes and signals: what is lost, and when it ends."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import pytest
from click.testing import CliRunner

from metfa.runtime import StreamStatistics, open_source
from metfa.runtime.cli import main
from metfa.runtime.command import Interruption
from metfa.runtime.errors import BackendError
from metfa.runtime.streaming.run import Stream, run_streams

from .conftest import FakeClassifier, grey, make_bundle, make_contract

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from metfa.runtime import Prediction

RUN = "from metfa.runtime.cli import run; run()"
COMMAND = [sys.executable, "-c", RUN]
HEADLESS = {name: value for name, value in os.environ.items() if name not in {"DISPLAY", "WAYLAND_DISPLAY"}}
ENDING_SIGNALS = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])


class Camera:
    """A network camera: MJPEG over HTTP. It serves one viewer after another, each with the next of its programmes.

    A programme is a number of frames of one size; None never answers. The camera is gone after the last.
    """

    def __init__(self, *programmes: tuple[int, int] | None) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}/"
        self._programmes = programmes
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        for programme in self._programmes:
            try:
                viewer, _ = self._server.accept()
            except OSError:
                return
            with viewer, suppress(OSError):
                if programme is None:
                    self._closed.wait(20)
                    continue
                viewer.recv(4096)
                viewer.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n")
                frames, height = programme
                picture = cv2.imencode(".jpg", grey(250, height, 64))[1].tobytes()
                for _ in range(frames):
                    head = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(picture)
                    viewer.sendall(head + picture + b"\r\n")
                    time.sleep(0.005)
        self._server.close()

    def close(self) -> None:
        self._closed.set()
        self._server.close()


@contextmanager
def streaming(*arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """Stream with a terminal: what SIGHUP says of it ends the stream."""
    master, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", f"import os; os.open({os.ttyname(terminal)!r}, os.O_RDWR); {RUN}", *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=HEADLESS,
        start_new_session=True,  # whose first terminal is its own
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=20)
        os.close(master)
        os.close(terminal)


def wait_for(process: subprocess.Popen[str], beginning: str) -> None:
    """Wait until a line of stderr begins like that."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(beginning):
            return
    pytest.fail(f"it never said {beginning!r}")


@ENDING_SIGNALS
def test_a_signal_while_a_source_is_opened(bundle: Path, number: signal.Signals, tmp_path: Path) -> None:
    video = tmp_path / "video.mp4"
    with (
        closing(Camera(None)) as camera,
        streaming("--bundle", bundle, "--device", camera.url, "--output", video) as it,
    ):
        wait_for(it, "backend: ")
        it.send_signal(number)
        _, said = it.communicate(timeout=20)
    assert it.returncode == 130
    assert said.strip() == "Interrupted; the same command begins anew"
    assert not list(tmp_path.glob("*video*"))


@ENDING_SIGNALS
def test_a_signal_while_no_frame_comes(bundle: Path, number: signal.Signals) -> None:
    with streaming("--bundle", bundle, "--device", "-") as it:
        wait_for(it, "window: none")
        it.send_signal(number)
        it.wait(timeout=20)
        assert it.stdout is not None
        assert it.stdout.read() == "no frame was classified\n"
    assert it.returncode == 0


@ENDING_SIGNALS
def test_a_signal_while_reconnecting(bundle: Path, number: signal.Signals, tmp_path: Path) -> None:
    events, video = tmp_path / "events.jsonl", tmp_path / "video.mp4"
    files: list[str | Path] = ["--events", events, "--output", video]
    with (
        closing(Camera((60, 48))) as camera,
        streaming("--bundle", bundle, "--device", camera.url, *files) as it,
    ):
        wait_for(it, "source: lost: ")
        it.send_signal(number)
        summary, said = it.communicate(timeout=20)
    assert it.returncode == 0, said
    records = events.read_text().splitlines()
    assert len(records) > 1
    assert summary.startswith(f"{len(records)} frames, ")
    missed = sum(map(int, re.findall(r"fell behind and missed (\d+) frames", summary)))  # on a busy machine
    assert cv2.VideoCapture(str(video), cv2.CAP_FFMPEG).get(cv2.CAP_PROP_FRAME_COUNT) + missed >= len(records)


@ENDING_SIGNALS
def test_a_signal_while_a_file_hangs(bundle: Path, clip: Path, number: signal.Signals, tmp_path: Path) -> None:
    pipe = tmp_path / "events.jsonl"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)  # and nobody ever reads
    fcntl.fcntl(reading, 1031, 4096)  # F_SETPIPE_SZ
    video = tmp_path / "video.mp4"
    with streaming("--bundle", bundle, "--device", clip, "--events", pipe, "--output", video) as it:
        wait_for(it, "window: none")
        seen, since = 0, time.monotonic()
        while seen < 3500 or time.monotonic() < since + 1:  # full, as nothing more has come for a second
            time.sleep(0.01)
            if (now := int.from_bytes(fcntl.ioctl(reading, termios.FIONREAD, bytes(4)), "little")) != seen:
                seen, since = now, time.monotonic()
        it.send_signal(number)
        _, said = it.communicate(timeout=20)
    os.close(reading)
    assert it.returncode == 1
    assert "expected the events to be written as fast as the stream, received an end before " in said
    assert cv2.VideoCapture(str(video), cv2.CAP_FFMPEG).isOpened()


def test_a_stream_that_is_killed_leaves_a_video_that_can_be_played(bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "results"
    events, video = folder / "events.jsonl", folder / "video.mp4"
    with streaming("--bundle", bundle, "--device", "phantom:B", "--events", events, "--output", video) as it:
        since = time.monotonic()
        while time.monotonic() < since + 3:
            if not events.exists() or not events.stat().st_size:
                since = time.monotonic()
            time.sleep(0.05)
        it.kill()
        it.wait(timeout=20)
    assert sorted(folder.iterdir()) == [events, video]
    last = json.loads(events.read_text().splitlines()[-1])
    with open_source(str(video)) as source:
        times = [frame.time or 0.0 for frame in source]
    assert times
    assert last["time"] - 2.5 < times[-1] <= last["time"], "a second in the encoder, and what waited for it"


def test_a_terminal_that_is_gone_leaves_complete_files(bundle: Path, tmp_path: Path) -> None:
    events, video = tmp_path / "events.jsonl", tmp_path / "video.mp4"
    arguments = ["--bundle", bundle, "--device", "phantom:B", "--no-window", "--events", events, "--output", video]
    child, terminal = pty.fork()
    if child == 0:
        os.execve(COMMAND[0], [*COMMAND, *map(str, arguments)], HEADLESS)
    while not (events.exists() and events.stat().st_size):
        os.read(terminal, 4096)  # the status line
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    assert os.WIFEXITED(status)
    frames = [record for record in map(json.loads, events.read_text().splitlines()) if record["type"] == "frame"]
    assert cv2.VideoCapture(str(video), cv2.CAP_FFMPEG).get(cv2.CAP_PROP_FRAME_COUNT) >= len(frames)
    assert not list(tmp_path.glob(".*"))


def test_messages_that_cannot_be_printed_do_not_end_the_stream(bundle: Path, clip: Path, tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    arguments = ["--bundle", bundle, "--device", clip, "--limit", "7", "--events", events]
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [*COMMAND, *map(str, arguments)], stdout=subprocess.PIPE, stderr=full, text=True, env=HEADLESS, check=False
        )
    assert ended.stdout.startswith("7 frames, ")
    assert sum(json.loads(line)["type"] == "frame" for line in events.read_text().splitlines()) == 7


def test_a_stream_under_nohup_survives_its_terminal(bundle: Path) -> None:
    nohup = [
        "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)",
        "from metfa.runtime.cli import run; run()",
    ]
    arguments = ["--bundle", bundle, "--device", "phantom:B", "--no-window", "--limit", "20"]
    process = subprocess.Popen(
        [sys.executable, "-c", "\n".join(nohup), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=HEADLESS,
    )
    wait_for(process, "source: ")
    process.send_signal(signal.SIGHUP)
    summary, said = process.communicate(timeout=20)
    assert process.returncode == 0, said
    assert summary.startswith("20 frames, ")


def test_a_model_that_hangs_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metfa.runtime.streaming.run._MAX_STEP_SECONDS", 0.05)
    unblock, interruption = threading.Event(), Interruption()

    def classify(picture: NDArray[np.uint8]) -> Prediction:
        interruption.requested = True
        unblock.wait(10)
        raise BackendError(expected="nothing", received="an answer", remedy="wait")

    classifier = FakeClassifier(classify, make_contract())
    with (
        pytest.raises(BackendError, match="the model's answer to the last frame"),
        open_source("phantom:B") as source,
    ):
        run_streams([Stream(source, classifier, [], StreamStatistics())], interruption)
    unblock.set()


def test_a_thread_that_hangs_ends_no_process_that_is_not_the_commands(bundle: Path, clip: Path) -> None:
    unblock = threading.Event()
    threading.Thread(target=unblock.wait, name="metfa that hangs", daemon=True).start()
    result = CliRunner().invoke(main, ["--bundle", str(bundle), "--device", str(clip), "--limit", "1", "--no-window"])
    unblock.set()
    assert result.exit_code == 0, result.output


def test_a_network_camera_that_comes_back_with_another_size(bundle: Path, tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    with (
        closing(Camera((60, 48), (5, 48), (60, 96), (10**6, 96))) as camera,
        streaming("--bundle", bundle, "--device", camera.url, "--events", events, "--seconds", "4") as it,
    ):
        summary, said = it.communicate(timeout=30)
    assert it.returncode == 0, said
    records = [json.loads(line) for line in events.read_text().splitlines()]
    indices = [record["index"] for record in records]
    assert indices == sorted(set(indices))
    assert {record["label"] for record in records} == {"bright"}
    assert re.search(r"^the source was lost and found again \w+", summary, re.MULTILINE)
    assert said.count("source: lost: ") == said.count("source: back after ") >= 2


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="there is no ffmpeg to send with")
def test_a_sender_over_the_loopback_is_killed_and_started_again(tmp_path: Path) -> None:
    clip = tmp_path / "clip.ts"
    codec = ["-c:v", "mpeg2video", "-q:v", "5", "-g", "15"]
    picture = ["-f", "lavfi", "-i", "testsrc2=size=320x240:rate=30", "-t", "20"]
    subprocess.run(["ffmpeg", "-v", "error", *picture, *codec, clip], check=True)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        address = f"udp://127.0.0.1:{free.getsockname()[1]}"
    send = ["ffmpeg", "-v", "error", "-re", "-i", str(clip), "-c", "copy", "-f", "mpegts", f"{address}?pkt_size=1316"]
    said: list[str] = []
    sender = subprocess.Popen(send)

    def notify(line: str) -> None:
        nonlocal sender
        said.append(line)
        if line.startswith("lost"):
            sender = subprocess.Popen(send)

    frames = []
    try:
        with open_source(address, notify=notify) as source:
            for frame in source:
                frames.append(frame)
                if len(frames) == 30:
                    sender.kill()
                    sender.wait()
                if frame.session == 1 and len(frames) > 60:
                    break
    finally:
        sender.kill()
        sender.wait()
    assert source.live
    assert [frame.session for frame in frames] == sorted(frame.session for frame in frames)
    assert frames[-1].session == 1
    assert all(frame.image.shape == (240, 320, 3) for frame in frames)
    assert said[0] == "lost: nothing came for 2 s; reconnecting"
    (seconds,) = re.findall(r"back after ([\d.]+) s", said[1])
    first = next(frame for frame in frames if frame.session == 1)
    last = max(frame.captured_at for frame in frames if frame.session == 0)
    assert first.captured_at - last > float(seconds)  # no frame in between


def test_the_first_example_of_the_documentation_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_bundle(tmp_path / "runs" / "metfa", make_contract())
    monkeypatch.chdir(tmp_path)
    document = Path(__file__).parents[2] / "docs" / "streaming.md"
    example, *_ = re.findall(r"^```python\n(.*?)^```", document.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    exec(compile(example, str(document), "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    assert "0 no plane" in printed
    assert any(line.startswith("90 frames, ") for line in printed)
