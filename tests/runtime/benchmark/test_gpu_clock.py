"""How calls are timed on a GPU, with stand-ins."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import pytest
from tests.runtime.benchmark.stand_in import FAILURE, StandInCuda
from tests.runtime.conftest import make_bundle, make_contract

from metfa.runtime.backends.onnxruntime import OnnxRuntimeBackend
from metfa.runtime.benchmark.gpu_clock import gpu_clock
from metfa.runtime.bundle.directory import ONNX, Bundle
from metfa.runtime.errors import BackendError

if TYPE_CHECKING:
    from pathlib import Path


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
    monkeypatch.setattr("metfa.runtime.benchmark.gpu_clock.cuda_bindings_installed", lambda: False)
    assert gpu_clock("cuda", backend, bundle) is None
