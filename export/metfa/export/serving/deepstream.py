"""A bundle for NVIDIA DeepStream: an ONNX as its element ``nvinfer`` feeds it, and the element's configuration.

::

    DIR/model.onnx      float32 [N, 1, H, W] of grey levels 0–255 → probabilities [N, M]
    DIR/labels.txt      the class names, in one line
    DIR/nvinfer.txt     nvinfer config-file-path=DIR/nvinfer.txt

``nvinfer`` takes float input only, and reads each output of a classifier as probabilities of an attribute of its own:
hence neither the bundle's uint8 input nor its embedding. It scales frames with filters of its own, so that its numbers
are close to those of ``metfa-stream``, and not the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from metfa.runtime.bundle.contract import Region
from metfa.runtime.bundle.directory import ONNX, ONNX_FP16

from .directory import new_directory
from .labels import join_labels

if TYPE_CHECKING:
    from pathlib import Path

    from metfa.runtime.bundle.directory import Bundle

_MIN_PROBABILITY = 0.5  # of a class that nvinfer attaches to the frame


def write_deepstream(bundle: Bundle, directory: Path) -> Path:
    """Write ``directory`` for ``nvinfer``, from the bundle's FP16 ONNX where it has one, otherwise the FP32 one.

    Returns:
        The configuration's path.

    Raises:
        BundleError: the artefact is missing or damaged.
        ExportError: a label cannot be written into a file of labels.
        OutputError: the directory exists or cannot be written.
    """
    artefact = ONNX_FP16 if ONNX_FP16 in bundle.files else ONNX
    labels = join_labels(bundle.contract.labels, ";")
    graph = with_float_input(onnx.load_model_from_string(bundle.read(artefact)), bundle.contract.decision.temperature)
    with new_directory(directory) as stage:
        onnx.save(graph, stage / "model.onnx")
        (stage / "labels.txt").write_text(labels, encoding="utf-8", newline="\n")
        (stage / "nvinfer.txt").write_text(_config(bundle, artefact), encoding="utf-8", newline="\n")
    return directory / "nvinfer.txt"


def with_float_input(model: onnx.ModelProto, temperature: float) -> onnx.ModelProto:
    """Return ``frame`` uint8 → ``logits``, ``embedding`` as ``frame`` float32, 0–255 → calibrated ``probabilities``."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    (frame,) = graph.input
    frame.type.tensor_type.elem_type = TensorProto.FLOAT  # the Cast that follows takes any type
    (logits,) = (output for output in graph.output if output.name == "logits")
    probabilities = onnx.ValueInfoProto()
    probabilities.CopyFrom(logits)
    probabilities.name = "probabilities"
    graph.initializer.append(numpy_helper.from_array(np.array(temperature, np.float32), "temperature"))
    graph.node.append(helper.make_node("Div", ["logits", "temperature"], ["calibrated_logits"]))
    graph.node.append(helper.make_node("Softmax", ["calibrated_logits"], ["probabilities"], axis=1))
    del graph.output[:]
    graph.output.append(probabilities)
    _remove_unused(graph)
    onnx.checker.check_model(result, full_check=True)
    return result


def _remove_unused(graph: onnx.GraphProto) -> None:
    """Remove the nodes and weights that no output depends on."""
    needed = {output.name for output in graph.output}
    used = []
    for node in reversed(graph.node):  # in topological order, so that users come after what they use
        if needed.intersection(node.output):
            needed.update(node.input)
            used.append(node)
    del graph.node[:]
    graph.node.extend(reversed(used))
    for field in (graph.initializer, graph.value_info):
        for index in reversed(range(len(field))):
            if field[index].name not in needed:
                del field[index]


def _config(bundle: Bundle, artefact: str) -> str:
    size = bundle.contract.input
    shapes = {name: f"frame:{frames}x1x{size.height}x{size.width}" for name, frames in (("min", 1), ("max", 8))}
    crop = ""
    if isinstance(size.region, Region):
        region = size.region
        crop = f"""\
# The model was made for a part of the screen; crop to it before nvinfer:
#   nvvideoconvert src-crop={region.x}:{region.y}:{region.width}:{region.height}
"""
    return f"""\
# {bundle.contract.provenance.method}, made for {bundle.contract.provenance.target or bundle.contract.provenance.source}
#
# nvinfer would build the engine with types of its own choice. Build it with those of the graph, on this device:
#   trtexec --onnx=model.onnx --stronglyTyped --saveEngine=model.engine \\
#     --minShapes={shapes["min"]} --optShapes={shapes["min"]} --maxShapes={shapes["max"]}
{crop}[property]
gpu-id=0
gie-unique-id=1
onnx-file=model.onnx
model-engine-file=model.engine
labelfile-path=labels.txt
batch-size=1
# 0 = FP32, 2 = FP16
network-mode={2 if artefact == ONNX_FP16 else 0}
# 1 = the whole frame
process-mode=1
# 1 = classifier
network-type=1
classifier-threshold={_MIN_PROBABILITY}
output-blob-names=probabilities
infer-dims=1;{size.height};{size.width}
# 2 = grey
model-color-format=2
# Grey levels as they are: normalisation is in the graph.
net-scale-factor=1
maintain-aspect-ratio=0
"""
