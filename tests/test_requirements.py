"""What the pinned installations hold: all that metfa asks for there, and a hash of every file."""

from __future__ import annotations

import re
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PINNED = {"cpu": ["cpu"], "cuda": ["cuda"], "tensorrt": ["tensorrt"], "jetpack6": []}
"""The files by name, with the extras that each holds beside ``web``."""

# Where each is installed: JetPack 6 has Python 3.10, the images for GPUs 3.12.
PYTHON = {"cpu": "3.10", "cuda": "3.12", "tensorrt": "3.12", "jetpack6": "3.10"}


def pins(name: str) -> dict[str, str]:
    """Return the versions that are pinned, as Linux on x86-64 installs them."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    entries = re.split(r"\n(?=\S)", re.sub(r"^ *#.*\n", "", text, flags=re.MULTILINE).strip())
    found: dict[str, str] = {}
    for entry in entries:
        requirement = Requirement(entry.partition(" \\\n")[0])
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), requirement
        if requirement.marker is None or requirement.marker.evaluate(environment(name)):
            (specifier,) = requirement.specifier
            assert specifier.operator == "=="
            found[canonicalize_name(requirement.name)] = specifier.version
    return found


def environment(name: str, extra: str = "") -> dict[str, str]:
    version = PYTHON[name]
    return {"python_version": version, "python_full_version": f"{version}.0", "sys_platform": "linux", "extra": extra}


def asked(extras: list[str], name: str) -> list[Requirement]:
    """Return what metfa with some extras asks for there."""
    return [
        each
        for each in map(Requirement, requires("metfa") or ())
        if each.marker is None or any(each.marker.evaluate(environment(name, extra)) for extra in ["", *extras])
    ]


@pytest.mark.parametrize("name", PINNED)
def test_what_metfa_asks_for_is_pinned(name: str) -> None:
    held = pins(name)
    wanted = asked([*PINNED[name], "web"], name)
    assert len(wanted) > len(asked([], name))
    assert {each.name: held.get(canonicalize_name(each.name)) for each in wanted if not fits(each, held)} == {}


def fits(requirement: Requirement, held: dict[str, str]) -> bool:
    version = held.get(canonicalize_name(requirement.name))
    return version is not None and requirement.specifier.contains(version)


def test_every_file_is_made_by_the_script() -> None:
    script = (ROOT / "requirements" / "compile.sh").read_text()
    assert re.findall(r"^pin (\w+) ", script, re.MULTILINE) == list(PINNED)
    assert {path.stem for path in (ROOT / "requirements").glob("*.txt")} == set(PINNED)
