"""Which sources a stream is given, and what each is called."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from ..errors import SourceError
from ..files import reading

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


class Device(NamedTuple):
    """A source as the user names it.

    Attributes:
        spec: what :func:`~metfa.runtime.sources.open_source` takes.
        name: in messages and metrics; empty where it is the only source.
    """

    spec: str
    name: str = ""

    @property
    def file_name(self) -> str:
        """The name, of letters that file names may have."""
        return re.sub(r"[^\w.-]+", "-", self.name).strip("-.")


def all_devices(specs: Sequence[str], file: Path | None) -> list[Device]:
    """Return the devices that are named one by one, which their numbers name, and those of a file.

    Args:
        specs: of devices.
        file: one a line, as ``NAME = SPEC`` or ``SPEC``; empty lines and those that begin with ``#`` say nothing.

    Raises:
        SourceError: the file cannot be read or names none, or two devices have the same name.
    """
    named = [*(("", spec) for spec in specs), *(_read(file) if file is not None else ())]
    devices = [Device(spec, name or str(number)) for number, (name, spec) in enumerate(named, 1)]
    if len(devices) == 1 and not named[0][0]:
        return [devices[0]._replace(name="")]
    times = Counter(device.file_name.casefold() for device in devices)
    alike = [device.name for device in devices if not device.file_name or times[device.file_name.casefold()] > 1]
    if alike:
        raise SourceError(
            expected="names of devices that differ in letters or digits",
            received=" and ".join(map(repr, alike)),
            remedy="change the names in the file of --devices",
        )
    if [device.spec for device in devices].count("-") > 1:
        raise SourceError(
            expected="one source on the standard input",
            received="two",
            remedy="leave out --device -, or read a named pipe with gst:",
        )
    return devices


def _read(path: Path) -> Iterator[tuple[str, str]]:
    with reading(path):
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            lines = ["\0"]
    lines = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
    if not lines or any("\0" in line for line in lines):
        raise SourceError(
            expected=f"a text file {path} with a device in each line",
            received="no text" if lines else "no device",
            remedy="write lines such as: left room = /dev/video0",
        )
    for line in lines:
        name, equals, spec = line.partition(" = ")  # with the spaces, as URLs have others
        yield (name.strip(), spec.strip()) if equals else ("", line)
