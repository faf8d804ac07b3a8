from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
import torch

from metfa.export.graph import deploy
from metfa.runtime.backends.onnxruntime import OnnxRuntimeBackend
from metfa.runtime.bundle.contract import METADATA_KEY, ModelContract
from metfa.runtime.bundle.directory import ONNX, ONNX_FP16
from metfa.training.names import ENCODER_NAMES, EncoderName

from .networks import EMBEDDING, HEIGHT, LABELS, WIDTH, make_contract, make_frames, make_network

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Literal

DYNAMIC = "N"


def interface(values: object) -> dict[str, tuple[int, list[str | int]]]:
    return {
        value.name: (
            value.type.tensor_type.elem_type,
            [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim],
        )
        for value in values  # type: ignore[attr-defined]
    }


@pytest.mark.parametrize("encoder", ENCODER_NAMES)
@pytest.mark.parametrize("kind", ["fixed", "per-image"])
@torch.inference_mode()
def test_deployed_model_computes_what_the_network_computes(
    kind: Literal["fixed", "per-image"], encoder: EncoderName
) -> None:
    network, frames = make_network(kind, encoder=encoder), make_frames(8)
    for expected, received in zip(network(frames), deploy(network, "fp32")(frames), strict=True):
        torch.testing.assert_close(received, expected, rtol=1e-5, atol=1e-5)


def test_deploying_leaves_the_network_as_it_was() -> None:
    network = make_network()
    before = copy.deepcopy(network.state_dict())
    deploy(network, "fp16")
    torch.testing.assert_close(network.state_dict(), before, rtol=0, atol=0)
    assert all(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize("name", [ONNX, ONNX_FP16])
def test_both_graphs_have_the_interface_of_the_contract(exported: Path, name: str) -> None:
    model = onnx.load(exported / name)
    floating, byte = onnx.TensorProto.FLOAT, onnx.TensorProto.UINT8
    assert interface(model.graph.input) == {"frame": (byte, [DYNAMIC, 1, HEIGHT, WIDTH])}
    assert interface(model.graph.output) == {
        "logits": (floating, [DYNAMIC, len(LABELS)]),
        "embedding": (floating, [DYNAMIC, EMBEDDING]),
    }
    (entry,) = model.metadata_props
    assert entry.key == METADATA_KEY
    assert ModelContract.from_json(entry.value, origin=name) == make_contract(make_network())
    assert {opset.domain: opset.version for opset in model.opset_import} == {"": 18}
    assert not any("Random" in node.op_type or node.op_type == "Dropout" for node in model.graph.node)
    onnx.checker.check_model(model, full_check=True)


def test_the_fp16_graph_is_typed_half_where_the_work_is_and_float_at_both_ends(exported: Path) -> None:
    model = onnx.shape_inference.infer_shapes(onnx.load(exported / ONNX_FP16), strict_mode=True)
    types = {value.name: value.type.tensor_type.elem_type for value in (*model.graph.value_info, *model.graph.output)}
    half = [types[node.output[0]] == onnx.TensorProto.FLOAT16 for node in model.graph.node]
    operators = [node.op_type for node in model.graph.node]
    begin, end = half.index(True), len(half) - half[::-1].index(True)
    assert operators[begin] == "Cast"
    assert "ReduceMean" in operators[:begin]
    assert "ReduceL2" in operators[end:]
    assert all(half[index] for index, operator in enumerate(operators) if operator in {"Conv", "Gemm", "MatMul"})


@pytest.mark.parametrize("name", [ONNX, ONNX_FP16])
def test_there_is_no_trace_of_the_source_or_the_machine(exported: Path, name: str) -> None:
    data = (exported / name).read_bytes()
    assert b".py" not in data
    assert b"metfa.export.graph" not in data


@pytest.mark.parametrize("name", [ONNX, ONNX_FP16])
def test_a_batch_of_any_size_gives_what_single_frames_give(exported: Path, name: str) -> None:
    backend = OnnxRuntimeBackend(exported / name, make_contract(make_network()), "cpu")
    frames = make_frames(5).numpy()
    batch = backend.infer(frames)
    singles = [backend.infer(frames[index : index + 1]) for index in range(5)]
    tolerance = 1e-4 if name == ONNX else 2e-2
    np.testing.assert_allclose(batch.logits, np.concatenate([single.logits for single in singles]), atol=tolerance)
    assert batch.embedding.dtype == batch.logits.dtype == np.float32
