"""TensorRT and TensorRT for RTX: an engine of the bundle, on the GPU that it was built for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..bundle.directory import ONNX_FP16, ONNX_INT8_TENSORRT
from ..bundle.engine_record import EngineRecord, import_flavour, installed_flavours, quiet_logger, record_name
from ..errors import BackendError
from . import Inference
from .gpu import Buffer, Graph, Stream, current_device

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from ..bundle.contract import ModelContract
    from ..bundle.directory import Bundle
    from ..bundle.engine_record import Flavour

_REMEDY = "build the engine on this device: metfa-stream --rebuild, or metfa-export --fp16"


def load_engine(bundle: Bundle, engines: list[str]) -> TensorRtBackend:
    """Load the first of the bundle's ``engines``, one or more file names, that suits this host.

    Raises:
        BackendError: none does; the message gives the reason of each.
        BundleError: an engine or its record is missing, damaged or edited.
    """
    refusals: list[BackendError] = []
    for name in engines:
        record = EngineRecord.parse(bundle.read(record_name(name)), origin=record_name(name))
        try:
            onnx = {"fp16": ONNX_FP16, "int8": ONNX_INT8_TENSORRT}[record.precision]
            if (record.plan_sha256, record.onnx_sha256) != (bundle.files[name], bundle.files.get(onnx)):
                raise BackendError(
                    expected=f"the record of {name}, built from the bundle's {onnx}",
                    received="a record of other files",
                    remedy=_REMEDY,
                )
            return TensorRtBackend(bundle.directory / name, record, bundle.contract, plan=bundle.read(name))
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
    """A TensorRT plan with its execution contexts, its stream and buffers for its largest batch.

    The batch of a live stream runs as a CUDA graph. One thread at a time: there is one set of buffers.

    Attributes:
        stream: where all of it is enqueued.
        batch: how many frames the engine takes at once.

    Args:
        path: the plan.
        record: what it is.
        contract: what it must compute.
        plan: the file's bytes, where they were read and checked before.

    Raises:
        BackendError: the plan is not for this host, with the reason, or it cannot be loaded.
    """

    concurrency = 1

    def __init__(self, path: Path, record: EngineRecord, contract: ModelContract, *, plan: bytes | None = None) -> None:
        check_record(record, path, contract)
        device = current_device()
        if device.compute_capability not in record.compute_capabilities:
            raise BackendError(
                expected=f"a GPU of compute capability {' or '.join(record.compute_capabilities)} for {path.name}",
                received=f"{device.name} of compute capability {device.compute_capability}",
                remedy=_REMEDY,
            )
        trt = import_flavour(record.flavour)
        self._engine = _deserialise(trt, path, path.read_bytes() if plan is None else plan)
        self.batch = record.batch
        self.stream = Stream()
        size = contract.input
        self._frames = Buffer((self.batch.maximum, 1, size.height, size.width), np.uint8)
        self._logits = Buffer((self.batch.maximum, len(contract.labels)), np.float32)
        self._embedding = Buffer((self.batch.maximum, contract.embedding), np.float32)
        self._context = self._create_context(record.flavour)
        self._graph = None if record.flavour == "tensorrt_rtx" else self._record_live_frame(record.flavour)
        self.artefact = path.name
        how = "" if self._graph is None else ", as a CUDA graph"
        self.description = f"{record.flavour} {record.version} on {device.name}, {path.name}{how}"

    def infer(self, frames: NDArray[np.uint8]) -> Inference:
        """Run the model on ``frames``, uint8 [N, 1, H, W] of the contract's size, ``batch.maximum`` at a time."""
        most = self.batch.maximum
        chunks = [self._infer(frames[start : start + most]) for start in range(0, len(frames), most)]
        if len(chunks) == 1:
            return chunks[0]
        return Inference(
            np.concatenate([chunk.logits for chunk in chunks]), np.concatenate([chunk.embedding for chunk in chunks])
        )

    def _infer(self, frames: NDArray[np.uint8]) -> Inference:
        count = len(frames)
        self._frames.host[:count] = frames
        self.enqueue(count)
        self.stream.synchronise()
        return Inference(self._logits.host[:count].copy(), self._embedding.host[:count].copy())

    def enqueue(self, count: int) -> None:
        """Enqueue the last frames of :meth:`infer` once more, and wait for nothing: copy, engine, copies back.

        Args:
            count: how many frames, at most ``batch.maximum``.
        """
        rows = max(count, self.batch.minimum)  # what fills up to the fewest that the engine takes is not returned
        if self._graph is not None and rows == self.batch.minimum:
            self._graph.launch()
        else:
            self._enqueue(self._context, rows)

    def _enqueue(self, context: Any, rows: int) -> None:
        shape = (rows, *self._frames.host.shape[1:])
        _succeed(context.set_input_shape("frame", shape), f"take frames of shape {shape}")
        self._frames.upload(rows, self.stream)
        _succeed(context.execute_async_v3(self.stream.handle), "run")
        for output in (self._logits, self._embedding):
            output.download(rows, self.stream)

    def _record_live_frame(self, flavour: Flavour) -> Graph | None:
        """Record the smallest batch, which is that of a live stream; None where this engine cannot be recorded."""
        self._live_context = self._create_context(flavour)  # of its own: another shape would invalidate the graph
        self._enqueue(self._live_context, self.batch.minimum)  # TensorRT finishes its set-up in the first run
        self.stream.synchronise()
        try:
            return Graph(self.stream, lambda: self._enqueue(self._live_context, self.batch.minimum))
        except BackendError:
            return None

    def _create_context(self, flavour: Flavour) -> Any:
        if flavour == "tensorrt_rtx":
            # It compiles kernels for a shape while it runs, and alone knows when they are ready to be recorded.
            config = self._engine.create_runtime_config()
            config.cuda_graph_strategy = import_flavour(flavour).CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            context = self._engine.create_execution_context(config)
        else:
            context = self._engine.create_execution_context()
        _succeed(context is not None, "hold its memory on the GPU")
        for name, buffer in (("frame", self._frames), ("logits", self._logits), ("embedding", self._embedding)):
            _succeed(context.set_tensor_address(name, buffer.address), f"bind {name}")
        return context


def _deserialise(trt: Any, path: Path, plan: bytes) -> Any:
    """Return the engine in the plan, which was read from ``path``."""
    logger = quiet_logger(trt)
    engine = trt.Runtime(logger).deserialize_cuda_engine(plan)
    if engine is None:
        raise BackendError(
            expected=f"a plan in {path} that {trt.__name__} {trt.__version__} can run",
            received=" ".join(logger.messages) or "no plan",
            remedy=_REMEDY,
        )
    return engine


def _succeed(success: bool, what: str) -> None:
    if not success:
        raise BackendError(
            expected=f"the engine to {what}",
            received="a refusal by TensorRT",
            remedy="use --backend cpu and report this",
        )
