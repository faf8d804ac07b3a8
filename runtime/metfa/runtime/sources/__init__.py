"""Where frames come from: a camera, a video, a folder of images, a URL, the phantom."""

from __future__ import annotations

from pathlib import Path

from ..errors import SourceError
from ..images import SUFFIXES
from .base import Source, reading
from .images import Images
from .simulator import SimulatedDevice
from .video import Camera, NetworkStream, VideoFile

__all__ = ["Source", "open_source"]


def open_source(spec: str) -> Source:
    """Open what ``spec`` names.

    Args:
        spec: a camera (``0`` or ``/dev/video0``), a video or image file, a folder of images, a URL, or ``phantom:NAME``
            for the simulated device with that profile.

    Raises:
        SourceError: there is no such source, or it cannot be read.
        ProfileError: there is no such device profile of the phantom.
    """
    if spec.isdecimal() or spec.startswith("/dev/"):
        return Camera(spec)
    if spec.startswith("phantom:"):
        return SimulatedDevice(spec.removeprefix("phantom:"))
    if "://" in spec:
        return NetworkStream(spec)
    path = Path(spec)
    with reading(path):
        if path.is_dir():
            return Images.in_folder(path)
        if path.exists():
            return Images.single(path) if path.suffix.lower() in SUFFIXES else VideoFile(path)
    raise SourceError(
        expected="a camera, a video, an image, a folder of images, a URL or phantom:NAME",
        received=f"{spec!r}, which does not exist",
        remedy="correct --device",
    )
