"""An engine that a device builds for itself: built for real, and run by the CPU in place of the GPU."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.export.networks import make_bundle, make_contract, make_network

from metfa.export.graph import deploy, export_onnx
from metfa.runtime.backends import Inference, choice
from metfa.runtime.backends.choice import load_backend
from metfa.runtime.backends.onnxruntime import OnnxRuntimeBackend
from metfa.runtime.bundle.directory import ONNX, ONNX_FP16, Bundle, updating
from metfa.runtime.errors import BackendError, BundleError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from metfa.runtime.bundle.contract import ModelContract
    from metfa.runtime.bundle.engine_record import EngineRecord

pytest.importorskip("tensorrt_rtx", reason="needs TensorRT for RTX, whose builder works without a GPU")
pytest.importorskip("cuda.bindings.runtime", reason="needs cuda-python")

from metfa.runtime.backends import gpu, rebuild, tensorrt  # they import the CUDA bindings

ENGINE = "model.fp16.tensorrt_rtx.engine"


class RunsOnTheCpu:
    """Takes the place of the engine on its GPU, and computes what ``distort`` makes of the FP16 graph's logits."""

    concurrency = 1

    def __init__(self, path: Path, record: EngineRecord, contract: ModelContract, *, plan: bytes | None = None) -> None:
        assert plan in (None, path.read_bytes())
        assert path.stat().st_size > 1000
        assert record.compute_capabilities == ("8.6",)
        onnx = next(parent / ONNX_FP16 for parent in path.parents if (parent / ONNX_FP16).exists())
        self._backend = OnnxRuntimeBackend(onnx, contract, "cpu")
        self.description, self.artefact = f"stand-in of {path.name}", path.name

    def infer(self, frames: NDArray[np.uint8]) -> Inference:
        inference = self._backend.infer(frames)
        return Inference(self.distort(inference.logits), inference.embedding)

    @staticmethod
    def distort(logits: NDArray[np.float32]) -> NDArray[np.float32]:
        return logits


@pytest.fixture(scope="module")
def _graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    network = make_network()
    directory = make_bundle(tmp_path_factory.mktemp("graphs") / "bundle", network)
    with updating(directory, keep=lambda _: True) as stage:
        export_onnx(deploy(network, "fp32"), make_contract(network), stage / ONNX)
        export_onnx(deploy(network, "fp16"), make_contract(network), stage / ONNX_FP16)
    return directory


@pytest.fixture
def bundle(_graphs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle with graphs and no engine, on a host that seems to have a GPU."""
    monkeypatch.setattr(gpu, "current_device", lambda: gpu.Device("NVIDIA RTX A2000", "8.6"))
    monkeypatch.setattr(tensorrt, "current_device", lambda: gpu.Device("NVIDIA RTX A2000", "8.6"))
    monkeypatch.setattr(tensorrt, "TensorRtBackend", RunsOnTheCpu)
    monkeypatch.setattr(rebuild, "installed_flavours", lambda: ("tensorrt_rtx",))
    monkeypatch.setattr(choice, "has_nvidia_gpu", lambda: True)
    return shutil.copytree(_graphs, tmp_path / "bundle")


def test_a_device_builds_its_engine_and_finds_it_the_next_time(bundle: Path) -> None:
    backend, _ = load_backend(Bundle.open(bundle), rebuild=True)
    assert backend.artefact == ENGINE
    assert "just built here, within 0.0e+00 of ONNX Runtime on 21 frames of the phantom" in backend.description
    assert ENGINE in Bundle.open(bundle).files
    again, _ = load_backend(Bundle.open(bundle), rebuild=True)
    assert "built here" not in again.description


def test_an_engine_that_does_not_suit_is_replaced(bundle: Path) -> None:
    load_backend(Bundle.open(bundle), rebuild=True)
    record = bundle / f"{ENGINE}.json"
    record.write_text(record.read_text().replace("8.6", "7.5"))  # damaged, as far as the manifest knows
    with pytest.raises(BundleError, match="changed or truncated"):
        load_backend(Bundle.open(bundle), "tensorrt")
    (bundle / record.name).write_text("{}")
    with pytest.raises(BundleError, match="changed or truncated"):
        load_backend(Bundle.open(bundle), "tensorrt")
    record.unlink()
    (bundle / ENGINE).unlink()
    with pytest.raises(BundleError, match="no such file"):
        load_backend(Bundle.open(bundle), "tensorrt")
    backend, _ = load_backend(Bundle.open(bundle), "tensorrt", rebuild=True)
    assert backend.artefact == ENGINE
    assert "just built here" in backend.description


@pytest.mark.parametrize(
    "distort", [lambda logits: logits[:, ::-1], lambda logits: logits * np.float32("nan"), lambda logits: logits * 0.5]
)
def test_an_engine_that_computes_something_else_stays_out(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, distort: Any
) -> None:
    monkeypatch.setattr(RunsOnTheCpu, "distort", staticmethod(distort))
    before = sorted(path.name for path in bundle.iterdir())
    with pytest.raises(BackendError, match="expected the new engine to compute what ONNX Runtime does"):
        load_backend(Bundle.open(bundle), "tensorrt", rebuild=True)
    assert sorted(path.name for path in bundle.iterdir()) == before
    backend, (refusal, *_) = load_backend(Bundle.open(bundle), rebuild=True)
    assert backend.artefact in {ONNX, ONNX_FP16}
    assert refusal.startswith("not tensorrt: expected the new engine")


def test_a_bundle_without_the_typed_graph_cannot_be_rebuilt(bundle: Path) -> None:
    with updating(bundle, keep=lambda name: name != ONNX_FP16):
        pass
    with pytest.raises(BundleError, match=r"expected model\.fp16\.onnx in the bundle"):
        load_backend(Bundle.open(bundle), "tensorrt", rebuild=True)


def test_without_onnx_runtime_it_says_that_nothing_was_compared(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "onnxruntime" else object())
    assert rebuild._compare(None, bundle, b"", None) == "not compared: ONNX Runtime is not installed"  # type: ignore[arg-type]
