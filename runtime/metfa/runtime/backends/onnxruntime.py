"""ONNX Runtime: any CPU, and NVIDIA GPUs through its CUDA provider."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

import onnxruntime

from ..contract import METADATA_KEY, ModelContract
from ..cores import available_cores
from ..errors import BackendError
from . import Inference

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

_MOST_AT_ONCE = 4  # frames; each needs memory for its activations

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

    Raises:
        BackendError: the file is no ONNX model that this ONNX Runtime can run, or the device cannot be used.
        ContractError: the contract in the file cannot be read.
    """

    def __init__(self, path: Path, contract: ModelContract, device: Literal["cpu", "cuda"]) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors only: its warnings about placement say nothing to a user
        # Its threads otherwise wait in a loop, and take the cores from decoding, sinks and other programs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        cores = available_cores()
        if cores < len(os.sched_getaffinity(0)):  # a quota, which ONNX Runtime does not ask for
            options.intra_op_num_threads = cores
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=[_PROVIDERS[device]])
        except Exception as cause:  # its exceptions derive from RuntimeError and ValueError alike
            raise BackendError(
                expected=f"an ONNX model in {path} that ONNX Runtime {onnxruntime.__version__} can run",
                received=str(cause).splitlines()[0] if str(cause) else type(cause).__name__,
                remedy="export the bundle again with metfa-export",
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
                remedy="export the bundle again with metfa-export",
            )
        carried = ModelContract.from_json(metadata[METADATA_KEY], origin=f"the metadata of {path}")
        if carried != contract:
            raise BackendError(
                expected=f"the model of this bundle in {path}",
                received="a model with another contract",
                remedy="export the bundle again with metfa-export",
            )
        _require_interface(self._session, path, contract)
        self.concurrency = min(cores, _MOST_AT_ONCE) if device == "cpu" else 1
        self.artefact = path.name
        self.description = f"ONNX Runtime {onnxruntime.__version__} on the {device.upper()}, {path.name}"

    def infer(self, frames: NDArray[np.uint8]) -> Inference:
        """Run the model on ``frames``, uint8 [N, 1, H, W] of the contract's size."""
        logits, embedding = self._session.run(["logits", "embedding"], {"frame": frames})
        return Inference(logits, embedding)


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
            remedy="export the bundle again with metfa-export",
        )


def _describe(interface: dict[str, tuple[str, list[int]]]) -> str:
    return ", ".join(f"{name} {kind} [N, {', '.join(map(str, shape))}]" for name, (kind, shape) in interface.items())
