"""OpenVINO: any x86-64 or Arm CPU, and Intel's GPUs and NPUs."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import numpy as np
import openvino
from openvino import Type, properties
from openvino.properties import hint

from ..bundle.contract import METADATA_KEY
from ..cores import available_cores, bound_cores
from ..errors import BackendError, MetfaError
from .guard import interruptible
from .onnx_model import MAX_CONCURRENCY, REMEDY, MemoryNeeds, checked, require_contract, require_interface

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from numpy.typing import NDArray

    from ..bundle.contract import ModelContract
    from . import Inference

_VERSION = openvino.__version__.partition("-")[0]
_PRODUCTS = {"Convolution", "FullyConnected", "MatMul", "Gemm"}
"""Layers whose type says what a model computes in, as the CPU and the GPU call them."""


def available_devices() -> list[str]:
    """Return what OpenVINO finds here, such as ``CPU`` and ``GPU``; of several GPUs, ``GPU.0`` and ``GPU.1``."""
    return list(openvino.Core().available_devices)


def require_device(device: str) -> None:
    """Make sure that a device is here; ``GPU`` is the first of several.

    Raises:
        BackendError: it is not.
    """
    devices = available_devices()
    if device not in devices and f"{device}.0" not in devices:
        raise BackendError(
            expected=f"a device that OpenVINO finds here: {', '.join(devices) or 'there is none'}",
            received=repr(device),
            remedy="name one of these with --backend openvino:DEVICE, or install the driver of the other",
        )


class OpenVinoBackend:
    """An ONNX model, compiled for one frame at a time: a batch is one after another.

    So every device takes it (an NPU knows no other shapes), and every batch is computed right: in 2024.6 to 2026.4 the
    CPU adds a bias wrongly to sums over the last axis where there are several frames, and GPUs fail likewise where the
    number of frames is open.

    Args:
        path: the ONNX file.
        contract: what it must compute; the file carries the same contract.
        device: where to run it, as OpenVINO calls it.
        half: whether floats are computed in 16 bits, else in 32. A CPU that has bfloat16 would take that if not told.
        content: the file's bytes, where they were read and checked before.

    Raises:
        BackendError: the file is no ONNX model that this OpenVINO can run, or not on this device.
        ContractError: the contract in the file cannot be read.
    """

    def __init__(
        self,
        path: Path,
        contract: ModelContract,
        device: str = "CPU",
        *,
        half: bool = False,
        content: bytes | None = None,
    ) -> None:
        graph = path.read_bytes() if content is None else content
        cores = available_cores()
        settings: dict[Any, Any] = {hint.inference_precision: Type.f16 if half else Type.f32}
        if device == "CPU":
            settings[properties.num_streams] = 1  # with all cores, as a live frame is wanted soon
            settings[hint.enable_cpu_pinning] = False  # two processes would pin their threads to the same cores
            if cores < bound_cores():  # a quota, which OpenVINO does not ask for
                settings[properties.inference_num_threads] = cores
        # Drivers of other devices map far more memory than they take, so the limit would say nothing there.
        self._needs = MemoryNeeds(len(graph), contract) if device == "CPU" else None
        try:
            with self._limit(frames=0):
                compiled = interruptible(lambda: _compile(graph, path, contract, device, settings))
        except MetfaError:
            raise
        except Exception as cause:
            raise BackendError(
                expected=f"an ONNX model in {path} that OpenVINO {_VERSION} can run on the {device}",
                received=_reason(cause),
                remedy=REMEDY,
            ) from None
        self._path, self._contract, self._proven = path, contract, False
        self.concurrency = min(cores, MAX_CONCURRENCY) if device == "CPU" else 1
        # A request computes one frame at a time. Threads that find none wait.
        self._requests: SimpleQueue[openvino.InferRequest] = SimpleQueue()
        for _ in range(self.concurrency):
            self._requests.put(compiled.create_infer_request())
        self.artefact = path.name
        self.description = f"OpenVINO {_VERSION} on the {device} in {_computed_in(compiled)}, {path.name}"

    def infer(self, frames: NDArray[np.uint8]) -> Inference:
        """Run the model on ``frames``, uint8 [N, 1, H, W] of the contract's size.

        Raises:
            BackendError: it fails, or returns something else than its contract says.
        """
        try:
            with nullcontext() if self._proven else self._limit(frames=1):
                logits, embedding = interruptible(lambda: self._run(frames))
        except Exception as cause:
            raise BackendError(
                expected=f"{self._path} to run on {len(frames)} frames", received=_reason(cause), remedy=REMEDY
            ) from None
        self._proven = True
        return checked(logits, embedding, len(frames), self._path, self._contract)

    def _run(self, frames: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        request = self._requests.get()
        try:
            results = [request.infer({"frame": frame[np.newaxis]}) for frame in frames]
        finally:
            self._requests.put(request)
        return (
            np.concatenate([result["logits"] for result in results]),
            np.concatenate([result["embedding"] for result in results]),
        )

    def _limit(self, frames: int) -> AbstractContextManager[None]:
        return nullcontext() if self._needs is None else self._needs.limit(frames)


def _compile(
    graph: bytes, path: Path, contract: ModelContract, device: str, settings: dict[Any, Any]
) -> openvino.CompiledModel:
    core = openvino.Core()
    model = core.read_model(graph)
    require_contract(_metadata(model), path, contract)
    require_interface(_interface(model), path, contract)
    model.reshape({"frame": [1, 1, contract.input.height, contract.input.width]})
    return core.compile_model(model, device, settings)


def _metadata(model: openvino.Model) -> dict[str, str]:
    key = ["framework", METADATA_KEY]
    return {METADATA_KEY: model.get_rt_info(key).value} if model.has_rt_info(key) else {}


def _interface(model: openvino.Model) -> dict[str, tuple[str, list[int]]]:
    tensors = (*model.inputs, *model.outputs)
    return {
        tensor.any_name: (
            np.dtype(tensor.element_type.to_dtype()).name,
            [size.get_length() if size.is_static else -1 for size in tensor.partial_shape][1:],
        )
        for tensor in tensors
    }


def _computed_in(compiled: openvino.CompiledModel) -> str:
    """Return what a model tells of itself: the type of floats that it was compiled for, and those of its products."""
    types = {compiled.get_property(hint.inference_precision).get_type_name()}
    with suppress(RuntimeError):  # an NPU does not tell its layers
        layers = [layer.get_rt_info() for layer in compiled.get_runtime_model().get_ops()]
        types |= {layer["runtimePrecision"].value for layer in layers if layer["layerType"].value in _PRODUCTS}
    return " and ".join(sorted(types))


def _reason(cause: Exception) -> str:
    """Return what OpenVINO says, without where in its own source it was."""
    lines = [line.strip() for line in str(cause).splitlines()]
    return next((line for line in lines if line and not line.startswith("Exception from")), type(cause).__name__)
