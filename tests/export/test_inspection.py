from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from metfa.export.graph import deploy
from metfa.export.inspection import inspect, require_inference_only
from metfa.runtime.bundle.directory import ONNX, ONNX_FP16
from metfa.runtime.errors import ExportError

from .networks import make_frames, make_network

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def count_by_hand(module: nn.Module, frames: torch.Tensor) -> int:
    """Count multiplications by looking at every layer that runs."""
    total = 0

    def add(layer: nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.Conv2d):
            kernel = layer.kernel_size[0] * layer.kernel_size[1]
            total += output[0].numel() * layer.in_channels // layer.groups * kernel
        elif isinstance(layer, nn.Linear):
            total += layer.in_features * layer.out_features

    for layer in module.modules():
        layer.register_forward_hook(add)
    module(frames)
    return total


@torch.inference_mode()
def test_macs_are_those_of_the_layers_that_run(exported: Path) -> None:
    expected = count_by_hand(deploy(make_network(), "fp32"), make_frames(1))
    assert inspect(exported / ONNX).macs == inspect(exported / ONNX_FP16).macs == expected > 1e6


def test_parameters_are_the_numbers_of_the_deployed_module(exported: Path) -> None:
    deployed = deploy(make_network(), "fp32")
    tensors = deployed.state_dict().items()
    held = sum(tensor.numel() for name, tensor in tensors if not name.endswith("num_batches_tracked"))
    # Beside them are a few constants; batch norms that are scale and shift share their zeros and ones.
    assert 0.98 * held < inspect(exported / ONNX).parameters <= held + 16


def test_operators_are_counted_in_the_type_that_they_compute_in(exported: Path) -> None:
    single, half = inspect(exported / ONNX).operators, inspect(exported / ONNX_FP16).operators
    assert single["Conv"] == {"float32": 15}
    assert half["Conv"] == {"float16": 15}
    assert half["Gemm"] == {"float16": 3}
    assert half["ReduceL2"] == {"float32": 1}
    assert set(half["Cast"]) == {"float16", "float32"}


@pytest.mark.parametrize("name", [ONNX, ONNX_FP16])
def test_what_is_exported_only_infers(exported: Path, name: str) -> None:
    require_inference_only(exported / name)


def _append(op_type: str) -> Callable[[onnx.GraphProto], None]:
    def change(graph: onnx.GraphProto) -> None:
        """Let an output pass through another node."""
        (node,) = (node for node in graph.node if "embedding" in node.output)
        node.output[0] = "before"
        graph.node.append(helper.make_node(op_type, ["before"], ["embedding"]))

    return change


def _add_dead_node(graph: onnx.GraphProto) -> None:
    graph.node.append(helper.make_node("Relu", ["embedding"], ["nothing"]))


def _add_dead_weights(graph: onnx.GraphProto) -> None:
    graph.initializer.append(numpy_helper.from_array(np.zeros(3, np.float32), "unused"))


def _divide_in_half(graph: onnx.GraphProto) -> None:
    (node,) = (node for node in graph.node if node.op_type == "Div")
    halves = [f"{name}_half" for name in node.input]
    casts = [
        helper.make_node("Cast", [name], [half], to=TensorProto.FLOAT16)
        for name, half in zip(node.input, halves, strict=True)
    ]
    (result,) = node.output
    index = list(graph.node).index(node)
    divided = helper.make_node("Div", halves, ["divided"])
    back = helper.make_node("Cast", ["divided"], [result], to=TensorProto.FLOAT)
    graph.node.remove(node)
    for offset, new in enumerate([*casts, divided, back]):
        graph.node.insert(index + offset, new)


def _train_a_batch_norm(graph: onnx.GraphProto) -> None:
    node = next(node for node in graph.node if node.op_type == "BatchNormalization")
    node.attribute.append(helper.make_attribute("training_mode", 1))
    node.output.extend(["running_mean", "running_var"])


@pytest.mark.parametrize(
    ("change", "received"),
    [
        (_append("Dropout"), "Dropout, which samples or trains"),
        (_append("RandomNormalLike"), "RandomNormalLike, which samples or trains"),
        (_append("Bernoulli"), "Bernoulli, which samples or trains"),
        (_train_a_batch_norm, "BatchNormalization, which samples or trains"),
        (_add_dead_node, "Relu, whose output nothing reads"),
        (_add_dead_weights, "weights unused, which nothing reads"),
        (_divide_in_half, "Div in float16, which must be in float32"),
    ],
)
def test_what_does_more_than_infer_is_refused(
    exported: Path, tmp_path: Path, change: Callable[[onnx.GraphProto], None], received: str
) -> None:
    model = onnx.load(exported / ONNX)
    change(model.graph)
    onnx.save(model, tmp_path / "changed.onnx")
    with pytest.raises(ExportError, match=received):
        require_inference_only(tmp_path / "changed.onnx")
