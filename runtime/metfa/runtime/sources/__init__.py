"""Where frames come from: a camera, a file, a URL, an OpenIGTLink server, a pipeline, standard input, the phantom."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ..command import require_extra
from ..errors import SourceError
from ..files import reading
from ..imaging.images import SUFFIXES
from ..imaging.media import files_in, is_dicom
from ..plugins import call, load
from .base import CaptureFormat, Notify, Source
from .camera import open_camera
from .folder import Folder
from .gstreamer import open_pipeline
from .images import Images
from .late import LateSource
from .opencv import without_credentials
from .paced import PacedSource
from .simulator import SimulatedScanner
from .stdin import StandardInput
from .stream_url import LIVE_SCHEMES, open_url
from .video import SUFFIXES as RECORDINGS
from .video import Recording

__all__ = ["CaptureFormat", "LateSource", "Notify", "PacedSource", "Source", "may_come_later", "open_source"]

_ANY = CaptureFormat()
_URL = re.compile("[a-z][a-z0-9+.-]*://", re.IGNORECASE)  # anything else is a path, whatever colons are in it
_NAMED = re.compile("([a-z][a-z0-9+.-]*):", re.IGNORECASE)
_OWN_SCHEMES = frozenset({"file", "http", "https", "igtl", *LIVE_SCHEMES})


def open_source(spec: str, wanted: CaptureFormat = _ANY, *, notify: Notify = lambda _: None) -> Source:
    """Open what ``spec`` names.

    Args:
        spec: a camera (``0`` or ``/dev/video0``), a video, image or DICOM file, a folder of images, a URL, ``-`` for
            frames on standard input, ``gst:PIPELINE`` for GStreamer, ``phantom:NAME`` for the simulated scanner
            with that profile, ``igtl://HOST:PORT/DEVICE`` for OpenIGTLink, ``dicom-listen:AE@HOST:PORT?from=AE`` for
            what scanners send, or ``NAME:…`` for what an installed package adds under that name.
        wanted: the format to ask a camera for, or that of raw frames on standard input.
        notify: told in a line when a live source is lost and when it is back, and what of a folder cannot be used.

    Raises:
        SourceError: there is no such source, it cannot be read, or it has a format of its own.
        ProfileError: there is no such scanner profile of the phantom.
        PluginError: the source that a package adds cannot be imported or opened.
    """
    if spec == "-":
        return StandardInput(wanted, notify)
    if spec.startswith("phantom:"):
        _refuse_format(spec, wanted)
        return SimulatedScanner(spec.removeprefix("phantom:"))
    if spec.startswith("gst:"):
        _refuse_format(spec, wanted)
        return open_pipeline(spec.removeprefix("gst:"), notify)
    if spec.startswith("dicom-listen:"):
        _refuse_format(spec, wanted)
        require_extra("pacs", "pydicom", "pynetdicom")
        from .dicom_listener import DicomListener

        return DicomListener(spec.removeprefix("dicom-listen:"), notify)
    if (name := _name_of_added(spec)) and (opens := load("metfa.sources", name)):
        _refuse_format(spec, wanted)
        added: Source = call("metfa.sources", name, opens, spec, notify)
        return added
    if _URL.match(spec) and not spec.lower().startswith("file://"):
        _refuse_format(spec, wanted)
        if spec.lower().startswith("igtl://"):
            from .openigtlink import open_device

            return open_device(spec, notify)
        return open_url(spec, notify)
    path = Path(unquote(urlsplit(spec).path) if _URL.match(spec) else spec)
    with reading(path):
        if spec.isdecimal() or spec.startswith("/dev/video") or path.is_char_device():  # /dev/v4l/by-id/…
            return open_camera(spec, wanted, notify)
        _refuse_format(spec, wanted)
        if path.is_dir():
            return Folder(path, filter(_may_hold_frames, files_in(path)), _open_file, notify)
        if path.is_file():
            return _open_file(path)
    raise SourceError(
        expected="a camera, a video, an image, a folder of images, a DICOM file, a URL or phantom:NAME",
        received=f"{spec!r}, which {'is a pipe, a socket or a disk' if path.exists() else 'does not exist'}",
        remedy="correct --device; what a pipe delivers goes to standard input, --device -",
    )


def may_come_later(spec: str) -> bool:
    """Return whether ``spec`` names what may be there later: a camera, a pipeline or a URL, and no file."""
    is_url = _URL.match(spec) is not None and not spec.lower().startswith("file://")
    return is_url or spec.isdecimal() or spec.startswith(("/dev/", "gst:"))


def _refuse_format(spec: str, wanted: CaptureFormat) -> None:
    if wanted != _ANY:
        raise SourceError(
            expected="a camera, or - for standard input, with --size, --rate or --format",
            received=f"{without_credentials(spec)!r}, which has a format of its own",
            remedy="leave them out",
        )


def _name_of_added(spec: str) -> str | None:
    """Return the name before a colon, unless it is that of metfa's own sources, or the colon is in a file's name."""
    named = _NAMED.match(spec)
    if named is None or named[1].lower() in _OWN_SCHEMES:
        return None
    try:
        return None if Path(spec).exists() else named[1]
    except OSError:  # a URL that is too long for a file's name
        return named[1]


def _may_hold_frames(path: Path) -> bool:
    """Return whether a file of a folder is worth opening: what is no image, recording or DICOM is left alone."""
    try:
        return path.suffix.lower() in SUFFIXES | RECORDINGS or is_dicom(path)
    except OSError:  # which is told when it is opened
        return True


def _open_file(path: Path) -> Source:
    if path.suffix.lower() in SUFFIXES:
        return Images(path)
    with reading(path):
        if not is_dicom(path):
            return Recording.from_file(path)
    require_extra("dicom", "pydicom")
    from .dicom import DicomCine

    return DicomCine(path)
