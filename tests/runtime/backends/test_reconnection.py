"""A server that goes away, comes back, or comes back as another."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest

from metfa.runtime import Bundle
from metfa.runtime.backends import Inference
from metfa.runtime.backends.choice import load_backend
from metfa.runtime.backends.reconnection import ReconnectingBackend
from metfa.runtime.backends.server_address import ServerAddress
from metfa.runtime.backends.triton import TritonConnection
from metfa.runtime.bundle.directory import ONNX
from metfa.runtime.bundle.served import SERVED_KEY, ServedFiles
from metfa.runtime.errors import BackendError

from ..triton_server import TritonServer, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from metfa.runtime.backends import Backend

DARK, BRIGHT = (np.full((1, 1, 32, 40), level, np.uint8) for level in (0, 255))


@pytest.fixture
def server(bundle: Path, tmp_path: Path) -> Iterator[TritonServer]:
    with TritonServer(bundle, tmp_path / "models") as running:
        yield running


class Told(list[str]):
    """The lines that a backend tells, without what differs from run to run."""

    def __call__(self, line: str) -> None:
        line = re.sub(r"away: [A-Z_]+: .*?; (?=frames|until)", "away: …; ", line)
        self.append(re.sub(r"\d+\.\d s$", "… s", line).replace(self._here, "here"))

    def __init__(self, here: str = "nothing") -> None:
        self._here = here


def open_backend(
    server: TritonServer,
    bundle: Path,
    *,
    fallback: Backend | None = None,
    patience: float = 60,
    deadline: float = 10,
    told: Told | None = None,
) -> ReconnectingBackend:
    connect = partial(TritonConnection, ServerAddress.parse(server.address), Bundle.open(bundle), deadline=deadline)
    notify = (lambda line: None) if told is None else told
    return ReconnectingBackend("M", connect, trial=DARK, fallback=fallback, patience=patience, notify=notify)


def labels(inference: Inference) -> list[int]:
    found: list[int] = inference.logits.argmax(1).tolist()
    return found


def test_a_frame_waits_until_the_server_is_back(server: TritonServer, bundle: Path) -> None:
    told = Told()
    backend = open_backend(server, bundle, told=told)
    assert labels(backend.infer(BRIGHT)) == [2]
    server.stop()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(backend.infer, BRIGHT)
        wait_until(lambda: told == ["away: …; frames wait for it, up to 60 s"])
        assert not waiting.done()
        server.start()
        assert labels(waiting.result(60)) == [2]
    assert told[1:] == ["back after … s"]
    assert labels(backend.infer(DARK)) == [0]


def test_a_server_that_dies_over_a_frame_gets_it_again(server: TritonServer, bundle: Path) -> None:
    backend = open_backend(server, bundle)
    is_asked, goes_on = threading.Event(), threading.Event()

    def hang() -> None:
        is_asked.set()
        goes_on.wait()

    server.answer = hang
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(backend.infer, BRIGHT)
        is_asked.wait()
        server.stop()
        server.answer = lambda: None
        goes_on.set()
        server.start()
        assert labels(waiting.result(60)) == [2]


@pytest.mark.parametrize("status", [grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE])
def test_an_error_of_the_server_passes(server: TritonServer, bundle: Path, status: grpc.StatusCode) -> None:
    told = Told()
    backend = open_backend(server, bundle, told=told)
    asked = threading.Semaphore(0)
    server.status, server.answer = status, asked.release
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(backend.infer, BRIGHT)
        for _ in range(2):  # with the frame, and with what a connection is tried with before the frame gets it
            asked.acquire()
        server.status = None
        assert labels(waiting.result(60)) == [2]
    assert told == ["away: …; frames wait for it, up to 60 s", "back after … s"]


def test_patience_ends_in_one_line_with_the_last_reason(server: TritonServer, bundle: Path) -> None:
    backend = open_backend(server, bundle, patience=0.4)
    server.status = grpc.StatusCode.RESOURCE_EXHAUSTED
    with pytest.raises(BackendError) as refusal:
        backend.infer(BRIGHT)
    assert str(refusal.value) == (
        "expected an answer of M within 0.4 s, received RESOURCE_EXHAUSTED: it went wrong; "
        "look after the server; --backend …,cpu would run the model on this host meanwhile"
    )


def test_a_server_that_hangs_is_away(server: TritonServer, bundle: Path) -> None:
    backend = open_backend(server, bundle, patience=0.4, deadline=0.3)
    released = threading.Event()
    server.answer = released.wait
    with pytest.raises(BackendError, match=r"within 0\.4 s, received DEADLINE_EXCEEDED: Deadline Exceeded; look after"):
        backend.infer(BRIGHT)
    released.set()


def serve_another(server: TritonServer) -> None:
    other = ServedFiles({ONNX: "0" * 64})
    server.config.parameters[SERVED_KEY].string_value = other.to_json()
    server.version = str(other.version)


@pytest.mark.parametrize("restarts", [True, False])
def test_another_model_ends_it_with_what_differs(server: TritonServer, bundle: Path, restarts: bool) -> None:
    """Whether it comes with another server, or under one that goes on running and tells nobody."""
    backend = open_backend(server, bundle)
    if restarts:
        server.stop()
    serve_another(server)
    if restarts:
        server.start()
    for _ in range(2):
        with pytest.raises(BackendError, match=r"expected model\.onnx of .*, received one with SHA-256 0{12}…; give"):
            backend.infer(BRIGHT)


def test_meanwhile_another_backend_runs_the_frames(server: TritonServer, bundle: Path) -> None:
    here, _ = load_backend(Bundle.open(bundle), "cpu")
    told = Told(here.description)
    backend = open_backend(server, bundle, fallback=here, told=told)
    server.stop()
    for _ in range(3):
        assert labels(backend.infer(BRIGHT)) == [2]
    assert told == ["away: …; until it is back, here"]
    server.start()
    before = server.frames
    wait_until(lambda: labels(backend.infer(DARK)) == [0] and len(told) == 2)
    assert told[1:] == ["back after … s"]
    backend.infer(BRIGHT)
    assert server.frames > before + 1  # the trial, and the last


def test_a_server_that_is_away_at_the_start_is_found_later(server: TritonServer, bundle: Path) -> None:
    here, _ = load_backend(Bundle.open(bundle), "cpu")
    told = Told(here.description)
    server.stop()
    backend = open_backend(server, bundle, fallback=here, told=told)
    assert backend.description == f"M; while that is away, {here.description}"
    assert backend.artefact == ONNX
    assert labels(backend.infer(BRIGHT)) == [2]
    server.start()
    wait_until(lambda: labels(backend.infer(BRIGHT)) == [2] and len(told) == 2)
    assert told == ["away: …; until it is back, here", "back after … s"]


def test_the_other_backend_goes_on_where_another_model_comes_back(server: TritonServer, bundle: Path) -> None:
    here, _ = load_backend(Bundle.open(bundle), "cpu")
    told = Told(here.description)
    backend = open_backend(server, bundle, fallback=here, told=told)
    right = server.config.parameters[SERVED_KEY].string_value, server.version
    serve_another(server)
    wait_until(lambda: labels(backend.infer(BRIGHT)) == [2] and len(told) == 2)
    assert re.fullmatch(r"not back: expected model\.onnx of .*; give .*; until it is back, here", told[1])
    server.config.parameters[SERVED_KEY].string_value, server.version = right
    wait_until(lambda: labels(backend.infer(BRIGHT)) == [2] and len(told) == 3)  # it is told once, however often tried
    assert told[2] == "back after … s"


class Slow:
    """Counts how many threads are in it."""

    description, artefact, concurrency = "slow", ONNX, 1

    def __init__(self) -> None:
        self.inside = self.most = 0

    def infer(self, frames: NDArray[np.uint8]) -> Inference:
        self.inside += 1
        self.most = max(self.most, self.inside)
        threading.Event().wait(0.02)
        self.inside -= 1
        return Inference(np.zeros((len(frames), 3), np.float32), np.zeros((len(frames), 1), np.float32))


def test_the_other_backend_is_used_by_no_more_threads_than_it_allows(server: TritonServer, bundle: Path) -> None:
    here = Slow()
    server.stop()
    backend = open_backend(server, bundle, fallback=here)
    with ThreadPoolExecutor(backend.concurrency) as pool:
        list(pool.map(backend.infer, [BRIGHT] * 8))
    assert here.most == 1


def test_several_requests_are_on_their_way_at_once(server: TritonServer, bundle: Path) -> None:
    backend = open_backend(server, bundle)
    all_are_there = threading.Barrier(backend.concurrency, timeout=60)
    server.answer = all_are_there.wait
    with ThreadPoolExecutor(backend.concurrency) as pool:
        found = pool.map(backend.infer, [BRIGHT, DARK] * backend.concurrency)
        assert [labels(each) for each in found] == [[2], [0]] * backend.concurrency


def test_a_loss_is_told_once_however_many_threads_notice(server: TritonServer, bundle: Path) -> None:
    told = Told()
    backend = open_backend(server, bundle, told=told)
    server.stop()
    with ThreadPoolExecutor(backend.concurrency) as pool:
        waiting = [pool.submit(backend.infer, BRIGHT) for _ in range(8)]
        wait_until(lambda: len(told) == 1)
        server.start()
        assert [labels(each.result(60)) for each in waiting] == [[2]] * 8
    assert told == ["away: …; frames wait for it, up to 60 s", "back after … s"]
