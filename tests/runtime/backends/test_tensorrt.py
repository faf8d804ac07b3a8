"""The engines here are real ones, built by TensorRT for RTX, which needs no GPU; running one does."""

from __future__ import annotations

import dataclasses
import importlib.util
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.export.networks import make_bundle, make_contract, make_frames, make_network

from metfa.export.graph import deploy, export_onnx
from metfa.runtime.backends.choice import load_backend
from metfa.runtime.backends.engine_builder import build_engine, find_target
from metfa.runtime.backends.onnxruntime import OnnxRuntimeBackend
from metfa.runtime.bundle import engine_record as engines
from metfa.runtime.bundle.directory import ENGINE_PATTERN, ONNX_FP16, Bundle, updating
from metfa.runtime.bundle.engine_record import EngineRecord, import_flavour, quiet_logger, record_name
from metfa.runtime.bundle.records import to_json
from metfa.runtime.errors import BackendError, BundleError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

trt = pytest.importorskip("tensorrt_rtx", reason="needs TensorRT for RTX, whose builder works without a GPU")
cudart = pytest.importorskip("cuda.bindings.runtime", reason="needs cuda-python")

from metfa.runtime.backends import gpu, tensorrt  # noqa: E402  # they import the CUDA bindings

ENGINE = "model.fp16.tensorrt_rtx.engine"


@pytest.fixture(scope="module")
def _built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    network = make_network()
    contract = make_contract(network)
    directory = make_bundle(tmp_path_factory.mktemp("built") / "bundle", network)
    with updating(directory, keep=lambda _: True) as stage:
        export_onnx(deploy(network, "fp16"), contract, stage / ONNX_FP16)
        target = find_target("tensorrt_rtx", ())
        build_engine("tensorrt_rtx", target, stage / ONNX_FP16, contract, stage / ENGINE)
    return directory


@pytest.fixture
def built(_built: Path, tmp_path: Path) -> Path:
    """A bundle with an FP16 graph and an engine, of which a test may do what it wants."""
    return shutil.copytree(_built, tmp_path / "bundle")


@pytest.fixture
def record(built: Path) -> EngineRecord:
    return EngineRecord.read(built / record_name(ENGINE))


def has_gpu() -> bool:
    try:
        gpu.current_device()
    except BackendError:
        return False
    return True


def refusal_of(built: Path, record: EngineRecord) -> str:
    """Return why the engine is refused when ``record`` describes it."""
    with updating(built, keep=lambda _: True) as stage:
        (stage / record_name(ENGINE)).write_text(to_json(record), encoding="utf-8")
    with pytest.raises(BackendError) as refusal:
        load_backend(Bundle.open(built), "tensorrt")
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def test_an_engine_of_another_version_is_refused(built: Path, record: EngineRecord) -> None:
    other = dataclasses.replace(record, version="1.0.0.0")
    assert (
        f"expected tensorrt_rtx 1.0.0.0, which built {ENGINE}, received tensorrt_rtx {trt.__version__}"
        in refusal_of(built, other)
    )


@pytest.mark.skipif(importlib.util.find_spec("tensorrt") is not None, reason="needs a host without tensorrt")
def test_an_engine_of_another_flavour_is_refused(built: Path, record: EngineRecord) -> None:
    other = dataclasses.replace(record, flavour="tensorrt")
    assert "received a host with tensorrt_rtx" in refusal_of(built, other)


def test_an_engine_of_another_model_is_refused(built: Path, record: EngineRecord) -> None:
    labels = ("1", "2", "3", "4", "Background")
    other = dataclasses.replace(record, contract=dataclasses.replace(record.contract, labels=labels))
    assert "received a model with another contract" in refusal_of(built, other)


def test_another_plan_than_its_record_describes_is_refused(built: Path, record: EngineRecord) -> None:
    other = dataclasses.replace(record, plan_sha256="0" * 64)
    assert "received a record of other files" in refusal_of(built, other)


def test_an_engine_of_an_earlier_export_is_refused(built: Path, record: EngineRecord) -> None:
    other = dataclasses.replace(record, onnx_sha256="0" * 64)
    assert "received a record of other files" in refusal_of(built, other)


def test_a_gpu_that_the_engine_was_not_built_for_is_named(
    built: Path, record: EngineRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Stands in for the question to the driver, which cannot be asked without a GPU.
    monkeypatch.setattr(tensorrt, "current_device", lambda: gpu.Device("Orin", "8.7"))
    assert "received Orin of compute capability 8.7" in refusal_of(built, record)


@pytest.mark.skipif(has_gpu(), reason="needs a host without a GPU")
def test_a_host_without_a_gpu_is_refused_before_the_engine_is_loaded(built: Path, record: EngineRecord) -> None:
    assert "expected an NVIDIA GPU with its driver, received" in refusal_of(built, record)
    backend, (refusal, *_) = load_backend(Bundle.open(built), precision="fp16")
    assert isinstance(backend, OnnxRuntimeBackend)
    assert refusal.startswith("not tensorrt: expected an NVIDIA GPU")


@pytest.mark.parametrize("name", [ENGINE, record_name(ENGINE)])
def test_a_truncated_engine_or_record_is_refused(built: Path, name: str) -> None:
    (built / name).write_bytes((built / name).read_bytes()[:-10])
    with pytest.raises(BundleError, match="changed or truncated since"):
        load_backend(Bundle.open(built), "tensorrt")


def test_an_engine_without_its_record_is_refused(built: Path) -> None:
    (built / record_name(ENGINE)).unlink()
    with pytest.raises(BundleError, match=r"expected model\.fp16\.tensorrt_rtx\.engine\.json in the bundle"):
        load_backend(Bundle.open(built), "tensorrt")


@pytest.mark.skipif(has_gpu(), reason="needs a host without a GPU")
def test_what_tensorrt_cannot_load_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"expected a plan in .* can run, received .*Error"):
        tensorrt._deserialise(trt, tmp_path / ENGINE, b"no plan")


def test_the_name_of_the_engine_is_what_a_bundle_looks_for(built: Path) -> None:
    assert Bundle.open(built).matching(ENGINE_PATTERN) == [ENGINE]


def test_bindings_of_which_only_a_part_is_installed_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "cuda.bindings" else find_spec(name))
    assert not engines.cuda_bindings_installed()


def test_a_flavour_that_cannot_be_imported_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_flavour.py").write_text("raise RuntimeError('libnvinfer.so:\\n not found')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BackendError, match=r"received libnvinfer\.so: not found; install broken_flavour"):
        import_flavour("broken_flavour")  # type: ignore[arg-type]


def test_a_signal_while_a_flavour_is_imported_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module in C++ turns what is raised in it into an ImportError."""
    (tmp_path / "interrupted_flavour.py").write_text(
        "try:\n    raise KeyboardInterrupt\nexcept KeyboardInterrupt as cause:\n"
        "    raise ImportError('initialization failed') from cause\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        import_flavour("interrupted_flavour")  # type: ignore[arg-type]


def test_every_name_that_the_runtime_is_called_by_exists() -> None:
    names = {
        trt.Runtime: ["deserialize_cuda_engine"],
        trt.ICudaEngine: ["create_execution_context", "create_runtime_config"],
        trt.IRuntimeConfig: ["cuda_graph_strategy"],
        trt.CudaGraphStrategy: ["WHOLE_GRAPH_CAPTURE"],
        trt.IExecutionContext: ["set_tensor_address", "set_input_shape", "execute_async_v3"],
    }
    for owner, members in names.items():
        for member in members:
            assert hasattr(owner, member), f"{owner.__name__}.{member}"
    assert quiet_logger(trt).messages == []


def test_every_name_of_the_cuda_runtime_exists() -> None:
    functions = {
        "cudaGetDevice": 0,
        "cudaGetDeviceProperties": 1,
        "cudaRuntimeGetVersion": 0,
        "cudaDriverGetVersion": 0,
        "cudaGetErrorString": 1,
        "cudaStreamCreate": 0,
        "cudaStreamSynchronize": 1,
        "cudaStreamDestroy": 1,
        "cudaEventCreate": 0,
        "cudaEventRecord": 2,
        "cudaEventSynchronize": 1,
        "cudaEventElapsedTime": 2,
        "cudaEventDestroy": 1,
        "cudaMalloc": 1,
        "cudaFree": 1,
        "cudaMallocHost": 1,
        "cudaFreeHost": 1,
        "cudaMemcpyAsync": 5,
        "cudaStreamBeginCapture": 2,
        "cudaStreamEndCapture": 1,
        "cudaGraphInstantiate": 2,
        "cudaGraphLaunch": 2,
        "cudaGraphDestroy": 1,
        "cudaGraphExecDestroy": 1,
    }
    for name, count in functions.items():
        signature = getattr(cudart, name).__doc__.splitlines()[0]
        arguments = [argument for argument in signature.split("(")[1].rstrip(")").split(",") if argument]
        assert len(arguments) == count, signature
    assert "cudaStreamCaptureModeThreadLocal" in cudart.cudaStreamCaptureMode.__members__
    assert {"cudaMemcpyHostToDevice", "cudaMemcpyDeviceToHost"} <= set(cudart.cudaMemcpyKind.__members__)
    properties = cudart.cudaDeviceProp()
    assert isinstance(properties.name, bytes)
    assert (properties.major, properties.minor) == (0, 0)
    assert int(cudart.cudaStream_t(7)) == 7


@pytest.mark.parametrize("version", [gpu.runtime_version, gpu.driver_version])
def test_cuda_says_its_versions_without_a_gpu(version: Callable[[], str]) -> None:
    assert [number.isdecimal() for number in version().split(".")] == [True, True]


@pytest.mark.skipif(has_gpu(), reason="needs a host without a GPU")
def test_an_error_of_the_cuda_runtime_is_one_line() -> None:
    with pytest.raises(BackendError, match=r"expected cudaMalloc to succeed on an NVIDIA GPU, received .*driver"):
        gpu.Buffer((1, 2), np.float32)


@pytest.mark.gpu
@pytest.mark.skipif(not has_gpu(), reason="needs an NVIDIA GPU")
def test_an_engine_computes_what_onnx_runtime_does(built: Path) -> None:
    bundle = Bundle.open(built)
    record = EngineRecord.read(built / record_name(ENGINE))
    if gpu.current_device().compute_capability not in record.compute_capabilities:
        pytest.skip(f"needs a GPU of compute capability {', '.join(record.compute_capabilities)}")
    backend, _ = load_backend(bundle, "tensorrt")
    reference = OnnxRuntimeBackend(built / ONNX_FP16, bundle.contract, "cpu")
    # Within the largest batch, beyond it, and alone again: a graph must not repeat its first result.
    for seed, count in enumerate((1, 8, 11, 3, 1, 1)):
        frames = make_frames(count, seed).numpy()
        received, expected = backend.infer(frames), reference.infer(frames)
        np.testing.assert_allclose(received.logits, expected.logits, atol=0.1)
        np.testing.assert_allclose(received.embedding, expected.embedding, atol=0.01)
