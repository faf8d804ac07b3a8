from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from metfa.export.gate import TOLERANCES
from metfa.export.graph import deploy, export_onnx
from metfa.export.inspection import inspect, require_inference_only
from metfa.export.parity import measure
from metfa.export.quantise import Quantiser, simulate
from metfa.runtime.backends.onnxruntime import OnnxRuntimeBackend
from metfa.runtime.bundle.directory import ONNX
from metfa.runtime.errors import ExportError

from .networks import make_contract, make_frames, make_network, make_reference

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Literal

    from metfa.export.quantise import Form

CONTRACT = make_contract(make_network())
FORMS: tuple[Form, ...] = ("cpu", "tensorrt")


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with an FP32 graph and both its INT8 forms."""
    directory = tmp_path_factory.mktemp("graphs")
    export_onnx(deploy(make_network(), "fp32"), CONTRACT, directory / ONNX)
    quantiser = Quantiser(directory / ONNX, make_reference().calibration.numpy())
    for form in FORMS:
        quantiser.write(form, directory / f"{form}.onnx")
    return directory


def weights_of(model: onnx.ModelProto) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return integers, scales and zero points of each quantised weight, by its name."""
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return {
        node.input[0].removesuffix("_quantized"): (
            tensors[node.input[0]],
            tensors[node.input[1]],
            tensors[node.input[2]],
        )
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0].endswith(".weight_quantized")
    }


@pytest.mark.parametrize("form", FORMS)
def test_every_layer_multiplies_in_int8_and_only_infers(graphs: Path, form: Form) -> None:
    require_inference_only(graphs / f"{form}.onnx")
    operators = inspect(graphs / f"{form}.onnx").operators
    assert operators["Conv"] == {"int8": 15}
    assert operators["Gemm"] == {"int8": 3}
    assert operators["ReduceL2"] == {"float32": 1}
    assert inspect(graphs / f"{form}.onnx").macs == inspect(graphs / ONNX).macs


@pytest.mark.parametrize(("form", "largest"), [("cpu", 64), ("tensorrt", 127)])
def test_weights_are_those_of_the_network_rounded_per_output_channel(graphs: Path, form: Form, largest: int) -> None:
    original = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(graphs / ONNX).graph.initializer}
    quantised = weights_of(onnx.load(graphs / f"{form}.onnx"))
    assert len(quantised) == 18
    for name, (integers, scales, zeros) in quantised.items():
        assert integers.dtype == np.int8
        assert scales.shape == (len(integers),)
        assert not zeros.any()
        # 7 bits for CPUs: two products of 8 bits overflow the 16 in which x86 without VNNI adds them.
        assert np.abs(integers.astype(int)).max() <= largest
        steps = scales.reshape(-1, *[1] * (integers.ndim - 1))
        assert (np.abs(integers * steps - original[name]) <= steps * 0.501).all()


def test_two_products_of_the_cpu_form_fit_into_16_bits(graphs: Path) -> None:
    for integers, _, _ in weights_of(onnx.load(graphs / "cpu.onnx")).values():
        assert 2 * 255 * np.abs(integers.astype(int)).max() <= 2**15


def test_the_form_for_tensorrt_is_symmetric_with_biases_in_float(graphs: Path) -> None:
    model = onnx.load(graphs / "tensorrt.onnx")
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    pairs = [node for node in model.graph.node if node.op_type in {"QuantizeLinear", "DequantizeLinear"}]
    assert pairs
    for node in pairs:
        assert tensors[node.input[2]].dtype == np.int8
        assert not tensors[node.input[2]].any()
    assert not any(tensor.data_type == TensorProto.INT32 for tensor in model.graph.initializer)


def test_the_form_for_cpus_is_run_in_integers(graphs: Path, tmp_path: Path) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(graphs / "cpu.onnx", options, providers=["CPUExecutionProvider"])
    operators = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert operators.count("QLinearConv") == 15
    assert operators.count("QGemm") == 3
    assert not {"Conv", "FusedConv", "Gemm", "FusedGemm"} & set(operators)


@pytest.mark.usefixtures("graphs_are_remembered")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["fixed", "per-image"])
def test_other_frames_get_nearly_the_same_answers(
    tmp_path: Path, form: Form, kind: Literal["fixed", "per-image"]
) -> None:
    network = make_network(kind)
    contract = make_contract(network)
    export_onnx(deploy(network, "fp32"), contract, tmp_path / ONNX)
    quantiser = Quantiser(tmp_path / ONNX, make_reference().calibration.numpy())
    quantiser.write(form, tmp_path / "int8.onnx")
    frames = make_frames(40, seed=7).numpy()
    expected = OnnxRuntimeBackend(tmp_path / ONNX, contract, "cpu").infer(frames)
    tolerance = TOLERANCES["int8"]
    for received in (
        simulate(tmp_path / "int8.onnx")(frames),
        OnnxRuntimeBackend(tmp_path / "int8.onnx", contract, "cpu").infer(frames),
    ):
        differences = measure(expected, received, tie=tolerance.tie)
        assert differences.agrees.mean() >= tolerance.top1
        assert differences.probability.max() < tolerance.probability_difference
        assert 0 < differences.embedding.max() < tolerance.embedding_distance


def test_the_same_weights_give_the_same_bytes(graphs: Path, tmp_path: Path) -> None:
    export_onnx(deploy(make_network(), "fp32"), CONTRACT, tmp_path / ONNX)
    assert (tmp_path / ONNX).read_bytes() == (graphs / ONNX).read_bytes()


@pytest.mark.parametrize("form", FORMS)
def test_the_same_graph_and_frames_give_the_same_bytes(graphs: Path, tmp_path: Path, form: Form) -> None:
    Quantiser(graphs / ONNX, make_reference().calibration.numpy()).write(form, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == (graphs / f"{form}.onnx").read_bytes()


@pytest.mark.parametrize("form", FORMS)
def test_layers_that_are_kept_are_in_float(graphs: Path, tmp_path: Path, form: Form) -> None:
    quantiser = Quantiser(graphs / ONNX, make_reference().calibration.numpy())
    assert [layer.name for layer in quantiser.layers][:2] == ["body.0.0", "body.0.1.conv1"]
    quantiser.write(form, tmp_path / "kept.onnx", keep=["body.0.0", "hidden.3"])
    operators = inspect(tmp_path / "kept.onnx").operators
    assert operators["Conv"] == {"float32": 1, "int8": 14}
    assert operators["Gemm"] == {"float32": 1, "int8": 2}
    with pytest.raises(ExportError, match=r"expected layers among body\.0\.0, .* received body; correct --keep"):
        quantiser.write(form, tmp_path / "other.onnx", keep=["body"])


def test_nothing_is_left_beside_the_graph_and_nothing_is_printed(
    graphs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ONNX).write_bytes((graphs / ONNX).read_bytes())
    Quantiser(tmp_path / ONNX, make_reference().calibration.numpy()).write("cpu", tmp_path / "int8.onnx")
    assert {path.name for path in tmp_path.iterdir()} == {ONNX, "int8.onnx"}
    assert capfd.readouterr() == ("", "")
