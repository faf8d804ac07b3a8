"""What is around metfa: cameras, display, ports of its pages, cache."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..files import cache_directory
from .looks import result_of
from .system import container_kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .looks import Row

_PORTS = {"dashboard": 8080, "labelling": 8081}
"""Of this machine: where the documentation has the dashboard, and where metfa-label is by default."""

_PERMISSION = "sudo usermod -aG video $USER, and log in again"
_PERMISSION_IN_CONTAINER = "docker run --group-add $(getent group video | cut -d: -f3)"

_CAMERA_LISTS = {"darwin": "avfoundation", "win32": "dshow"}
"""What FFmpeg calls the cameras of a system that has no device files."""


def rows() -> Iterator[Row]:
    """Yield what was found around metfa."""
    yield from cameras(inside=container_kind() is not None)
    yield "display", _display()
    for page, port in _PORTS.items():
        yield page, f"port {port} is {'free' if port_is_free(port) else 'taken; name another with --serve'}"
    yield "cache", result_of(_cache)


def cameras(
    devices: Path = Path("/dev"), described: Path = Path("/sys/class/video4linux"), *, inside: bool = False
) -> Iterator[Row]:
    """Yield each camera: its device, its name and, on Linux, whether this user may open it. None is opened.

    Args:
        devices: where their device files are, on Linux.
        described: where Linux describes them.
        inside: whether this process is in a container.
    """
    if sys.platform in _CAMERA_LISTS:
        yield "cameras", result_of(partial(_listed, _CAMERA_LISTS[sys.platform]))
        return
    found = sorted(devices.glob("video[0-9]*"), key=lambda path: (len(path.name), path.name))
    if not found:
        given = "; a container has to be given it: docker run --device /dev/video0" if inside else ""
        yield "cameras", f"none: there is no {devices / 'video0'}{given}"
    remedy = _PERMISSION_IN_CONTAINER if inside else _PERMISSION
    for path in found:
        yield f"/dev/{path.name}", result_of(partial(_camera, path, described / path.name / "name", remedy))


def _listed(listing: str) -> str:
    """Return the names of cameras, in the order in which FFmpeg lists them."""
    from ..sources.pyav import camera_names

    return ", ".join(camera_names(listing)) or "none"


def _camera(device: Path, name: Path, remedy: str) -> str:
    called = name.read_text(errors="replace").strip() if name.exists() else "of unknown name"
    if os.access(device, os.R_OK | os.W_OK):
        return f"{called}, may be opened"
    return f"{called}, may not be opened; {remedy}"


def _display() -> str:
    if sys.platform != "linux":
        return "that of the desktop"
    there = [name for name in ("DISPLAY", "WAYLAND_DISPLAY") if os.environ.get(name)]
    return f"{' and '.join(there)} set" if there else "none: neither DISPLAY nor WAYLAND_DISPLAY is set"


def port_is_free(port: int) -> bool:
    """Return whether a page can be served to browsers of this machine on a port."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def _cache() -> str:
    directory = cache_directory()
    # The value of a variable is the user's own.
    shown = "where XDG_CACHE_HOME says" if os.environ.get("XDG_CACHE_HOME") else "~/.cache/metfa"
    existing = next(path for path in (directory, *directory.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    return f"{shown}, {_size_of(directory) / 1e9:.1f} GB; {free / 1e9:.0f} GB of the disk are free"


def _size_of(directory: Path) -> int:
    """Return the bytes of the files in a folder; what another process has just removed counts nothing."""
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(folder, name)).st_size  # noqa: PTH118  # there may be many
    return total
