"""The edge: live frames in, plane decisions out. Needs NumPy, OpenCV, click and one inference engine; never torch."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .bundle.contract import DecisionSpec, ModelContract, Region
    from .bundle.directory import Bundle
    from .classifier import PlaneClassifier
    from .errors import MetfaError
    from .frame import Decision, Frame, ModelIdentity, Observation, PlaneEvent, Prediction
    from .imaging.images import read_image
    from .sources import CaptureFormat, Source, open_source
    from .streaming.exchange import ExchangeableClassifier
    from .streaming.loop import stream
    from .streaming.many import stream_many
    from .streaming.summary import StreamStatistics, StreamSummary

# What OpenCV, its FFmpeg and gRPC would print is in our errors. They read these when they are loaded.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # ONNX Runtime would keep a device's number and call its maker
# OpenVINO would call its maker, too, as soon as it is imported; Python does not find the package that does so.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "2")  # seconds, not 10, until a camera's silence is noticed

__all__ = [
    "Bundle",
    "CaptureFormat",
    "Decision",
    "DecisionSpec",
    "ExchangeableClassifier",
    "Frame",
    "MetfaError",
    "ModelContract",
    "ModelIdentity",
    "Observation",
    "PlaneClassifier",
    "PlaneEvent",
    "Prediction",
    "Region",
    "Source",
    "StreamStatistics",
    "StreamSummary",
    "open_source",
    "read_image",
    "stream",
    "stream_many",
]

_MODULES = {
    "Bundle": "bundle.directory",
    "CaptureFormat": "sources",
    "Decision": "frame",
    "DecisionSpec": "bundle.contract",
    "ExchangeableClassifier": "streaming.exchange",
    "Frame": "frame",
    "MetfaError": "errors",
    "ModelContract": "bundle.contract",
    "ModelIdentity": "frame",
    "Observation": "frame",
    "PlaneClassifier": "classifier",
    "PlaneEvent": "frame",
    "Prediction": "frame",
    "Region": "bundle.contract",
    "Source": "sources",
    "StreamStatistics": "streaming.summary",
    "StreamSummary": "streaming.summary",
    "open_source": "sources",
    "read_image": "imaging.images",
    "stream": "streaming.loop",
    "stream_many": "streaming.many",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``metfa-stream --help`` need not wait for OpenCV."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
