"""ONNX Runtime: any CPU, and NVIDIA GPUs through its CUDA provider."""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import TYPE_CHECKING, Literal

import onnxruntime

from ..bundle.contract import METADATA_KEY, ModelContract
from ..cores import available_cores
from ..errors import BackendError
from . import Inference
from .guard import interruptible, memory_limit

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

_REMEDY = "export the bundle again with metfa-export"
_STACK = 16 << 20  # bytes that a thread may reserve
_MAX_CONCURRENCY = 4  # frames; each needs memory for its activations

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


def can_use_cuda() -> bool:
    """Return whether the installed ONNX Runtime was built with CUDA."""
    return _PROVIDERS["cuda"] in onnxruntime.get_available_providers()


class OnnxRuntimeBackend:
    """An ONNX model in an ONNX Runtime session.

    Args:
        path: the ONNX file.
        contract: what it must compute; the file carries the same contract.
        device: where to run it.
        content: the file's bytes, where they were read and checked before.

    Raises:
        BackendError: the file is no ONNX model that this ONNX Runtime can run, or the device cannot be used.
        ContractError: the contract in the file cannot be read.
    """

    def __init__(
        self, path: Path, contract: ModelContract, device: Literal["cpu", "cuda"], *, content: bytes | None = None
    ) -> None:
        model = path.read_bytes() if content is None else content
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # its warnings say nothing to a user, and its errors are raised
        # Its threads otherwise wait in a loop, and take the cores from decoding, sinks and other programs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        cores = available_cores()
        if cores < len(os.sched_getaffinity(0)):  # a quota, which ONNX Runtime does not ask for
            options.intra_op_num_threads = cores
        # CUDA maps far more memory than it takes, so the limit would say nothing there.
        self._needs = None if device == "cuda" else _enough_memory(len(model), contract)
        try:
            with self._limit(frames=0):
                self._session = interruptible(
                    lambda: onnxruntime.InferenceSession(model, options, providers=[_PROVIDERS[device]])
                )
        except Exception as cause:  # its exceptions derive from RuntimeError and ValueError alike
            raise BackendError(
                expected=f"an ONNX model in {path} that ONNX Runtime {onnxruntime.__version__} can run",
                received=_reason(cause),
                remedy=_REMEDY,
            ) from None
        if _PROVIDERS[device] not in self._session.get_providers():
            raise BackendError(
                expected=f"{_PROVIDERS[device]} to start",
                received=f"a session on {', '.join(self._session.get_providers())}",
                remedy="install the CUDA libraries that onnxruntime-gpu needs, or use --backend cpu",
            )
        metadata = self._session.get_modelmeta().custom_metadata_map
        if METADATA_KEY not in metadata:
            raise BackendError(
                expected=f"a whole model of metfa in {path}",
                received="one without a contract: cut off, or from elsewhere",
                remedy=_REMEDY,
            )
        carried = ModelContract.from_json(metadata[METADATA_KEY], origin=f"the metadata of {path}")
        if carried != contract:
            raise BackendError(
                expected=f"the model of this bundle in {path}",
                received="a model with another contract",
                remedy=_REMEDY,
            )
        _require_interface(self._session, path, contract)
        self._path, self._contract, self._proven = path, contract, False
        self.concurrency = min(cores, _MAX_CONCURRENCY) if device == "cpu" else 1
        self.artefact = path.name
        self.description = f"ONNX Runtime {onnxruntime.__version__} on the {device.upper()}, {path.name}"

    def infer(self, frames: NDArray[np.uint8]) -> Inference:
        """Run the model on ``frames``, uint8 [N, 1, H, W] of the contract's size.

        Raises:
            BackendError: it fails, or returns something else than its contract says.
        """
        try:
            with nullcontext() if self._proven else self._limit(len(frames)):
                logits, embedding = interruptible(lambda: self._session.run(["logits", "embedding"], {"frame": frames}))
        except Exception as cause:
            raise BackendError(
                expected=f"{self._path} to run on {len(frames)} frames", received=_reason(cause), remedy=_REMEDY
            ) from None
        self._proven = True
        shapes = (len(frames), len(self._contract.labels)), (len(frames), self._contract.embedding)
        if (logits.shape, embedding.shape) != shapes:
            raise BackendError(
                expected=f"logits {list(shapes[0])} and embedding {list(shapes[1])} of {self._path}",
                received=f"{list(logits.shape)} and {list(embedding.shape)}",
                remedy=_REMEDY,
            )
        return Inference(logits, embedding)

    def _limit(self, frames: int) -> AbstractContextManager[None]:
        if self._needs is None:
            return nullcontext()
        model, frame = self._needs
        return memory_limit(model + frames * frame)


def _enough_memory(size: int, contract: ModelContract) -> tuple[int, int]:
    """Return the most bytes that a model of ``size`` bytes may take, and those for each frame that it is given.

    Several times what any network of metfa takes: its weights a few times over, a stack for each thread, and for each
    pixel of the input a hundred channels or more at once.
    """
    return (1 << 30) + 16 * size + (os.cpu_count() or 1) * _STACK, contract.input.height * contract.input.width * 4096


def _reason(cause: Exception) -> str:
    return str(cause).splitlines()[0] if str(cause) else type(cause).__name__


def _require_interface(session: onnxruntime.InferenceSession, path: Path, contract: ModelContract) -> None:
    """Make sure that the graph takes and returns what its contract says.

    Raises:
        BackendError: it does not.
    """
    size = contract.input
    expected = {
        "frame": ("tensor(uint8)", [1, size.height, size.width]),
        "logits": ("tensor(float)", [len(contract.labels)]),
        "embedding": ("tensor(float)", [contract.embedding]),
    }
    found = {value.name: (value.type, value.shape[1:]) for value in (*session.get_inputs(), *session.get_outputs())}
    if found != expected:
        raise BackendError(
            expected=f"the tensors of the contract in {path}: {_describe(expected)}",
            received=_describe(found),
            remedy=_REMEDY,
        )


def _describe(interface: dict[str, tuple[str, list[int]]]) -> str:
    return ", ".join(f"{name} {kind} [N, {', '.join(map(str, shape))}]" for name, (kind, shape) in interface.items())
