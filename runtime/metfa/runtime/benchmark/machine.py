"""What a record says of the machine that it was made on, and ``metfa doctor`` of its own."""

from __future__ import annotations

import os
import platform
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ..bundle.engine_record import cuda_bindings_installed
from ..errors import BackendError

INSTRUCTION_SETS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_int8")
"""Of x86-64, as Linux calls them: the ones that kernels of PyTorch and ONNX Runtime are chosen by."""

PACKAGES = ("torch", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt", "tensorrt-rtx-cu13", "cuda-bindings")


def host() -> dict[str, object]:
    """Return what a record says of the machine; of CUDA only where there is a GPU."""
    import cv2  # here, as the rest is also told where OpenCV cannot be imported

    listed = gpus()
    return {
        "machine": platform.machine(),
        "processor": processor(),
        "instruction_sets": instruction_sets(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "opencv": cv2.__version__,
        "packages": {name: found for name in PACKAGES if (found := _version(name)) is not None},
        "gpus": listed,
        **({"cuda": cuda_versions()} if listed else {}),
    }


def processor() -> str:
    """Return the model of the CPU; nothing where the system does not say it, as Linux on Arm."""
    return _described("model name") or platform.processor()


def instruction_sets() -> list[str]:
    """Return those of ``INSTRUCTION_SETS`` that the CPU has."""
    flags = _described("flags").split()
    return [name for name in INSTRUCTION_SETS if name in flags]


def _described(field: str) -> str:
    """Return what Linux says of the first core, such as its model's name; nothing where it does not say it."""
    with suppress(FileNotFoundError):  # another system
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(field):
                return line.partition(":")[2].strip()
    return ""


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def gpus() -> list[dict[str, str]]:
    """Return name and driver of each NVIDIA GPU, as ``nvidia-smi`` lists them."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        listed = subprocess.run(query, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):  # no driver, or no GPU
        return []
    return [dict(zip(("name", "driver"), line.split(", "), strict=True)) for line in listed.splitlines()]


def cuda_versions() -> dict[str, str] | None:
    """Return the versions of CUDA, of the runtime and that the driver knows; None where nothing here can tell."""
    if not cuda_bindings_installed():
        return None
    from ..backends import gpu

    try:
        return {"runtime": gpu.runtime_version(), "driver": gpu.driver_version()}
    except BackendError:
        return None
