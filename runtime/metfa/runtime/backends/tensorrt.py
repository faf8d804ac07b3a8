"""TensorRT and TensorRT for RTX: an engine of the bundle, on the GPU that it was built for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..bundle import ONNX_FP16
from ..engine import EngineRecord, import_flavour, installed_flavours, quiet_logger, record_name
from ..errors import BackendError
from . import Inference
from .gpu import Buffer, Stream, current_device

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from ..bundle import Bundle
    from ..contract import ModelContract

_REMEDY = "build the engine on this device with metfa-export --fp16"


def load_engine(bundle: Bundle, engines: list[str]) -> TensorRtBackend:
    """Load the first of the bundle's ``engines``, one or more file names, that suits this host.

    Raises:
        BackendError: none does; the message gives the reason of each.
        BundleError: an engine or its record is missing, damaged or edited.
    """
    refusals: list[BackendError] = []
    for name in engines:
        record = EngineRecord.read(bundle.path(record_name(name)))
        try:
            if (record.plan_sha256, record.onnx_sha256) != (bundle.files[name], bundle.files.get(ONNX_FP16)):
                raise BackendError(
                    expected=f"the record of {name}, built from the bundle's {ONNX_FP16}",
                    received="a record of other files",
                    remedy=_REMEDY,
                )
            return TensorRtBackend(bundle.path(name), record, bundle.contract)
        except BackendError as refusal:
            refusals.append(refusal)
    if len(refusals) == 1:
        raise refusals[0]
    raise BackendError(
        expected=f"an engine in {bundle.directory} for this host",
        received="; ".join(refusal.received for refusal in refusals),
        remedy=_REMEDY,
    )


def check_record(record: EngineRecord, path: Path, contract: ModelContract) -> None:
    """Refuse a plan that TensorRT could not load here, or should not, without loading it; no GPU is needed.

    Raises:
        BackendError: it is of another model, or of a flavour or version of TensorRT that is not installed.
    """
    if record.contract != contract:
        raise BackendError(
            expected=f"the model of this bundle in {path}", received="a model with another contract", remedy=_REMEDY
        )
    if record.flavour not in installed_flavours():
        raise BackendError(
            expected=f"{record.flavour} {record.version}, which built {path.name}",
            received=f"a host with {', '.join(installed_flavours()) or 'no TensorRT'}",
            remedy=_REMEDY,
        )
    version = import_flavour(record.flavour).__version__
    if version != record.version:
        raise BackendError(
            expected=f"{record.flavour} {record.version}, which built {path.name}",
            received=f"{record.flavour} {version}",
            remedy=_REMEDY,
        )


class TensorRtBackend:
    """A TensorRT plan with its execution context, its stream and buffers for its largest batch.

    Args:
        path: the plan.
        record: what it is.
        contract: what it must compute.

    Raises:
        BackendError: the plan is not for this host, with the reason, or it cannot be loaded.
    """

    def __init__(self, path: Path, record: EngineRecord, contract: ModelContract) -> None:
        check_record(record, path, contract)
        device = current_device()
        if device.compute_capability not in record.compute_capabilities:
            raise BackendError(
                expected=f"a GPU of compute capability {' or '.join(record.compute_capabilities)} for {path.name}",
                received=f"{device.name} of compute capability {device.compute_capability}",
                remedy=_REMEDY,
            )
        trt = import_flavour(record.flavour)
        self._engine, self._context = _deserialise(trt, path)
        self._stream = Stream()
        self._max_batch = record.max_batch
        size = contract.input
        self._frames = Buffer((self._max_batch, 1, size.height, size.width), np.uint8)
        self._logits = Buffer((self._max_batch, len(contract.labels)), np.float32)
        self._embedding = Buffer((self._max_batch, contract.embedding), np.float32)
        for name, buffer in (("frame", self._frames), ("logits", self._logits), ("embedding", self._embedding)):
            _succeed(self._context.set_tensor_address(name, buffer.address), f"bind {name}")
        self.artefact = path.name
        self.description = f"{record.flavour} {record.version} on {device.name}, {path.name}"

    def infer(self, frames: NDArray[np.uint8]) -> Inference:
        """Run the model on ``frames``, uint8 [N, 1, H, W] of the contract's size, ``max_batch`` at a time."""
        chunks = [
            self._infer(frames[start : start + self._max_batch]) for start in range(0, len(frames), self._max_batch)
        ]
        if len(chunks) == 1:
            return chunks[0]
        return Inference(
            np.concatenate([chunk.logits for chunk in chunks]), np.concatenate([chunk.embedding for chunk in chunks])
        )

    def _infer(self, frames: NDArray[np.uint8]) -> Inference:
        count = len(frames)
        self._frames.host[:count] = frames
        self._frames.upload(count, self._stream)
        _succeed(self._context.set_input_shape("frame", frames.shape), f"take frames of shape {frames.shape}")
        _succeed(self._context.execute_async_v3(self._stream.handle), "run")
        for output in (self._logits, self._embedding):
            output.download(count, self._stream)
        self._stream.synchronise()
        return Inference(self._logits.host[:count].copy(), self._embedding.host[:count].copy())


def _deserialise(trt: Any, path: Path) -> tuple[Any, Any]:
    """Return the engine in the plan, and an execution context of it."""
    logger = quiet_logger(trt)
    engine = trt.Runtime(logger).deserialize_cuda_engine(path.read_bytes())
    context = engine and engine.create_execution_context()
    if not context:
        raise BackendError(
            expected=f"a plan in {path} that {trt.__name__} {trt.__version__} can run",
            received=" ".join(logger.messages) or "no plan",
            remedy=_REMEDY,
        )
    return engine, context


def _succeed(success: bool, what: str) -> None:
    if not success:
        raise BackendError(
            expected=f"the engine to {what}",
            received="a refusal by TensorRT",
            remedy="use --backend cpu and report this",
        )
