"""What can run a model here: the GPU, and each backend of ``metfa-stream``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, get_args

from ..backends.choice import BackendName, has_nvidia_gpu, require_available
from ..benchmark.machine import cuda_versions, gpus
from ..bundle.engine_record import import_flavour, installed_flavours
from ..plugins import names_in
from .looks import result_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .looks import Row


def rows() -> Iterator[Row]:
    """Yield the GPU, whether each backend can be used, and if not, why."""
    yield "NVIDIA GPU", result_of(_gpu)
    for name in get_args(BackendName):
        yield name, result_of(partial(_backend, name))
    if added := names_in("metfa.backends"):
        yield "of packages", ", ".join(added)


def _gpu() -> str:
    works, listed = has_nvidia_gpu(), gpus()
    if not listed:
        return "yes; there is no nvidia-smi to name it" if works else "none"
    names = ", ".join(f"{gpu['name']} (driver {gpu['driver']})" for gpu in listed)
    if not works:
        return f"fails: nvidia-smi lists {names}, but libcuda.so.1 finds none"
    cuda = cuda_versions()
    return names if cuda is None else f"{names}, CUDA {cuda['runtime']}; the driver is made for {cuda['driver']}"


def _backend(name: BackendName) -> str:
    """Return what a backend has to run models with.

    Raises:
        MetfaError: it cannot be used here.
    """
    require_available(name)
    return {"tensorrt": _tensorrt, "cuda": _onnxruntime, "cpu": _onnxruntime, "openvino": _openvino, "triton": _triton}[
        name
    ]()


def _tensorrt() -> str:
    return "yes: " + ", ".join(f"{flavour} {import_flavour(flavour).__version__}" for flavour in installed_flavours())


def _onnxruntime() -> str:
    from ..backends.onnxruntime import available_providers

    return f"yes: ONNX Runtime with {', '.join(available_providers())}"


def _openvino() -> str:
    from ..backends.openvino import available_devices

    return f"yes: OpenVINO finds {', '.join(available_devices()) or 'no device'}; only with --backend openvino"


def _triton() -> str:
    return "yes: the client is installed; only with --backend triton:HOST:PORT/MODEL"
