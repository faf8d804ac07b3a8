"""What an ONNX file holds, counted by operator and by the type that it computes in, and what must not be in it."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import onnx
from onnx import TensorProto

from metfa.runtime.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from metfa.runtime.bundle.engine_record import OperationCounts

_PRODUCTS = {"Conv": "convolutions", "Gemm": "matrix products", "MatMul": "matrix products"}

_SAMPLING = {"Bernoulli", "Dropout", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform"}
_SAMPLING |= {"RandomUniformLike"}

_FLOAT32 = {"Div", "Pow", "Reciprocal", "ReduceL2", "ReduceMean", "ReduceSum", "Softmax", "Sqrt"}
"""Stay in float32 whatever the precision. Means, norms and logits are sums over many numbers, squared for some of
them: beyond 65,504, or below the 11 bits of half precision. They divide, so that an error in them is one of all
that follows; the logits are then multiplied by 1 / τ₀ = 20. They are a few thousandths of the work."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What an ONNX file holds.

    Attributes:
        bytes: its size.
        parameters: numbers in its weights.
        macs: multiplications and additions of convolutions and matrix products for one frame, counted in pairs.
        operators: how many there are, by operator and by the type that they compute in; ``int8`` is what multiplies
            numbers that were dequantised from INT8.
    """

    bytes: int
    parameters: int
    macs: int
    operators: dict[str, dict[str, int]]


def inspect(path: Path) -> Inspection:
    """Count what the ONNX file ``path`` holds."""
    model = onnx.load(path)
    types, shapes = _infer(model)
    operators: dict[str, Counter[str]] = defaultdict(Counter)
    dequantised = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    for node in model.graph.node:
        quantised = node.op_type in _PRODUCTS and dequantised.issuperset(node.input[:2])
        operators[node.op_type]["int8" if quantised else types[node.output[0]]] += 1
    return Inspection(
        bytes=path.stat().st_size,
        parameters=sum(
            prod(tensor.dims) for tensor in model.graph.initializer if tensor.data_type != TensorProto.INT64
        ),
        macs=sum(_multiplications(node, shapes) for node in model.graph.node),
        operators={name: dict(sorted(counts.items())) for name, counts in sorted(operators.items())},
    )


def count_operations(inspection: Inspection) -> OperationCounts:
    """Return what the heavy operations of a graph compute in."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for operator, kind in _PRODUCTS.items():
        counts[kind].update(inspection.operators.get(operator, {}))
    return {kind: dict(types) for kind, types in counts.items() if types}


def require_inference_only(path: Path) -> None:
    """Make sure that the ONNX file ``path`` does nothing but infer, with the standard's operators, all of them needed.

    Raises:
        ExportError: something in it samples, trains, computes for nothing, or leaves float32 where it must not.
    """
    model = onnx.load(path)
    types, _ = _infer(model)
    faults = [*_faults(model.graph, types)]
    if faults:
        raise ExportError(
            expected=f"a graph in {path.name} that only infers", received="; ".join(faults), remedy="report this"
        )


def _faults(graph: onnx.GraphProto, types: Mapping[str, str]) -> Iterator[str]:
    read = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
    for node in graph.node:
        training = any(attribute.name == "training_mode" and attribute.i for attribute in node.attribute)
        if node.op_type in _SAMPLING or training:
            yield f"{node.op_type}, which samples or trains"
        if node.domain not in {"", "ai.onnx"}:
            yield f"{node.domain}.{node.op_type}, which is not of the standard"
        if not read.intersection(node.output):
            yield f"{node.op_type}, whose output nothing reads"
        if node.op_type in _FLOAT32 and types[node.output[0]] != "float32":
            yield f"{node.op_type} in {types[node.output[0]]}, which must be in float32"
    for tensor in graph.initializer:
        if tensor.name not in read:
            yield f"weights {tensor.name}, which nothing reads"
    for output in graph.output:
        if types[output.name] != "float32":
            yield f"the output {output.name} in {types[output.name]}, which must be in float32"


def _infer(model: onnx.ModelProto) -> tuple[dict[str, str], dict[str, list[int]]]:
    """Return the type and the shape of every tensor of ``model``, for one frame."""
    single = onnx.ModelProto()
    single.CopyFrom(model)
    for frame in single.graph.input:
        frame.type.tensor_type.shape.dim[0].dim_value = 1
    for output in single.graph.output:
        output.type.tensor_type.shape.dim[0].dim_value = 1
    del single.graph.value_info[:]
    graph = onnx.shape_inference.infer_shapes(single, strict_mode=True, data_prop=True).graph
    types: dict[str, str] = {}
    shapes: dict[str, list[int]] = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        types[value.name] = _type_name(value.type.tensor_type.elem_type)
        shapes[value.name] = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    for tensor in graph.initializer:
        types[tensor.name] = _type_name(tensor.data_type)
        shapes[tensor.name] = list(tensor.dims)
    return types, shapes


def _type_name(number: int) -> str:
    name: str = TensorProto.DataType.Name(number).lower()
    return {"float": "float32"}.get(name, name)


def _multiplications(node: onnx.NodeProto, shapes: Mapping[str, list[int]]) -> int:
    outputs = prod(shapes[node.output[0]])
    if node.op_type == "Conv":  # each output is a sum over the inputs of a group and the kernel
        return outputs * prod(shapes[node.input[1]][1:])
    if node.op_type == "Gemm":
        transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
        return outputs * shapes[node.input[1]][1 if transposed else 0]
    if node.op_type == "MatMul":
        return outputs * shapes[node.input[0]][-1]
    return 0
