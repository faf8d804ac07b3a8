"""Which engine and which artefact suit this host: TensorRT, then CUDA, then the CPU."""

from __future__ import annotations

import importlib.util
from functools import partial
from typing import TYPE_CHECKING, Literal

from .. import bundle as bundles
from ..engine import FLAVOURS, cuda_bindings_installed, installed_flavours
from ..errors import BackendError, BundleError, MetfaError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ..bundle import Bundle
    from . import Backend

BackendName = Literal["tensorrt", "cuda", "cpu"]
Precision = Literal["fp32", "fp16", "int8"]


class _UnsuitableError(Exception):
    """Why a backend is not for this host; its message completes the sentence «not TensorRT: …»."""


def load_backend(
    bundle: Bundle,
    backend: BackendName | None = None,
    precision: Precision | None = None,
    *,
    rebuild: bool = False,
) -> tuple[Backend, str]:
    """Load the bundle's best artefact for this host.

    FP16, where the bundle has it, is the default on a GPU, FP32 on the CPU (which computes in FP32 anyway). INT8 is
    only for those who ask for it: it is the least exact.

    Args:
        bundle: where the artefacts are.
        backend: one backend, or None for the first of TensorRT, CUDA and CPU that works here.
        precision: one precision, or None for the backend's default.
        rebuild: whether to build an engine here where the bundle has none that suits this host.

    Returns:
        The backend, and a line that says which was chosen and why.

    Raises:
        BackendError: no backend works here, or the one asked for does not.
        BundleError: the artefact is missing, damaged or edited.
    """
    candidates: tuple[BackendName, ...] = ("tensorrt", "cuda", "cpu") if backend is None else (backend,)
    loaders: dict[BackendName, Callable[[Bundle, Precision | None], Backend]] = {
        "tensorrt": partial(_load_tensorrt, rebuild=rebuild),
        "cuda": _load_cuda,
        "cpu": _load_cpu,
    }
    refusals = []
    for name in candidates:
        try:
            loaded = loaders[name](bundle, precision)
        except _UnsuitableError as refusal:
            refusals.append(f"not {name}: {refusal}")
            continue
        except MetfaError as refusal:
            if backend is not None or name == "cpu":
                raise
            refusals.append(f"not {name}: {refusal}")
            continue
        reason = "asked for" if backend else "; ".join(refusals) or "the fastest"
        return loaded, f"{loaded.description} ({reason})"
    raise BackendError(
        expected=f"an inference engine for {bundle.directory} on this host",
        received="; ".join(refusals),
        remedy="pip install 'metfa[cpu]' (or 'metfa[cuda]', 'metfa[tensorrt]' with an NVIDIA GPU)",
    )


def _load_tensorrt(bundle: Bundle, precision: Precision | None, *, rebuild: bool) -> Backend:
    if precision == "fp32":
        raise _UnsuitableError("engines are FP16 and FP32 was asked for")
    engines = bundle.matching(bundles.ENGINE_PATTERN_INT8 if precision == "int8" else bundles.ENGINE_PATTERN)
    if precision == "int8":
        rebuild = False  # an INT8 engine is calibrated and compared where the frames are
        if not engines:
            raise _UnsuitableError("the bundle holds no INT8 engine (metfa-export --int8 builds one)")
    if not engines and not rebuild:
        raise _UnsuitableError("the bundle holds no engine (metfa-export --fp16 or metfa-stream --rebuild builds one)")
    if not installed_flavours():
        raise _UnsuitableError(f"neither {' nor '.join(FLAVOURS)} is installed")
    if not cuda_bindings_installed():
        raise _UnsuitableError("cuda-python is not installed")
    from .tensorrt import load_engine

    try:
        if engines:
            return load_engine(bundle, engines)
    except (BackendError, BundleError):
        if not rebuild:
            raise
    from .rebuild import rebuild_engine

    return rebuild_engine(bundle)


def _load_cuda(bundle: Bundle, precision: Precision | None) -> Backend:
    _require_onnxruntime()
    from .onnxruntime import OnnxRuntimeBackend, can_use_cuda

    if not can_use_cuda():
        raise _UnsuitableError("the installed ONNX Runtime has no CUDA provider")
    if precision == "int8":
        raise _UnsuitableError("INT8 is for TensorRT and the CPU")
    return OnnxRuntimeBackend(
        _onnx(bundle, precision or ("fp16" if bundles.ONNX_FP16 in bundle.files else "fp32")), bundle.contract, "cuda"
    )


def _load_cpu(bundle: Bundle, precision: Precision | None) -> Backend:
    _require_onnxruntime()
    from .onnxruntime import OnnxRuntimeBackend

    return OnnxRuntimeBackend(_onnx(bundle, precision or "fp32"), bundle.contract, "cpu")


def _require_onnxruntime() -> None:
    if importlib.util.find_spec("onnxruntime") is None:
        raise _UnsuitableError("onnxruntime is not installed")


def _onnx(bundle: Bundle, precision: Precision) -> Path:
    return bundle.path({"fp32": bundles.ONNX, "fp16": bundles.ONNX_FP16, "int8": bundles.ONNX_INT8}[precision])
