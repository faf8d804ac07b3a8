"""How frames reach an engine, with stand-ins: memory that is the host's, and an engine that adds up pixels."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.export.networks import EMBEDDING, LABELS, make_contract, make_frames, make_network

from metfa.runtime.benchmark.gpu_clock import gpu_clock
from metfa.runtime.bundle.engine_record import SCHEMA, BatchRange, EngineRecord
from metfa.runtime.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from metfa.runtime.bundle.engine_record import Flavour

pytest.importorskip("cuda.bindings.runtime", reason="needs cuda-python")

from metfa.runtime.backends import gpu, tensorrt  # they import the CUDA bindings

CONTRACT = make_contract(make_network())
BUFFERS: dict[int, StandInBuffer] = {}


class StandInBuffer:
    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self.host = np.zeros(shape, dtype)
        self.device = np.zeros(shape, dtype)
        self.address = id(self)
        BUFFERS[self.address] = self

    def upload(self, count: int, stream: StandInStream) -> None:
        stream.do(lambda: np.copyto(self.device[:count], self.host[:count]))

    def download(self, count: int, stream: StandInStream) -> None:
        stream.do(lambda: np.copyto(self.host[:count], self.device[:count]))


class StandInStream:
    """Runs what is enqueued only when it is waited for, as a GPU may."""

    handle = 7

    def __init__(self) -> None:
        self.queue: list[Callable[[], None]] = []
        self.recording: list[Callable[[], None]] | None = None

    def do(self, work: Callable[[], None]) -> None:
        (self.queue if self.recording is None else self.recording).append(work)

    def synchronise(self) -> None:
        while self.queue:
            self.queue.pop(0)()


class StandInGraph:
    launches = 0

    def __init__(self, stream: StandInStream, enqueue: Callable[[], None]) -> None:
        self.stream = stream
        stream.recording = []
        enqueue()
        self.work, stream.recording = stream.recording, None

    def launch(self) -> None:
        StandInGraph.launches += 1
        for work in self.work:
            self.stream.do(work)


class StandInContext:
    """An engine that takes 2 to 4 frames: each logit is the sum of the pixels, plus its index."""

    def __init__(self, stream: Callable[[], StandInStream]) -> None:
        self.stream = stream
        self.buffers: dict[str, StandInBuffer] = {}
        self.rows = 0

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.buffers[name] = BUFFERS[address]
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.rows = shape[0]
        return name == "frame" and 2 <= self.rows <= 4

    def execute_async_v3(self, handle: int) -> bool:
        rows = self.rows  # a graph repeats the shape as it was

        def run() -> None:
            sums = self.buffers["frame"].device[:rows].sum(axis=(1, 2, 3), dtype=np.float64)
            self.buffers["logits"].device[:rows] = sums[:, None] + np.arange(len(LABELS))
            self.buffers["embedding"].device[:rows] = sums[:, None] / 2

        self.stream().do(run)
        return handle == StandInStream.handle


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> list[StandInStream]:
    made: list[StandInStream] = []

    def make_stream() -> StandInStream:
        made.append(StandInStream())
        return made[-1]

    configuration = SimpleNamespace(cuda_graph_strategy=None)

    def create_execution_context(config: Any = None) -> StandInContext:
        assert config is None or config.cuda_graph_strategy == "whole"
        return StandInContext(lambda: made[-1])

    engine = SimpleNamespace(
        create_execution_context=create_execution_context, create_runtime_config=lambda: configuration
    )
    module = SimpleNamespace(__version__="10.3.0", CudaGraphStrategy=SimpleNamespace(WHOLE_GRAPH_CAPTURE="whole"))
    monkeypatch.setattr(tensorrt, "Buffer", StandInBuffer)
    monkeypatch.setattr(tensorrt, "Stream", make_stream)
    monkeypatch.setattr(tensorrt, "Graph", StandInGraph)
    monkeypatch.setattr(tensorrt, "_deserialise", lambda *_: engine)
    monkeypatch.setattr(tensorrt, "import_flavour", lambda _: module)
    monkeypatch.setattr(tensorrt, "installed_flavours", lambda: ("tensorrt", "tensorrt_rtx"))
    monkeypatch.setattr(tensorrt, "current_device", lambda: gpu.Device("Orin", "8.7"))
    StandInGraph.launches = 0
    return made


def load(directory: Path, flavour: Flavour) -> tensorrt.TensorRtBackend:
    record = EngineRecord(
        schema=SCHEMA,
        plan_sha256="0" * 64,
        onnx_sha256="0" * 64,
        flavour=flavour,
        version="10.3.0",
        cuda="12.6",
        device="Orin",
        compute_capabilities=("8.7",),
        precision="fp16",
        batch=BatchRange(2, 2, 4),
        operations={"convolutions": {"float16": 15}, "matrix products": {"float16": 3}},
        contract=CONTRACT,
    )
    return tensorrt.TensorRtBackend(directory / "model.fp16.tensorrt.engine", record, CONTRACT, plan=b"")


@pytest.mark.usefixtures("streams")
@pytest.mark.parametrize("flavour", ["tensorrt", "tensorrt_rtx"])
def test_every_frame_gets_its_own_answer_whatever_the_batch(tmp_path: Path, flavour: Flavour) -> None:
    backend = load(tmp_path, flavour)
    for seed, count in enumerate((1, 2, 3, 4, 5, 9, 1)):  # below the smallest, up to the largest, beyond it
        frames = make_frames(count, seed).numpy()
        received = backend.infer(frames)
        sums = np.array([frame.sum(dtype=np.float64) for frame in frames])
        np.testing.assert_array_equal(received.logits, (sums[:, None] + np.arange(len(LABELS))).astype(np.float32))
        np.testing.assert_array_equal(received.embedding, np.repeat(sums[:, None] / 2, EMBEDDING, 1).astype(np.float32))


@pytest.mark.usefixtures("streams")
def test_a_live_frame_is_one_launch(tmp_path: Path) -> None:
    backend = load(tmp_path, "tensorrt")
    assert backend.description.endswith(", as a CUDA graph")
    for index in range(3):
        backend.infer(make_frames(1, index).numpy())
    assert StandInGraph.launches == 3
    backend.infer(make_frames(3).numpy())
    assert StandInGraph.launches == 3


def test_a_clock_times_what_is_enqueued_for_the_batch(
    tmp_path: Path, streams: list[StandInStream], monkeypatch: pytest.MonkeyPatch
) -> None:
    class CountingStopwatch:
        def __init__(self, stream: StandInStream) -> None:
            self.stream = stream

        def time(self, enqueue: Callable[[], object]) -> float:
            assert not self.stream.queue  # of nothing before it
            enqueue()
            steps = len(self.stream.queue)
            self.stream.synchronise()
            return steps

    monkeypatch.setattr(gpu, "Stopwatch", CountingStopwatch)
    backend = load(tmp_path, "tensorrt")
    clock = gpu_clock("tensorrt", backend, None)  # type: ignore[arg-type]  # it needs no file
    assert clock is not None
    steps = 4  # the copy to the GPU, the engine, two copies back
    assert [clock(make_frames(count).numpy()) for count in (1, 3, 4, 9)] == [steps, steps, steps, 3 * steps]
    assert backend.stream is streams[0]  # type: ignore[comparison-overlap]


@pytest.mark.usefixtures("streams")
def test_what_cannot_be_recorded_runs_without_a_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise BackendError(expected="a graph", received="a refusal", remedy="none")

    monkeypatch.setattr(tensorrt, "Graph", refuse)
    backend = load(tmp_path, "tensorrt")
    assert "CUDA graph" not in backend.description
    frames = make_frames(1).numpy()
    assert backend.infer(frames).logits[0, 0] == frames.sum(dtype=np.float64)
