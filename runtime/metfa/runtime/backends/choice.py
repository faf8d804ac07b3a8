"""Which engine suits this host: TensorRT, then CUDA, then the CPU; OpenVINO or a server where asked for."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..bundle import directory as bundles
from ..bundle.engine_record import FLAVOURS, cuda_bindings_installed, installed_flavours
from ..command import require_extra
from ..errors import BackendError, BundleError, MetfaError
from ..plugins import Registry, call
from .server_address import PREFIX, ServerAddress

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..bundle.directory import Bundle
    from . import Backend

Precision = Literal["fp32", "fp16", "int8"]
BackendName = Literal["tensorrt", "cuda", "cpu", "openvino", "triton"]
"""metfa's own; ``triton`` is a server."""

_AUTOMATIC = ("tensorrt", "cuda", "cpu")  # not OpenVINO: which of it and ONNX Runtime is faster, the processor decides
_GRAPHS: dict[Precision, str] = {"fp32": bundles.ONNX, "fp16": bundles.ONNX_FP16, "int8": bundles.ONNX_INT8}


def load_backend(
    bundle: Bundle,
    backend: str | None = None,
    precision: Precision | None = None,
    *,
    rebuild: bool = False,
    notify: Callable[[str], object] = lambda line: None,
) -> tuple[Backend, tuple[str, ...]]:
    """Load the bundle's best artefact for this host.

    FP16, where the bundle has it, is the default on a GPU, FP32 on the CPU (which computes in FP32 anyway). INT8 is
    only for those who ask for it: it is the least exact.

    Args:
        bundle: where the artefacts are.
        backend: one backend, perhaps of another package, or None for the first of TensorRT, CUDA and CPU that works
            here. ``openvino:DEVICE`` names a device of OpenVINO, else it is the CPU;
            ``triton:HOST:PORT/MODEL[,BACKEND]`` names a server.
        precision: one precision, or None for the backend's default.
        rebuild: whether to build an engine here where the bundle has none that suits this host.
        notify: told in a line when a server is lost, and when it is back.

    Returns:
        The backend, and why each faster one does not run the bundle here, the fastest first.

    Raises:
        BackendError: no backend works here, or the one asked for does not.
        BundleError: nothing was exported yet, or the artefact is missing, damaged or edited.
        MissingExtraError: OpenVINO, or the client of a server, was asked for and is not installed.
        PluginError: the backend that another package adds cannot be imported or opened.
    """
    bundle.require_exported()
    if backend is not None and backend.startswith(PREFIX):
        return _load_server(bundle, backend, precision, rebuild=rebuild, notify=notify), ()
    asked, device = (None, "") if backend is None else _name_and_device(backend)
    loaders: Registry[Callable[[Bundle, Precision | None], Backend]] = Registry(
        "metfa.backends",
        {
            "tensorrt": partial(_load_tensorrt, rebuild=rebuild, asked_for=backend is not None),
            "cuda": _load_cuda,
            "cpu": _load_cpu,
            "openvino": partial(_load_openvino, device=device),
        },
    )
    refusals: dict[str, MetfaError] = {}
    for name in _AUTOMATIC if asked is None else (asked,):
        try:
            loaded = _loader(loaders, name)(bundle, precision)
        except MetfaError as refusal:
            if asked is not None or (name == "cpu" and _onnxruntime_installed()):
                raise
            refusals[name] = refusal.with_traceback(None)  # which would keep what is loaded after it from being freed
            continue
        return loaded, tuple(f"not {name}: {refusal}" for name, refusal in refusals.items())
    raise BackendError(
        expected=f"an inference engine that runs {bundle.directory} on this host",
        received="none (" + "; ".join(f"{name}: {refusal.received}" for name, refusal in refusals.items()) + ")",
        remedy="pip install '.[cpu]' in a clone of metfa (or '.[cuda]', '.[tensorrt]' with an NVIDIA GPU)",
    )


def require_available(name: BackendName) -> None:
    """Make sure that this host has what a backend needs, whatever the bundle; nothing but ONNX Runtime is imported.

    Raises:
        BackendError: the GPU, its driver or a package is missing.
        MissingExtraError: OpenVINO, or the client of a server, is not installed.
    """
    if name in {"tensorrt", "cuda"}:
        _require_gpu()
    requirements: dict[BackendName, Callable[[], None]] = {
        "tensorrt": partial(_require_tensorrt, "an engine"),
        "cuda": _require_cuda,
        "cpu": _require_onnxruntime,
        "openvino": _require_openvino,
        "triton": _require_triton,
    }
    requirements[name]()


def _name_and_device(backend: str) -> tuple[str, str]:
    """Take ``openvino:DEVICE`` apart; other names have no device, and may hold a colon."""
    name, colon, device = backend.partition(":")
    if name != "openvino":
        return backend, ""
    return name, device if colon else "CPU"


def _loader(
    loaders: Registry[Callable[[Bundle, Precision | None], Backend]], name: str
) -> Callable[[Bundle, Precision | None], Backend]:
    try:
        loader = loaders[name]
        return loader if name in tuple(loaders) else partial(call, "metfa.backends", name, loader)
    except KeyError:
        raise BackendError(
            expected=f"{', '.join(loaders)}, or a backend that an installed package adds",
            received=repr(name),
            remedy="correct the name of the backend",
        ) from None


def _load_server(
    bundle: Bundle, name: str, precision: Precision | None, *, rebuild: bool, notify: Callable[[str], object]
) -> Backend:
    try:
        address = ServerAddress.parse(name)
    except ValueError as cause:
        raise BackendError(expected="a server", received=str(cause), remedy="correct the name of the backend") from None
    _require_triton()
    from .reconnection import ReconnectingBackend
    from .triton import TritonConnection

    fallback = None
    if address.fallback is not None:
        own = None if address.fallback == "auto" else address.fallback
        fallback, _ = load_backend(bundle, own, precision, rebuild=rebuild)
    elif precision is not None:
        raise BackendError(
            expected="no --precision where a server runs the model",
            received=precision,
            remedy="leave it out, and export to the server what it is to compute in",
        )
    return ReconnectingBackend(
        f"the model {address.model} at {address.target}",
        partial(TritonConnection, address, bundle),
        trial=np.zeros((1, 1, bundle.contract.input.height, bundle.contract.input.width), np.uint8),
        fallback=fallback,
        notify=notify,
    )


def _require_triton() -> None:
    require_extra("triton", "tritonclient", "grpc")


def has_nvidia_gpu() -> bool:
    """Return whether this host has an NVIDIA GPU that its driver knows, whatever packages are installed."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int()
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0


def _load_tensorrt(bundle: Bundle, precision: Precision | None, *, rebuild: bool, asked_for: bool) -> Backend:
    if precision == "fp32":
        raise BackendError(
            expected="FP16 or INT8, which TensorRT engines compute in",
            received="FP32",
            remedy="choose another precision, or another backend",
        )
    engines = bundle.matching(bundles.ENGINE_PATTERN_INT8 if precision == "int8" else bundles.ENGINE_PATTERN)
    rebuild = rebuild and precision != "int8"  # an INT8 engine is calibrated and compared where the frames are
    if not engines and not rebuild:
        raise _no_engine(bundle, "INT8" if precision == "int8" else "FP16")
    _require_tensorrt(engines[0] if engines else "an engine")
    if not asked_for:  # before TensorRT is loaded, which takes 110 MB
        _require_gpu(f", to run {engines[0] if engines else 'an engine'}")
    from .tensorrt import load_engine

    try:
        if engines:
            return load_engine(bundle, engines)
    except (BackendError, BundleError):
        if not rebuild:
            raise
    from .rebuild import rebuild_engine

    return rebuild_engine(bundle)


def _require_tensorrt(engine: str) -> None:
    if not installed_flavours():
        raise BackendError(
            expected=f"{' or '.join(FLAVOURS)}, to run {engine}",
            received="a Python environment without them",
            remedy="pip install '.[tensorrt]' (or '.[rtx]') in a clone of metfa",
        )
    if not cuda_bindings_installed():
        raise BackendError(
            expected="cuda-python beside TensorRT",
            received="a Python environment without it",
            remedy="pip install '.[tensorrt]' (or '.[rtx]') in a clone of metfa",
        )


def _require_gpu(purpose: str = "") -> None:
    if not has_nvidia_gpu():
        raise BackendError(
            expected=f"an NVIDIA GPU and its driver{purpose}", received="none", remedy="install the driver"
        )


def _no_engine(bundle: Bundle, wanted: Literal["FP16", "INT8"]) -> BackendError:
    """Return the refusal of a bundle without an engine in the precision that is wanted; it names those in the other."""
    pattern, other = {
        "FP16": (bundles.ENGINE_PATTERN_INT8, "int8"),
        "INT8": (bundles.ENGINE_PATTERN, "fp16"),
    }[wanted]
    others = bundle.matching(pattern)
    remedies = [f"take {'it' if len(others) == 1 else 'one of them'} with --precision {other}"] if others else []
    # Another export replaces the last: what the bundle holds must be asked for again.
    both = others or (wanted == "INT8" and bundles.ONNX_FP16 in bundle.files)
    remedies.append(f"build one with metfa-export {'--fp16 --int8' if both else f'--{wanted.lower()}'}")
    if wanted == "FP16" and bundles.ONNX_FP16 in bundle.files:
        remedies.append("here with metfa-stream --rebuild")
    return BackendError(
        expected=f"a TensorRT engine in {wanted} in the bundle {bundle.directory}",
        received=f"only {' and '.join(others)}" if others else "none",
        remedy=", or ".join(remedies),
    )


def _load_cuda(bundle: Bundle, precision: Precision | None) -> Backend:
    _require_cuda()
    if precision == "int8":
        raise BackendError(
            expected="FP32 or FP16, which ONNX Runtime computes in on a GPU",
            received="INT8",
            remedy="choose another precision, or TensorRT or the CPU",
        )
    return _load_onnx(bundle, precision or ("fp16" if bundles.ONNX_FP16 in bundle.files else "fp32"), "cuda")


def _require_cuda() -> None:
    _require_onnxruntime()
    from .onnxruntime import can_use_cuda

    if not can_use_cuda():
        raise BackendError(
            expected="an ONNX Runtime with CUDA",
            received="one without",
            remedy="with an NVIDIA GPU, pip uninstall onnxruntime and pip install '.[cuda]' in a clone of metfa",
        )


def _load_cpu(bundle: Bundle, precision: Precision | None) -> Backend:
    _require_onnxruntime()
    return _load_onnx(bundle, precision or "fp32", "cpu")


def _require_openvino() -> None:
    require_extra("openvino", "openvino")


def _load_openvino(bundle: Bundle, precision: Precision | None, *, device: str) -> Backend:
    _require_openvino()
    from .openvino import OpenVinoBackend, require_device

    require_device(device)
    if precision is None:
        precision = "fp16" if device != "CPU" and bundles.ONNX_FP16 in bundle.files else "fp32"
    if device == "NPU" and precision == "fp32":
        raise BackendError(
            expected="FP16 or INT8, which an NPU computes in",
            received="FP32",
            remedy="choose another precision (metfa-export --fp16 makes FP16), or another device",
        )
    half = device != "CPU" and precision != "fp32"
    name = _GRAPHS[precision]
    return OpenVinoBackend(bundle.directory / name, bundle.contract, device, half=half, content=bundle.read(name))


def _require_onnxruntime() -> None:
    if not _onnxruntime_installed():
        raise BackendError(
            expected="the package onnxruntime",
            received="a Python environment without it",
            remedy="pip install '.[cpu]' in a clone of metfa (or '.[cuda]' with an NVIDIA GPU)",
        )
    try:
        importlib.import_module("onnxruntime")
    except Exception as cause:  # besides ImportError, what its own checks raise
        raise BackendError(
            expected="the installed onnxruntime to load",
            received=" ".join(str(cause).split()) or type(cause).__name__,
            remedy="install onnxruntime for this machine again",
        ) from None


def _onnxruntime_installed() -> bool:
    return importlib.util.find_spec("onnxruntime") is not None


def _load_onnx(bundle: Bundle, precision: Precision, device: Literal["cpu", "cuda"]) -> Backend:
    from .onnxruntime import OnnxRuntimeBackend

    name = _GRAPHS[precision]
    return OnnxRuntimeBackend(bundle.directory / name, bundle.contract, device, content=bundle.read(name))
