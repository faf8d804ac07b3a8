"""ONNX Runtime: any CPU, and NVIDIA GPUs through its CUDA provider."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Literal

import onnxruntime

from ..cores import available_cores, bound_cores
from ..errors import BackendError
from .guard import interruptible
from .onnx_model import MAX_CONCURRENCY, REMEDY, MemoryNeeds, checked, reason, require_contract, require_interface

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from ..bundle.contract import ModelContract
    from . import Inference

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_TYPES = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}


def available_providers() -> list[str]:
    """Return what the installed ONNX Runtime was built with, such as ``CPUExecutionProvider``."""
    return list(onnxruntime.get_available_providers())


def can_use_cuda() -> bool:
    """Return whether the installed ONNX Runtime was built with CUDA."""
    return _PROVIDERS["cuda"] in available_providers()


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
        if cores < bound_cores():  # a quota, which ONNX Runtime does not ask for
            options.intra_op_num_threads = cores
        # CUDA maps far more memory than it takes, so the limit would say nothing there.
        self._needs = None if device == "cuda" else MemoryNeeds(len(model), contract)
        try:
            with self._limit(frames=0):
                self._session = interruptible(
                    lambda: onnxruntime.InferenceSession(model, options, providers=[_PROVIDERS[device]])
                )
        except Exception as cause:  # its exceptions derive from RuntimeError and ValueError alike
            raise BackendError(
                expected=f"an ONNX model in {path} that ONNX Runtime {onnxruntime.__version__} can run",
                received=reason(cause),
                remedy=REMEDY,
            ) from None
        if _PROVIDERS[device] not in self._session.get_providers():
            raise BackendError(
                expected=f"{_PROVIDERS[device]} to start",
                received=f"a session on {', '.join(self._session.get_providers())}",
                remedy="install the CUDA libraries that onnxruntime-gpu needs, or use --backend cpu",
            )
        require_contract(self._session.get_modelmeta().custom_metadata_map, path, contract)
        require_interface(_interface(self._session), path, contract)
        self._path, self._contract, self._proven = path, contract, False
        self.concurrency = min(cores, MAX_CONCURRENCY) if device == "cpu" else 1
        self.artefact = path.name
        self.description = f"ONNX Runtime {onnxruntime.__version__} on the {device.upper()}, {path.name}"

    def infer(self, frames: NDArray[np.uint8]) -> Inference:
        """Run the model on ``frames``, uint8 [N, 1, H, W] of the contract's size.

        Raises:
            BackendError: it fails, or returns something else than its contract says.
        """
        try:
            if self._proven:
                logits, embedding = self._run(frames)
            else:
                with self._limit(len(frames)):
                    logits, embedding = interruptible(lambda: self._run(frames))
        except Exception as cause:
            raise BackendError(
                expected=f"{self._path} to run on {len(frames)} frames", received=reason(cause), remedy=REMEDY
            ) from None
        self._proven = True
        return checked(logits, embedding, len(frames), self._path, self._contract)

    def _run(self, frames: NDArray[np.uint8]) -> Any:
        return self._session.run(["logits", "embedding"], {"frame": frames})

    def _limit(self, frames: int) -> AbstractContextManager[None]:
        return nullcontext() if self._needs is None else self._needs.limit(frames)


def _interface(session: onnxruntime.InferenceSession) -> dict[str, tuple[str, list[int]]]:
    tensors = (*session.get_inputs(), *session.get_outputs())
    return {tensor.name: (_TYPES.get(tensor.type, tensor.type), tensor.shape[1:]) for tensor in tensors}
