"""GStreamer pipelines, where OpenCV was built with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2

from ..errors import SourceError
from ..files import utf8
from .live import LiveSource
from .opencv import OpenCVConnection, without_credentials

if TYPE_CHECKING:
    from .base import Notify


def has_gstreamer() -> bool:
    """Return whether this OpenCV has GStreamer; from OpenCV 5 on it also lists plug-ins that are not there."""
    return bool(cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER))


def open_pipeline(pipeline: str, notify: Notify) -> LiveSource:
    """Open a pipeline that ends in an ``appsink`` of BGR pictures, or of grey ones from 0 to 255.

    GStreamer leaves grey of limited range as it is, so BGR is what to ask for.

    Raises:
        SourceError: this OpenCV has no GStreamer, or the pipeline does not run.
    """
    if not has_gstreamer():
        raise SourceError(
            expected="an OpenCV with GStreamer for gst:…",
            received=f"OpenCV {cv2.__version__} without it, like all from PyPI",
            remedy="use that of the system (python3-opencv of JetPack or Debian), or name a device or URL instead",
        )

    shown = without_credentials(pipeline)

    def connect() -> OpenCVConnection:
        capture = cv2.VideoCapture(utf8(pipeline), cv2.CAP_GSTREAMER)
        if not capture.isOpened():
            raise SourceError(
                expected=f"frames from the pipeline {shown!r}",
                received="none",
                remedy="try it with gst-launch-1.0; it must end in: videoconvert ! video/x-raw,format=BGR ! appsink",
            )
        return OpenCVConnection(capture, f"pipeline {shown}")

    return LiveSource("gst", connect, notify)
