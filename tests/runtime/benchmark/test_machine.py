"""What a record says of the machine; of a GPU, with stand-ins."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace
from typing import Any

import onnxruntime
import pytest
from tests.runtime.benchmark.stand_in import SUCCESS, StandInCuda

from metfa.runtime.benchmark import machine

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

    monkeypatch.setattr("metfa.runtime.benchmark.machine.subprocess.run", run)
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

    monkeypatch.setattr("metfa.runtime.benchmark.machine.subprocess.run", refuse)
    host = machine.host()
    assert host["gpus"] == []
    assert "cuda" not in host
    packages = host["packages"]
    assert isinstance(packages, dict)
    assert packages["onnxruntime"] == onnxruntime.__version__
