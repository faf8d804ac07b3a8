"""``metfa-stream --backend triton:…`` as users start it, beside a server that comes and goes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from metfa.runtime.bundle.contract import Normalisation
from metfa.runtime.bundle.served import SERVED_KEY, ServedFiles

from .conftest import make_bundle, write_clip
from .triton_server import TritonServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from metfa.runtime.bundle.contract import ModelContract

PATIENT = (  # a busy machine is no server that is away
    "from metfa.runtime.backends.triton import TritonConnection\n"
    "TritonConnection.__init__.__kwdefaults__['deadline'] = 60\n"
)
IMPATIENT = (
    "from metfa.runtime.backends.reconnection import ReconnectingBackend\n"
    "ReconnectingBackend.__init__.__kwdefaults__['patience'] = 0.5\n"
)
HEADLESS = {name: value for name, value in os.environ.items() if name not in {"DISPLAY", "WAYLAND_DISPLAY"}}


@pytest.fixture
def server(bundle: Path, tmp_path: Path) -> Iterator[TritonServer]:
    with TritonServer(bundle, tmp_path / "models") as running:
        yield running


def command(*arguments: str | Path, nature: str = PATIENT) -> list[str]:
    code = f"{nature}from metfa.runtime.cli import run; run()"
    return [sys.executable, "-c", code, *map(str, arguments), "--no-window"]


@contextmanager
def streaming(*arguments: str | Path, nature: str = PATIENT, service: bool = False) -> Iterator[subprocess.Popen[str]]:
    """Stream; as a service without a terminal."""
    process = subprocess.Popen(
        command(*arguments, nature=nature),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=HEADLESS,
        start_new_session=service,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, check=False, env=HEADLESS)


def next_line(process: subprocess.Popen[str], beginning: str) -> str:
    """Return the next line of stderr, which begins like that; nothing else may come between."""
    assert process.stderr is not None
    line = process.stderr.readline().rstrip("\n")
    assert line.startswith(beginning), line
    return line


def records_in(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_folder_is_labelled_as_on_the_cpu(server: TritonServer, bundle: Path, folder: Path, tmp_path: Path) -> None:
    there, here = tmp_path / "there.jsonl", tmp_path / "here.jsonl"
    result = run("--bundle", bundle, "--device", folder, "--events", there, "--backend", server.address)
    assert result.returncode == 0
    assert result.stderr.splitlines() == [
        f"backend: Triton 0.0.0 at 127.0.0.1:{server.port}, model.onnx",
        f"source: 3 files in {folder}",
    ]
    assert server.frames == 5  # two of them before the first
    run("--bundle", bundle, "--device", folder, "--events", here, "--backend", "cpu")
    assert [record["label"] for record in records_in(there)] == ["dark", "grey", "bright"]
    assert [{**record, "latency_ms": None} for record in records_in(there)] == [
        {**record, "latency_ms": None} for record in records_in(here)
    ]


def test_a_recording_loses_no_frame_where_the_server_starts_again(
    server: TritonServer, bundle: Path, tmp_path: Path
) -> None:
    events, clip = tmp_path / "events.jsonl", write_clip(tmp_path / "clip.mp4", frames=60)

    asked, goes_on = threading.Event(), threading.Event()

    def answer() -> None:
        if server.frames >= 12:
            asked.set()
            goes_on.wait()

    server.answer = answer

    def start_again() -> None:
        assert asked.wait(timeout=60)
        server.stop()
        goes_on.set()
        server.start()

    restart = threading.Thread(target=start_again)
    restart.start()
    result = run("--bundle", bundle, "--device", clip, "--events", events, "--backend", server.address)
    restart.join()
    assert result.returncode == 0, result.stderr
    assert [record["index"] for record in records_in(events) if record["type"] == "frame"] == list(range(60))
    _, source, away, back = result.stderr.splitlines()
    assert source.startswith("source: ")
    assert re.fullmatch(r"backend: away: \w+: .*; frames wait for it, up to 60 s", away)
    assert re.fullmatch(r"backend: back after \d+\.\d s", back)


def test_a_live_stream_drops_frames_until_the_server_is_back(
    server: TritonServer, bundle: Path, tmp_path: Path
) -> None:
    events = tmp_path / "events.jsonl"
    options: list[str | Path] = ["--device", "phantom:A", "--events", events, "--backend", server.address]
    with streaming("--bundle", bundle, *options) as it:
        next_line(it, "backend: Triton ")
        next_line(it, "source: ")
        server.wait_for_frames(5)
        server.stop()
        next_line(it, "backend: away: ")
        server.start()
        next_line(it, "backend: back after ")
        server.wait_for_frames(5)
        it.send_signal(signal.SIGINT)
        summary, said = it.communicate()
    assert (it.returncode, said) == (0, "")
    frames, dropped = re.match(r"(\d+) frames, (\d+) dropped", summary).groups()  # type: ignore[union-attr]
    indices = [record["index"] for record in records_in(events) if record["type"] == "frame"]
    assert int(frames) == len(indices) > 5
    assert int(dropped) == indices[-1] + 1 - len(indices) > 0  # type: ignore[operator]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_server_is_away(server: TritonServer, bundle: Path, number: signal.Signals) -> None:
    with streaming("--bundle", bundle, "--device", "phantom:A", "--backend", server.address) as it:
        server.wait_for_frames(5)
        server.stop()
        for beginning in ("backend: Triton ", "source: ", "backend: away: "):
            next_line(it, beginning)
        it.send_signal(number)
        summary, said = it.communicate()
    assert (it.returncode, said) == (0, "")
    assert re.match(r"[1-9]\d* frames, ", summary)


def test_several_sources_share_the_server_and_its_losses(server: TritonServer, bundle: Path) -> None:
    sources = ["--device", "phantom:A", "--device", "phantom:B"]
    with streaming("--bundle", bundle, *sources, "--backend", server.address) as it:
        server.wait_for_frames(10)
        server.stop()
        for beginning in ("backend: Triton ", "1: source: ", "2: source: ", "backend: away: "):
            next_line(it, beginning)
        server.start()
        next_line(it, "backend: back after ")
        server.wait_for_frames(10)
        server.stop()
        next_line(it, "backend: away: ")
        it.send_signal(signal.SIGINT)
        summary, said = it.communicate()
    assert (it.returncode, said) == (0, "")
    assert len(re.findall(r"^[12]:\n +[1-9]\d* frames, ", summary, re.MULTILINE)) == 2


def test_patience_ends_with_one_line_and_whole_files(server: TritonServer, bundle: Path, tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    options: list[str | Path] = ["--device", "phantom:A", "--events", events, "--backend", server.address]
    with streaming("--bundle", bundle, *options, nature=IMPATIENT) as it:
        server.wait_for_frames(5)
        server.stop()
        summary, said = it.communicate()
    assert it.returncode == 1
    *_, away, error = said.splitlines()
    assert away.startswith("backend: away: ")
    assert re.fullmatch(
        r"Error: expected an answer of the model metfa at 127\.0\.0\.1:\d+ within 0\.5 s, received UNAVAILABLE: .+; .+",
        error,
    )
    assert summary.startswith(f"{len([each for each in records_in(events) if each['type'] == 'frame'])} frames, ")


def test_this_host_runs_the_model_while_the_server_is_away(server: TritonServer, bundle: Path) -> None:
    server.stop()
    with streaming("--bundle", bundle, "--device", "phantom:A", "--backend", f"{server.address},cpu") as it:
        away = next_line(it, "backend: away: UNAVAILABLE: ")
        assert re.search(r"; until it is back, ONNX Runtime \S+ on the CPU, model\.onnx$", away)
        both = next_line(it, f"backend: the model metfa at 127.0.0.1:{server.port}; while that is away, ONNX Runtime ")
        assert both.endswith("on the CPU, model.onnx")
        next_line(it, "source: ")
        server.start()
        next_line(it, "backend: back after ")
        server.wait_for_frames(5)
        server.stop()
        next_line(it, "backend: away: ")
        it.send_signal(signal.SIGINT)
        _, said = it.communicate()
    assert (it.returncode, said) == (0, "")


def test_another_model_is_one_line_before_anything_is_written(
    server: TritonServer, bundle: Path, tmp_path: Path
) -> None:
    server.config.parameters[SERVED_KEY].string_value = ServedFiles({"model.onnx": "0" * 64}).to_json()
    video = tmp_path / "video.mp4"
    result = run("--bundle", bundle, "--device", "phantom:A", "--output", video, "--backend", server.address)
    assert result.returncode == 1
    assert re.fullmatch(
        r"Error: expected model\.onnx of .* \(SHA-256 .*…\) in the model metfa at .*, received one with SHA-256 0+…; "
        r"give server and edge device the same bundle: .*\n",
        result.stderr,
    )
    assert not video.exists()


@pytest.mark.parametrize(
    ("backend", "said"),
    [
        ("triton:gpu-box/metfa", "expected triton:HOST:PORT/MODEL, received 'triton:gpu-box/metfa'; give for example"),
        ("triton:gpu-box:8001/metfa,gpu", "'gpu' is not one of 'auto', 'tensorrt', 'cuda', 'cpu'"),
    ],
)
def test_what_names_no_server_is_a_usage_error(bundle: Path, backend: str, said: str) -> None:
    result = run("--bundle", bundle, "--device", "phantom:A", "--backend", backend)
    assert result.returncode == 2
    assert result.stderr.startswith("Error: Invalid value for '--backend': ")
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_bundle_is_taken_once_the_server_has_its_model(
    server: TritonServer, bundle: Path, contract: ModelContract, tmp_path: Path
) -> None:
    dimmed = replace(contract, input=replace(contract.input, normalisation=Normalisation("fixed", 0.5 / 255, 0.0)))
    arguments: list[str | Path] = ["--bundle", bundle, "--device", "phantom:B", "--backend", f"{server.address},cpu"]
    with streaming(*arguments, service=True) as it:
        next_line(it, "backend: Triton 0.0.0 ")
        next_line(it, "source: ")
        server.wait_for_frames(3)
        make_bundle(bundle, dimmed)
        it.send_signal(signal.SIGHUP)
        next_line(it, f"bundle: not exchanged: expected the contract of {bundle} in the model metfa ")
        server.wait_for_frames(3)
        server.stop()
        next_line(it, "backend: away: ")
        with TritonServer(bundle, tmp_path / "newer", port=server.port) as newer:
            next_line(it, "backend: not back: ")
            it.send_signal(signal.SIGHUP)
            next_line(it, "backend: Triton 0.0.0 ")
            next_line(it, "bundle: ")
            newer.wait_for_frames(3)
            it.send_signal(signal.SIGTERM)
            it.communicate(timeout=20)
    assert it.returncode == 0
