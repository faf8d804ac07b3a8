"""TensorRT engines in a bundle: the record beside each plan, which explains a refusal before anything is loaded."""

from __future__ import annotations

import importlib
import importlib.util
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ..errors import BackendError, ExportError
from . import records
from .contract import ModelContract

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = 3
"""Version of the record's fields. Another version is refused."""

Flavour = Literal["tensorrt", "tensorrt_rtx"]
"""The Python modules of TensorRT and of TensorRT for RTX: one API, plans that are not interchangeable."""

EnginePrecision = Literal["fp16", "int8"]
"""Of what an engine multiplies in; what goes with an FP32 network is ONNX Runtime."""

FLAVOURS: tuple[Flavour, ...] = ("tensorrt", "tensorrt_rtx")


OperationCounts = dict[str, dict[str, int]]
"""The proof of a network's precision: how many convolutions and matrix products it has, by the type that they compute
in: ``{"convolutions": {"float16": 14, "float32": 1}}``. ``int8`` is what multiplies numbers dequantised from INT8."""


MAX_BATCH = 1024
"""Frames for which an engine may hold memory."""


@dataclass(frozen=True, slots=True)
class BatchRange:
    """How many frames an engine takes at once.

    Attributes:
        minimum: the fewest.
        optimum: what it is tuned for.
        maximum: the most; memory for so many is held.
    """

    minimum: int
    optimum: int
    maximum: int

    def __post_init__(self) -> None:
        if not 1 <= self.minimum <= self.optimum <= self.maximum <= MAX_BATCH:
            numbers = f"{self.minimum}, {self.optimum}, {self.maximum}"
            raise ValueError(f"{numbers} do not ascend from 1 or more to at most {MAX_BATCH}")


LIVE_BATCH = BatchRange(1, 1, 8)
"""What engines are built for unless something else is asked for: a live stream has one frame at a time."""


_CAPABILITY = re.compile(r"[0-9]{1,2}\.[0-9]")


@dataclass(frozen=True, slots=True)
class EngineRecord:
    """What a plan is and where it runs: ``<engine>.json``, beside ``<engine>``, a plain TensorRT plan.

    Attributes:
        schema: version of these fields.
        plan_sha256: of the plan.
        onnx_sha256: of the typed ONNX that it was built from.
        flavour: the module that built it and that can load it.
        version: of that module; a plan loads with no other.
        cuda: version of the CUDA runtime at build time; None where no CUDA bindings were installed.
        device: name of the GPU that it was built on; None where it was built without one.
        compute_capabilities: of the GPUs that can run it, such as ``8.6``.
        precision: of its encoder.
        batch: how many frames it takes at once.
        operations: what TensorRT read from the ONNX before it built the plan.
        contract: what the model takes and returns.
    """

    schema: int
    plan_sha256: str
    onnx_sha256: str
    flavour: Flavour
    version: str
    cuda: str | None
    device: str | None
    compute_capabilities: tuple[str, ...]
    precision: EnginePrecision
    batch: BatchRange
    operations: OperationCounts
    contract: ModelContract

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise ValueError(f"schema {self.schema} where this version of metfa reads schema {SCHEMA}")
        # They become parts of file names in a model repository.
        if not self.compute_capabilities or not all(map(_CAPABILITY.fullmatch, self.compute_capabilities)):
            raise ValueError(f"compute capabilities {self.compute_capabilities} are not such as 8.6")

    @classmethod
    def read(cls, path: Path) -> EngineRecord:
        """Read the record ``path``; see :meth:`parse`."""
        return cls.parse(path.read_bytes(), origin=str(path))

    @classmethod
    def parse(cls, text: str | bytes, *, origin: str) -> EngineRecord:
        """Read a record from JSON that came from ``origin``.

        Raises:
            BackendError: it is not JSON, of another schema, or has an unknown, missing or invalid field.
        """
        return records.from_json(
            cls,
            text,
            origin=origin,
            remedy="build the engine again with metfa-export --fp16",
            error=BackendError,
        )


def require_precision(artefact: str, operations: OperationCounts, precision: EnginePrecision, *, kept: int = 0) -> None:
    """Make sure that an artefact is in the precision that was asked for.

    Args:
        artefact: its name, for the message.
        operations: what it holds.
        precision: what was asked for.
        kept: how many convolutions and matrix products were to stay in float32.

    Raises:
        ExportError: others are not in that precision, or there are none at all.
    """
    wanted = {"fp16": "float16", "int8": "int8"}[precision]
    total = sum(sum(types.values()) for types in operations.values())
    found = sum(types.get(wanted, 0) for types in operations.values())
    if found != total - kept or not found:
        raise ExportError(
            expected=f"{max(1, total - kept)} convolutions and matrix products of {artefact} in {wanted}",
            received=f"{found} of {total}",
            remedy=f"export without --{precision} and report this",
        )


def record_name(engine: str) -> str:
    """Return the file name of the record of the plan ``engine``."""
    return f"{engine}.json"


def installed_flavours() -> tuple[Flavour, ...]:
    """Return the flavours of TensorRT that are installed, without importing them."""
    return tuple(flavour for flavour in FLAVOURS if importlib.util.find_spec(flavour))


def cuda_bindings_installed() -> bool:
    """Return whether ``cuda.bindings`` is installed; other packages install parts of ``cuda`` without it."""
    return bool(importlib.util.find_spec("cuda") and importlib.util.find_spec("cuda.bindings"))


def import_flavour(flavour: Flavour) -> Any:
    """Import and return a flavour of TensorRT.

    Raises:
        BackendError: its libraries cannot be loaded.
    """
    try:
        return importlib.import_module(flavour)
    except Exception as cause:  # besides ImportError, its loader raises RuntimeError and OSError
        if isinstance(cause.__cause__ or cause.__context__, KeyboardInterrupt):  # which a loader in C++ wraps up
            raise KeyboardInterrupt from None
        raise BackendError(
            expected=f"the installed {flavour} to load",
            received=" ".join(str(cause).split()) or type(cause).__name__,
            remedy=f"install {flavour} for this machine again",
        ) from None


def quiet_logger(trt: Any) -> Any:
    """Return a ``trt.ILogger`` that prints nothing and keeps warnings and errors in its list ``messages``."""

    class Logger(trt.ILogger):  # type: ignore[misc]  # a base class known only at run time
        def __init__(self) -> None:
            super().__init__()
            self.messages: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity.value <= trt.ILogger.WARNING.value:
                self.messages.append(message)

    return Logger()
