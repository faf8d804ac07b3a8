"""OpenVINO's own runtime, on the CPU; a stand-in says that there is a GPU."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from tests.runtime.conftest import make_bundle, make_contract, make_onnx
from tests.runtime.test_hostile_models import folding, hostile, other_shape, spreading

from metfa.runtime.backends.choice import load_backend
from metfa.runtime.backends.onnxruntime import OnnxRuntimeBackend
from metfa.runtime.bundle import directory as bundles
from metfa.runtime.bundle.directory import ONNX, Bundle
from metfa.runtime.errors import BackendError, BundleError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from metfa.runtime.backends.choice import Precision
    from metfa.runtime.bundle.contract import ModelContract

openvino = pytest.importorskip("openvino", reason="needs OpenVINO")

from metfa.runtime.backends.openvino import OpenVinoBackend  # noqa: E402  # needs it

VERSION = openvino.__version__.partition("-")[0]
HAS_BFLOAT16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
PRECISION = openvino.properties.hint.inference_precision


def make_frames(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, 1, 32, 40), np.uint8)


def convolving(contract: ModelContract) -> bytes:
    """Return a model like SonoNet-16: a convolution, then the sum of products over the last axis, and a bias."""
    random = np.random.default_rng(1)
    model = onnx.ModelProto.FromString(make_onnx(contract))
    graph, labels, embedding = model.graph, len(contract.labels), contract.embedding
    del graph.node[2:], graph.initializer[:]
    for name, value in (
        ("scale", np.float32(1 / 255)),
        ("filters", random.normal(0, 0.1, (embedding, 1, 8, 8)).astype(np.float32)),
        ("weights", random.normal(0, 1, (labels, embedding)).astype(np.float32)),
        ("bias", random.normal(0, 1, labels).astype(np.float32)),
        ("pixels", np.array([2, 3], np.int64)),
        ("one", np.array([1], np.int64)),
        ("last", np.array([2], np.int64)),
    ):
        graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    graph.node.extend(
        [
            helper.make_node("Conv", ["scaled", "filters"], ["maps"]),
            helper.make_node("ReduceMean", ["maps", "pixels"], ["embedding"], keepdims=0),
            helper.make_node("Unsqueeze", ["embedding", "one"], ["row"]),
            helper.make_node("Mul", ["row", "weights"], ["products"]),
            helper.make_node("ReduceSum", ["products", "last"], ["sums"], keepdims=0),
            helper.make_node("Add", ["sums", "bias"], ["logits"]),
        ]
    )
    for output in graph.output:
        output.type.tensor_type.shape.dim[1].dim_value = {"logits": labels, "embedding": embedding}[output.name]
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


@pytest.fixture
def convolution(tmp_path: Path) -> tuple[Path, ModelContract]:
    """An ONNX and its contract, of 14 classes."""
    contract = dataclasses.replace(make_contract(tuple(f"plane {number}" for number in range(14))), embedding=64)
    path = tmp_path / ONNX
    path.write_bytes(convolving(contract))
    return path, contract


def test_a_batch_is_run_as_the_contract_says(bundle: Path, contract: ModelContract) -> None:
    backend = OpenVinoBackend(bundle / ONNX, contract)
    frames = np.stack([np.full((1, contract.input.height, contract.input.width), grey, np.uint8) for grey in (0, 255)])
    inference = backend.infer(frames)
    assert inference.logits.dtype == inference.embedding.dtype == np.float32
    assert inference.logits.argmax(1).tolist() == [0, len(contract.labels) - 1]
    assert np.allclose(inference.embedding, [[0], [1]])
    assert backend.description == f"OpenVINO {VERSION} on the CPU in f32, model.onnx"
    assert backend.artefact == ONNX


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_any_number_of_frames_is_computed_right(convolution: tuple[Path, ModelContract], count: int) -> None:
    # Compiled for several frames, OpenVINO 2024.6 and 2026.4 return other logits than for one.
    frames = make_frames(count)
    computed = OpenVinoBackend(*convolution).infer(frames)
    expected = OnnxRuntimeBackend(*convolution, "cpu").infer(frames)
    assert computed.logits == pytest.approx(expected.logits, abs=1e-4)
    assert computed.embedding == pytest.approx(expected.embedding, abs=1e-5)


@pytest.mark.skipif(not HAS_BFLOAT16, reason="needs a CPU with bfloat16")
def test_a_cpu_that_would_take_16_bits_computes_in_32(convolution: tuple[Path, ModelContract]) -> None:
    path, contract = convolution
    frames = make_frames(1)
    expected = OnnxRuntimeBackend(path, contract, "cpu").infer(frames).logits
    untold = openvino.Core().compile_model(path, "CPU")
    assert untold.get_property(PRECISION) == openvino.Type.bf16
    assert np.abs(untold({"frame": frames})["logits"] - expected).max() > 1e-3
    backend = OpenVinoBackend(path, contract)
    assert np.abs(backend.infer(frames).logits - expected).max() < 1e-5
    assert "on the CPU in f32, " in backend.description


def test_many_threads_get_the_results_of_their_own_frames(convolution: tuple[Path, ModelContract]) -> None:
    backend = OpenVinoBackend(*convolution)
    frames = make_frames(64)
    alone = [backend.infer(frames[[index]]).logits for index in range(len(frames))]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda index: backend.infer(frames[[index]]).logits, range(len(frames))))
    assert np.array_equal(together, alone)


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any], Any]]:
    """What is compiled: for which device, how, and the result. There seems to be a GPU, which the CPU stands in for."""
    made: list[tuple[str, dict[str, Any], Any]] = []

    class CoreWithGpus(openvino.Core):  # type: ignore[misc, name-defined]  # as it may be missing
        available_devices = ("CPU", "GPU.0", "GPU.1", "NPU")

        def compile_model(self, model: Any, device: str, settings: dict[Any, Any]) -> Any:
            result = super().compile_model(model, "CPU", settings)
            made.append((device, {str(key): value for key, value in settings.items()}, result))
            return result

    monkeypatch.setattr(openvino, "Core", CoreWithGpus)
    return made


@pytest.mark.parametrize(
    ("backend", "precision", "artefact", "told"),
    [
        ("openvino", None, bundles.ONNX, "f32"),
        ("openvino:CPU", "fp16", bundles.ONNX_FP16, "f32"),
        ("openvino:CPU", "int8", bundles.ONNX_INT8, "f32"),
        ("openvino:GPU", None, bundles.ONNX_FP16, "f16"),
        ("openvino:GPU.1", "fp32", bundles.ONNX, "f32"),
        ("openvino:GPU", "int8", bundles.ONNX_INT8, "f16"),
        ("openvino:NPU", None, bundles.ONNX_FP16, "f16"),
    ],
)
def test_each_device_is_told_what_to_compute_in(
    bundle: Path, compiled: list[Any], backend: str, precision: Precision | None, artefact: str, told: str
) -> None:
    with bundles.updating(bundle, keep=lambda _: True) as stage:
        for name in (bundles.ONNX_FP16, bundles.ONNX_INT8):
            (stage / name).write_bytes((bundle / ONNX).read_bytes())
    loaded, refusals = load_backend(Bundle.open(bundle), backend, precision)
    ((device, settings, model),) = compiled
    assert device == (backend.partition(":")[2] or "CPU")
    assert settings["INFERENCE_PRECISION_HINT"].get_type_name() == told
    assert (loaded.artefact, refusals) == (artefact, ())
    # The CPU that stands in knows no f16: what is described is what the compiled model says.
    assert f"on the {device} in {model.get_property(PRECISION).get_type_name()}" in loaded.description
    assert loaded.concurrency == (min(4, len(os.sched_getaffinity(0))) if device == "CPU" else 1)


def test_a_quota_of_cores_is_kept_and_threads_are_not_pinned(
    bundle: Path, contract: ModelContract, compiled: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metfa.runtime.backends.openvino.available_cores", lambda: 1)
    assert OpenVinoBackend(bundle / ONNX, contract).concurrency == 1
    ((_, _, model),) = compiled
    assert model.get_property("INFERENCE_NUM_THREADS") == 1
    assert model.get_property("ENABLE_CPU_PINNING") is False


def test_an_npu_is_refused_what_it_does_not_compute(bundle: Path, compiled: list[Any]) -> None:
    with pytest.raises(BackendError, match="expected FP16 or INT8, which an NPU computes in, received FP32; choose"):
        load_backend(Bundle.open(bundle), "openvino:NPU")
    assert compiled == []


@pytest.mark.parametrize("device", ["GPU.7", "AUTO", "cpu", ""])
def test_a_device_that_is_not_here_is_refused_with_those_that_are(bundle: Path, device: str) -> None:
    devices = ", ".join(openvino.Core().available_devices)
    with pytest.raises(BackendError) as refusal:
        load_backend(Bundle.open(bundle), f"openvino:{device}")
    assert str(refusal.value) == (
        f"expected a device that OpenVINO finds here: {devices}, received '{device}'; "
        "name one of these with --backend openvino:DEVICE, or install the driver of the other"
    )


@pytest.mark.parametrize("share", [0, 0.5])
def test_an_empty_or_truncated_file_is_one_line(bundle: Path, contract: ModelContract, share: float) -> None:
    data = (bundle / ONNX).read_bytes()
    (bundle / ONNX).write_bytes(data[: int(share * len(data))])
    with pytest.raises(BackendError, match=r"expected (an ONNX|a whole) model .*model\.onnx") as refusal:
        OpenVinoBackend(bundle / ONNX, contract)
    assert "\n" not in str(refusal.value)


def test_a_file_that_was_edited_is_refused_by_its_hash(bundle: Path) -> None:
    (bundle / ONNX).write_bytes((bundle / ONNX).read_bytes() + b"\0")
    with pytest.raises(BundleError, match=r"model\.onnx as it was written .*, received a file that was changed"):
        load_backend(Bundle.open(bundle), "openvino")


def test_a_model_of_another_contract_or_without_one_is_refused(bundle: Path, contract: ModelContract) -> None:
    other = dataclasses.replace(contract, labels=tuple(reversed(contract.labels)))
    with pytest.raises(BackendError, match="received a model with another contract"):
        OpenVinoBackend(bundle / ONNX, other)
    (bundle / ONNX).write_bytes((bundle / ONNX).read_bytes().replace(b"metfa.contract", b"other.contract"))
    with pytest.raises(BackendError, match="received one without a contract"):
        OpenVinoBackend(bundle / ONNX, contract)


def test_tensors_of_other_shapes_are_refused(tmp_path: Path, contract: ModelContract) -> None:
    model = onnx.ModelProto.FromString(make_onnx(contract))
    model.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 44
    (tmp_path / ONNX).write_bytes(model.SerializeToString())
    with pytest.raises(BackendError, match=r"frame uint8 \[N, 1, 32, 40\], .*, received frame uint8 \[N, 1, 32, 44\]"):
        OpenVinoBackend(tmp_path / ONNX, contract)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (folding, r"that OpenVINO [\d.]+ can run on the CPU, received .+; export"),
        (spreading, r"model\.onnx .*, received .+; export"),
        (other_shape, r"expected logits \[1, 3\] and embedding \[1, 1\] of .*, received \[2, 3\] and \[2, 1\]; "),
    ],
)
def test_a_model_that_means_no_good_is_one_line(
    tmp_path: Path, change: Callable[[onnx.GraphProto], None], reason: str
) -> None:
    def use() -> None:
        backend, _ = load_backend(Bundle.open(hostile(tmp_path / "bundle", change)), "openvino")
        backend.infer(np.zeros((1, 1, 32, 40), np.uint8))

    with pytest.raises(BackendError, match=reason) as refusal:
        use()
    assert "\n" not in str(refusal.value)


def stream(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).with_name("metfa-stream"), *arguments, "--no-window"]
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)


def test_a_folder_is_labelled_as_on_onnx_runtime(bundle: Path, folder: Path, tmp_path: Path) -> None:
    tables = {}
    for backend in ("cpu", "openvino", "openvino:CPU"):
        table = tmp_path / f"{backend}.csv"
        ended = stream("--bundle", bundle, "--device", folder, "--backend", backend, "--labels", table)
        assert ended.returncode == 0, ended.stderr
        tables[backend] = table.read_text()
    assert f"backend: OpenVINO {VERSION} on the CPU in f32, model.onnx\n" in ended.stderr
    assert tables["openvino"] == tables["openvino:CPU"] == tables["cpu"]


def test_the_command_refuses_devices_in_one_line(bundle: Path, folder: Path) -> None:
    for device, code, said in (("GPU.7", 1, "received 'GPU.7'; name one"), ("", 2, "'openvino:' is not one of")):
        ended = stream("--bundle", bundle, "--device", folder, "--backend", f"openvino:{device}")
        assert ended.returncode == code
        (line,) = ended.stderr.splitlines()
        assert line.startswith("Error: ")
        assert said in line


def test_it_is_imported_only_where_it_is_asked_for(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle", make_contract())
    code = (
        "import sys\nfrom metfa.runtime import PlaneClassifier\n"
        f"PlaneClassifier.load({str(bundle)!r})\nassert 'openvino' not in sys.modules\n"
        f"PlaneClassifier.load({str(bundle)!r}, backend='openvino')\nassert 'openvino' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
