"""From the start of a process to its first prediction, and the memory that it takes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_REPORT = """
import json, pathlib, re, time
status = pathlib.Path("/proc/self/status").read_text()  # getrusage would count what the parent held at the fork
print(json.dumps({"at": time.time(), "rss": int(re.search(r"VmHWM:\\s+(\\d+)", status)[1])}))
"""

METFA = (
    """
import sys
import cv2
from metfa.runtime import PlaneClassifier, open_source
classifier = PlaneClassifier.load(sys.argv[1], backend="cpu")
with open_source(sys.argv[2]) as source:
    classifier(next(iter(source)).pixels)
"""
    + _REPORT
)

BARE = (
    """
import sys
import cv2
import numpy
import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1] + "/model.onnx", providers=["CPUExecutionProvider"])
_, _, height, width = session.get_inputs()[0].shape
image = cv2.resize(cv2.cvtColor(cv2.VideoCapture(sys.argv[2]).read()[1], cv2.COLOR_BGR2GRAY), (width, height))
session.run(None, {"frame": image[None, None]})
"""
    + _REPORT
)


@dataclass(frozen=True, slots=True)
class Start:
    """One start of a process.

    Attributes:
        seconds: from the start of Python to the first prediction.
        megabytes: the most resident memory.
    """

    seconds: float
    megabytes: float


def measure_start(script: str, bundle: Path, video: Path) -> Start:
    """Start Python with ``script``, ``METFA`` or ``BARE``, and return how it went."""
    began = time.time()
    done = subprocess.run([sys.executable, "-c", script, bundle, video], check=True, capture_output=True, text=True)
    report = json.loads(done.stdout.splitlines()[-1])
    return Start(report["at"] - began, report["rss"] / 1024)
