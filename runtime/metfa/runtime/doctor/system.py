"""The machine: Python, system, processor, memory, container."""

from __future__ import annotations

import os
import platform
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..benchmark.machine import instruction_sets, processor
from ..cores import available_cores
from .looks import result_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .looks import Row

_GIB = 1 << 30


def rows() -> Iterator[Row]:
    """Yield what the machine is."""
    yield "Python", result_of(_python)
    yield "system", result_of(_system)
    yield "processor", result_of(_processor)
    yield "cores", result_of(lambda: f"{available_cores()} of {os.cpu_count()} may be used")
    yield "memory", result_of(memory)
    yield "container", result_of(lambda: container_kind() or "none seen")
    yield from _jetson()


def _python() -> str:
    environment = "in a" if sys.prefix != sys.base_prefix else "in no"
    return f"{platform.python_version()}, {environment} virtual environment"


def _system() -> str:
    if sys.platform == "darwin":
        return f"macOS {platform.mac_ver()[0]}, {platform.machine()}"
    if sys.platform == "win32":
        return f"Windows {platform.version()}, {platform.machine()}"
    try:
        release = platform.freedesktop_os_release()
        distribution = f"{release['ID']} {release.get('VERSION_ID', '(no version)')}"
    except OSError:
        distribution = "unknown distribution"
    library = " ".join(platform.libc_ver()).strip() or "unknown C library"
    return f"{distribution}, Linux {platform.release()}, {library}, {platform.machine()}"


def _processor() -> str:
    sets = ", ".join(instruction_sets())
    return (processor() or platform.machine()) + (f" with {sets}" if sets else "")


def memory(described: Path = Path("/proc/meminfo")) -> str:
    """Return how much memory there is, and how much of it is free, in GiB; only Linux has it in a file."""
    if not described.exists():
        return "not known"
    fields = dict(re.findall(r"^(\w+): +(\d+) kB$", described.read_text(), re.MULTILINE))
    total, available = (int(fields[name]) * 1024 / _GIB for name in ("MemTotal", "MemAvailable"))
    return f"{total:.1f} GiB, {available:.1f} GiB available"


def container_kind(root: Path = Path("/")) -> str | None:
    """Return which kind of container this process is in; None where none is seen."""
    if (root / "run/.containerenv").exists():
        return "Podman"
    if (root / ".dockerenv").exists():
        return "Docker"
    groups = root / "proc/1/cgroup"
    kind = re.search("docker|kubepods|containerd|lxc|libpod", groups.read_text() if groups.exists() else "")
    return kind[0] if kind else None


def _jetson() -> Iterator[Row]:
    """Yield the board and the release of Jetson Linux, where this is one."""
    release = Path("/etc/nv_tegra_release")
    if release.exists():
        yield "Jetson", result_of(lambda: jetson_release(release.read_text()))


def jetson_release(text: str) -> str:
    """Return the release in ``/etc/nv_tegra_release``, such as ``Jetson Linux R36.4.3``."""
    match = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", text)
    return f"Jetson Linux R{match[1]}.{match[2]}" if match else "a release that metfa does not know"
