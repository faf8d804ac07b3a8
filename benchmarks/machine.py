"""What a record says of the machine that it was made on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

import cv2


def host() -> dict[str, str | int | None]:
    """Return what a record says of the machine."""
    return {
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "opencv": cv2.__version__,
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()
