"""Where frames come from: a camera, a video, images, a DICOM cine, a URL, the phantom."""

from __future__ import annotations

from pathlib import Path

from ..command import require_extra
from ..errors import SourceError
from ..files import reading
from ..images import SUFFIXES
from .base import Source
from .images import Images
from .simulator import SimulatedDevice
from .video import Camera, NetworkStream, VideoFile

__all__ = ["Source", "open_source"]


def open_source(spec: str) -> Source:
    """Open what ``spec`` names.

    Args:
        spec: a camera (``0`` or ``/dev/video0``), a video, image or DICOM file, a folder of images, a URL, or
            ``phantom:NAME`` for the simulated device with that profile.

    Raises:
        SourceError: there is no such source, or it cannot be read.
        ProfileError: there is no such device profile of the phantom.
    """
    if spec.isdecimal() or spec.startswith("/dev/video"):
        return Camera(spec)
    if spec.startswith("phantom:"):
        return SimulatedDevice(spec.removeprefix("phantom:"))
    if "://" in spec:
        return NetworkStream(spec)
    path = Path(spec)
    with reading(path):
        if path.is_char_device():  # /dev/v4l/by-id/…
            return Camera(spec)
        if path.is_dir():
            return Images.in_folder(path)
        if path.suffix.lower() in SUFFIXES and path.exists():
            return Images.single(path)
        if path.exists():
            return _open_dicom(path) if _is_dicom(path) else VideoFile(path)
    raise SourceError(
        expected="a camera, a video, an image, a folder of images, a DICOM file, a URL or phantom:NAME",
        received=f"{spec!r}, which does not exist",
        remedy="correct --device",
    )


def _is_dicom(path: Path) -> bool:
    if path.suffix.lower() in {".dcm", ".dicom"}:
        return True
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _open_dicom(path: Path) -> Source:
    require_extra("dicom", "pydicom")
    from .dicom import DicomCine

    return DicomCine(path)
