"""The benchmark of backends and what it says of its host; of a GPU, with stand-ins."""

from __future__ import annotations

import hashlib
import json
import subprocess
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import pytest
from benchmarks import backends, machine
from benchmarks.gpu_clock import gpu_clock
from click.testing import CliRunner
from tests.runtime.conftest import make_bundle, make_contract

from metfa.runtime.backends.onnxruntime import OnnxRuntimeBackend
from metfa.runtime.bundle.directory import ONNX, Bundle
from metfa.runtime.errors import BackendError

if TYPE_CHECKING:
    from pathlib import Path

SUCCESS, FAILURE = 0, 35


class StandInCuda(SimpleNamespace):
    """The CUDA runtime of a GPU whose every event is 2.5 ms after the one before."""

    def __init__(self) -> None:
        super().__init__(cudaError_t=SimpleNamespace(cudaSuccess=SUCCESS), done=[])
        self.times: dict[int, float] = {}
        self.events = 0

    def cudaEventCreate(self) -> tuple[int, int]:  # noqa: N802
        self.events += 1
        return SUCCESS, self.events

    def cudaEventDestroy(self, _: int) -> tuple[int]:  # noqa: N802
        self.events -= 1
        return (SUCCESS,)

    def cudaEventRecord(self, event: int, stream: int) -> tuple[int]:  # noqa: N802
        self.done.append(f"event {event} on {stream}")
        self.times[event] = 2.5 * len(self.times)
        return (SUCCESS,)

    def cudaEventSynchronize(self, event: int) -> tuple[int]:  # noqa: N802
        self.done.append(f"wait for {event}")
        return (SUCCESS,)

    def cudaEventElapsedTime(self, start: int, end: int) -> tuple[int, float]:  # noqa: N802
        return SUCCESS, self.times[end] - self.times[start]

    def cudaGetErrorString(self, _: int) -> tuple[int, bytes]:  # noqa: N802
        return SUCCESS, b"an illegal memory access"


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> StandInCuda:
    pytest.importorskip("cuda.bindings.runtime", reason="needs cuda-python")
    from metfa.runtime.backends import gpu

    cuda = StandInCuda()
    monkeypatch.setattr(gpu, "cuda", cuda)
    monkeypatch.setattr(gpu, "Stream", lambda: SimpleNamespace(handle=7))
    return cuda


def test_events_are_recorded_before_and_after_what_is_enqueued(
    cuda: StandInCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    from metfa.runtime.backends.gpu import Stopwatch

    stopwatch = Stopwatch(SimpleNamespace(handle=7))  # type: ignore[arg-type]
    assert stopwatch.time(lambda: cuda.done.append("work")) == 2.5
    assert cuda.done == ["event 1 on 7", "work", "event 2 on 7", "wait for 2"]
    monkeypatch.setattr(cuda, "cudaEventSynchronize", lambda _: (FAILURE,))
    with pytest.raises(BackendError, match="received an illegal memory access"):
        stopwatch.time(lambda: None)
    del stopwatch
    assert cuda.events == 0


def test_a_cuda_session_is_timed_on_a_stream_that_is_known(
    cuda: StandInCuda, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = Bundle.open(make_bundle(tmp_path / "bundle", make_contract()))
    made: list[Any] = []

    class StandInSession:
        def __init__(self, *arguments: Any, **options: Any) -> None:
            made.append((*arguments, options))

        def run(self, outputs: list[str], inputs: dict[str, Any]) -> None:
            cuda.done.append(f"{' and '.join(outputs)} of {len(inputs['frame'])}")

    backend = OnnxRuntimeBackend(bundle.directory / ONNX, bundle.contract, "cpu")
    assert gpu_clock("cpu", backend, bundle) is None
    monkeypatch.setattr(onnxruntime, "InferenceSession", StandInSession)
    clock = gpu_clock("cuda", backend, bundle)
    assert clock is not None
    assert clock(np.zeros((3, 1, 48, 64), np.uint8)) == 2.5
    assert cuda.done == ["event 1 on 7", "logits and embedding of 3", "event 2 on 7", "wait for 2"]
    assert made == [(bundle.read(ONNX), {"providers": [("CUDAExecutionProvider", {"user_compute_stream": "7"})]})]


def test_without_the_cuda_bindings_there_is_no_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = Bundle.open(make_bundle(tmp_path / "bundle", make_contract()))
    backend = OnnxRuntimeBackend(bundle.directory / ONNX, bundle.contract, "cpu")
    monkeypatch.setattr("benchmarks.gpu_clock.cuda_bindings_installed", lambda: False)
    assert gpu_clock("cuda", backend, bundle) is None


def test_the_record_has_every_backend_that_runs_here_and_why_others_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, output = make_bundle(tmp_path / "bundle", make_contract()), tmp_path / "backends.json"
    monkeypatch.setattr(backends, "SECONDS", 0.0)
    # The GPU's clock reads a tenth of the batch; there is one for this backend as if it were on a GPU.
    monkeypatch.setattr(backends, "gpu_clock", lambda *_: lambda frames: len(frames) / 10)
    result = CliRunner().invoke(
        backends.main, ["--bundle", str(bundle), "--output", str(output)], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    report = json.loads(output.read_text())
    assert [row["batch"] for row in report["latencies"]] == list(backends.BATCHES)
    for row in report["latencies"]:
        assert row["sha256"] == hashlib.sha256((bundle / ONNX).read_bytes()).hexdigest()
        assert 0 < row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"]
        assert row["gpu_p50_ms"] == row["gpu_p99_ms"] == row["batch"] / 10
    assert len(report["cannot_run_here"]) == 8
    assert ["cpu", "fp32", "8"] in [line.split()[:3] for line in result.output.splitlines()]
    monkeypatch.setattr(backends, "gpu_clock", lambda *_: None)
    CliRunner().invoke(backends.main, ["--bundle", str(bundle), "--output", str(output)], catch_exceptions=False)
    assert {row["gpu_p50_ms"] for row in json.loads(output.read_text())["latencies"]} == {None}


LISTED = "NVIDIA GeForce RTX 4090, 550.54.14\nNVIDIA A2, 550.54.14\n"


def test_a_record_names_gpus_drivers_and_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = pytest.importorskip("metfa.runtime.backends.gpu", reason="needs cuda-python")
    monkeypatch.setattr(gpu, "cuda", cuda := StandInCuda())
    cuda.cudaRuntimeGetVersion = lambda: (SUCCESS, 12060)
    cuda.cudaDriverGetVersion = lambda: (SUCCESS, 12080)
    asked = []

    def run(command: list[str], **_: Any) -> SimpleNamespace:
        asked.append(command[0])
        return SimpleNamespace(stdout=LISTED)

    monkeypatch.setattr("benchmarks.machine.subprocess.run", run)
    host = machine.host()
    assert asked[0] == "nvidia-smi"
    assert host["gpus"] == [
        {"name": "NVIDIA GeForce RTX 4090", "driver": "550.54.14"},
        {"name": "NVIDIA A2", "driver": "550.54.14"},
    ]
    assert host["cuda"] == {"runtime": "12.6", "driver": "12.8"}
    monkeypatch.setattr(machine, "cuda_bindings_installed", lambda: False)
    assert machine.host()["cuda"] is None


@pytest.mark.parametrize(
    "error", [FileNotFoundError("nvidia-smi"), subprocess.CalledProcessError(9, "nvidia-smi")], ids=["none", "no GPU"]
)
def test_a_record_without_a_gpu_says_so(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("benchmarks.machine.subprocess.run", refuse)
    host = machine.host()
    assert host["gpus"] == []
    assert "cuda" not in host
    packages = host["packages"]
    assert isinstance(packages, dict)
    assert packages["onnxruntime"] == onnxruntime.__version__
