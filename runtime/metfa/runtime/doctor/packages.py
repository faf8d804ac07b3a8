"""The Python packages: what metfa needs, its extras, and what must not be installed together."""

from __future__ import annotations

import platform
import re
from importlib.metadata import PackageNotFoundError, requires, version
from typing import TYPE_CHECKING

from .looks import result_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .looks import Row

_FOR_CONTRIBUTORS = {"dev", "docs"}  # tools for metfa's own code and pages: no user misses them
_SAME_MODULE = (
    ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino"),
    ("opencv-python-headless", "opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless"),
)
"""Packages that overwrite each other's files."""

_NAME = re.compile(r"[\w.-]+")
_EXTRA = re.compile(r"""extra == ["']([\w-]+)["']""")
_MACHINE = re.compile(r"""platform_machine == ["'](\w+)["']""")


def libraries() -> Iterator[Row]:
    """Yield what every installation needs, imported: it may be there and not work."""
    yield "NumPy", result_of(_numpy)
    yield "OpenCV", result_of(_opencv)
    yield "PyAV", result_of(_pyav)
    for name in ("pillow", "simplejpeg", "click"):
        yield name, result_of(lambda name=name: version(name))  # type: ignore[misc]  # mypy cannot infer it
    yield from conflicts(installed_version)


def _numpy() -> str:
    import numpy as np

    return np.__version__


def _opencv() -> str:
    import cv2

    from ..sources.gstreamer import has_gstreamer

    return f"{cv2.__version__}, {'with' if has_gstreamer() else 'without'} GStreamer"


def _pyav() -> str:
    from ..sources.pyav import FFMPEG_VERSION

    return f"{version('av')}, with FFmpeg {FFMPEG_VERSION}"


def installed_version(package: str) -> str | None:
    """Return the version of a package, without importing it; None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def conflicts(find: Callable[[str], str | None]) -> Iterator[Row]:
    """Yield which packages are installed that provide the same module.

    Args:
        find: returns a package's version, or None.
    """
    for packages in _SAME_MODULE:
        installed = [name for name in packages if find(name)]
        if len(installed) > 1:
            yield "conflict", f"{' and '.join(installed)} overwrite each other; uninstall all, and install one again"


def extras() -> Iterator[Row]:
    """Yield what is installed of each extra, and what is missing."""
    yield from describe_extras(requires("metfa") or (), installed_version)


def describe_extras(requirements: Iterable[str], find: Callable[[str], str | None]) -> Iterator[Row]:
    """Yield a row for each extra; a package's version is in the first row that has it.

    Args:
        requirements: as the metadata of metfa lists them.
        find: returns a package's version, or None.
    """
    shown: set[str] = set()
    for extra, packages in _by_extra(requirements).items():
        found = {name: installed for name in packages if (installed := find(name))}
        missing = [name for name in packages if name not in found]
        new = [f"{name} {installed}" for name, installed in found.items() if name not in shown]
        shown |= found.keys()
        if missing:
            yield extra, f"no: {', '.join(missing)} missing" + (f"; there: {', '.join(new)}" if new else "")
        else:
            yield extra, f"yes: {', '.join(new)}" if new else "yes"


def _by_extra(requirements: Iterable[str]) -> dict[str, list[str]]:
    """Return the packages of each extra that this machine needs."""
    packages: dict[str, list[str]] = {}
    for requirement in requirements:
        name, extra, machine = (each.search(requirement) for each in (_NAME, _EXTRA, _MACHINE))
        if name is None or extra is None or extra[1] in _FOR_CONTRIBUTORS:
            continue
        if machine is None or machine[1] == platform.machine():
            packages.setdefault(extra[1], []).append(name[0])
    return packages
