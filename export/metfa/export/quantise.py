"""INT8 forms of an FP32 ONNX: explicit Q/DQ with the ranges of unlabelled frames, one for CPUs and one for TensorRT."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import tempfile
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import onnx
import onnxruntime
from google.protobuf.message import DecodeError
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QDQQuantizer,
    QuantType,
    create_calibrator,
)

from metfa.runtime.backends import Inference
from metfa.runtime.errors import ExportError
from metfa.runtime.files import replacing, writing_to

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from numpy.typing import NDArray
    from onnxruntime.quantization.calibrate import TensorsData

Form = Literal["cpu", "tensorrt"]

PERCENTILE = 99.99
"""Of an activation's values in the calibration frames that its range holds; the rest saturates. The largest value alone
would give the range to a few outliers, and few of the 256 steps to the others."""

_QUANTISED = ("Conv", "Gemm")  # nearly all of the work; they are what :func:`layers` lists
_CHUNK = 4  # frames whose activations are in memory at once

_OPTIONS: dict[Form, dict[str, Any]] = {
    # ReLU and pooling between two of them are in INT8, too, so that ONNX Runtime need not go to float32 and back. The
    # weights have 7 bits: without VNNI, x86 adds two products in 16 bits, which two of 8 bits overflow silently.
    "cpu": {
        "activation_qType": QuantType.QUInt8,
        "reduce_range": True,
        "op_types_to_quantize": [*_QUANTISED, "MaxPool", "Relu"],
        "extra_options": {"OpTypesToExcludeOutputQuantization": ["Gemm"]},
    },
    # TensorRT takes symmetric ranges only, biases in float, and fuses what follows an operation that has INT8 inputs.
    "tensorrt": {
        "activation_qType": QuantType.QInt8,
        "reduce_range": False,
        "op_types_to_quantize": [*_QUANTISED],
        "extra_options": {
            "ActivationSymmetric": True,
            "QuantizeBias": False,
            "OpTypesToExcludeOutputQuantization": [*_QUANTISED],
        },
    },
}


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution or matrix product with weights.

    Attributes:
        name: of its weights in the network, such as ``body.0.3.conv1``.
        node: name of its node in the graph.
    """

    name: str
    node: str


def find_layers(model: onnx.ModelProto) -> list[Layer]:
    """Return what can be quantised, in the order in which it runs."""
    return [
        Layer(node.input[1].removesuffix(".weight"), node.name)
        for node in model.graph.node
        if node.op_type in _QUANTISED
    ]


class Quantiser:
    """Quantises one FP32 ONNX, with ranges that are measured once.

    Args:
        path: the ONNX file.
        frames: to calibrate on, uint8 [N, 1, H, W]; their labels are neither known nor needed.
    """

    def __init__(self, path: Path, frames: NDArray[np.uint8]) -> None:
        self._model = onnx.shape_inference.infer_shapes(onnx.load(path), strict_mode=True)
        self._ranges = _calibrate(path, frames)
        self.layers = find_layers(self._model)

    def write(self, form: Form, path: Path, *, keep: Iterable[str] = ()) -> None:
        """Write the INT8 form of the graph. The same weights and frames give the same bytes.

        Args:
            form: for which engine.
            path: where.
            keep: names of layers that stay in float32.

        Raises:
            ExportError: there is no layer of such a name.
            OutputError: the file cannot be written.
        """
        kept = set(keep)
        if unknown := sorted(kept - {layer.name for layer in self.layers}):
            raise ExportError(
                expected=f"layers among {', '.join(layer.name for layer in self.layers)}",
                received=", ".join(unknown),
                remedy="correct --keep",
            )
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        options = _OPTIONS[form]
        quantiser = QDQQuantizer(
            model,
            per_channel=True,
            weight_qType=QuantType.QInt8,
            tensors_range=self._ranges,
            nodes_to_quantize=[],
            nodes_to_exclude=[layer.node for layer in self.layers if layer.name in kept],
            **options,
        )
        with _quiet():
            quantiser.quantize_model()
        quantiser.model.topological_sort()
        quantised = quantiser.model.model
        del quantised.graph.value_info[:]
        quantised.producer_name, quantised.producer_version = model.producer_name, model.producer_version
        onnx.checker.check_model(quantised, full_check=True)
        with replacing(path) as temporary:
            onnx.save(quantised, temporary)


def simulate(path: Path) -> Callable[[NDArray[np.uint8]], Inference]:
    """Return what runs a Q/DQ graph as it is written: rounded to INT8 where it says so, multiplied in float32.

    An engine that multiplies in INT8 gets the same up to the order of sums, unless it saturates.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def infer(frames: NDArray[np.uint8]) -> Inference:
        logits, embedding = session.run(["logits", "embedding"], {"frame": frames})
        return Inference(logits, embedding)

    return infer


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # without types
    def __init__(self, frames: NDArray[np.uint8]) -> None:
        self._frames = iter(frames)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """Return the next frame as a batch of one."""
        frame = next(self._frames, None)
        return None if frame is None else {"frame": frame[np.newaxis]}


def _calibrate(path: Path, frames: NDArray[np.uint8]) -> TensorsData:
    """Return the range of every activation.

    Raises:
        OutputError: there is no room for what the library writes.
    """
    with _quiet(), tempfile.TemporaryDirectory() as temporary, writing_to(Path(temporary)):
        # The library writes beside the graph, too.
        graph = Path(temporary, path.name)
        shutil.copyfile(path, graph)
        try:
            calibrator = create_calibrator(
                graph,
                [*_QUANTISED, "MaxPool", "Relu"],
                augmented_model_path=str(Path(temporary, "augmented.onnx")),
                calibrate_method=CalibrationMethod.Percentile,
                extra_options={"percentile": PERCENTILE},
            )
        except DecodeError:  # a full disk cut off what ONNX wrote, which does not say so
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from None
        for start in range(0, len(frames), _CHUNK):
            calibrator.collect_data(_Reader(frames[start : start + _CHUNK]))
        return calibrator.compute_data()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep to itself what the library prints of its progress."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with redirect_stdout(StringIO()):
            yield
    finally:
        logger.setLevel(level)
