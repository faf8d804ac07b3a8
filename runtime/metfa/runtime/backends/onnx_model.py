"""What every engine that opens an ONNX of a bundle asks of it: its contract, its tensors, no boundless memory."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..bundle.contract import METADATA_KEY, ModelContract
from ..errors import BackendError
from . import Inference
from .guard import memory_limit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    Interface = Mapping[str, tuple[str, list[int]]]
    """By the name of a tensor, its type as NumPy calls it, and its shape without N."""

REMEDY = "export the bundle again with metfa-export"

MAX_CONCURRENCY = 4
"""Frames that are in an engine at once on a CPU; each needs memory for its activations."""

_STACK = 16 << 20  # bytes that a thread may reserve


def require_contract(metadata: Mapping[str, str], path: Path, contract: ModelContract) -> None:
    """Make sure that the metadata of an ONNX hold its bundle's contract.

    Raises:
        BackendError: they hold none, or another.
        ContractError: it cannot be read.
    """
    if METADATA_KEY not in metadata:
        raise BackendError(
            expected=f"a whole model of metfa in {path}",
            received="one without a contract: cut off, or from elsewhere",
            remedy=REMEDY,
        )
    if ModelContract.from_json(metadata[METADATA_KEY], origin=f"the metadata of {path}") != contract:
        raise BackendError(
            expected=f"the model of this bundle in {path}", received="a model with another contract", remedy=REMEDY
        )


def require_interface(found: Interface, path: Path, contract: ModelContract) -> None:
    """Make sure that a graph takes and returns what its contract says.

    Raises:
        BackendError: it does not.
    """
    size = contract.input
    expected: Interface = {
        "frame": ("uint8", [1, size.height, size.width]),
        "logits": ("float32", [len(contract.labels)]),
        "embedding": ("float32", [contract.embedding]),
    }
    if found != expected:
        raise BackendError(
            expected=f"the tensors of the contract in {path}: {_describe(expected)}",
            received=_describe(found),
            remedy=REMEDY,
        )


def checked(
    logits: NDArray[np.float32], embedding: NDArray[np.float32], frames: int, path: Path, contract: ModelContract
) -> Inference:
    """Return what a model computed of so many frames, once its shapes are known to be those of the contract.

    Raises:
        BackendError: they are not.
    """
    shapes = (frames, len(contract.labels)), (frames, contract.embedding)
    if (logits.shape, embedding.shape) != shapes:
        raise BackendError(
            expected=f"logits {list(shapes[0])} and embedding {list(shapes[1])} of {path}",
            received=f"{list(logits.shape)} and {list(embedding.shape)}",
            remedy=REMEDY,
        )
    return Inference(logits, embedding)


def reason(cause: Exception) -> str:
    """Return the first line of what an engine says."""
    return str(cause).splitlines()[0] if str(cause) else type(cause).__name__


class MemoryNeeds:
    """The most bytes that a model may take on a CPU.

    Several times what any network of metfa takes: its weights a few times over, a stack for each thread, and for each
    pixel of the input a hundred channels or more at once.

    Args:
        size: bytes of the ONNX.
        contract: of the model.
    """

    def __init__(self, size: int, contract: ModelContract) -> None:
        self._model = (1 << 30) + 16 * size + (os.cpu_count() or 1) * _STACK
        self._frame = contract.input.height * contract.input.width * 4096

    def limit(self, frames: int) -> AbstractContextManager[None]:
        """Return a context in which the process may take no more than so many frames need."""
        return memory_limit(self._model + frames * self._frame)


def _describe(interface: Interface) -> str:
    return ", ".join(f"{name} {kind} [N, {', '.join(map(str, shape))}]" for name, (kind, shape) in interface.items())
