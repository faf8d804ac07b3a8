"""DICOM programs of others: those of DCMTK, and dciodvfy of dicom3tools."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


def program(name: str) -> str:
    """Return the path of a program; skip the test where it is not installed."""
    for place in os.get_exec_path():
        path = shutil.which(name, path=place)
        if path and not Path(path).read_bytes().startswith(b"#!"):  # a script is pynetdicom's of the same name
            return path
    pytest.skip(f"needs {name} of the package {'dicom3tools' if name == 'dciodvfy' else 'dcmtk'}")


def errors_in(path: Path) -> list[str]:
    """Return what dciodvfy finds wrong with a file."""
    result = subprocess.run([program("dciodvfy"), str(path)], capture_output=True, text=True, check=False)
    lines = result.stderr.splitlines()
    assert any(line in {"SCImage", "EnhancedSR"} for line in lines), lines
    return [line for line in lines if line.startswith("Error")]


def report_in(path: Path) -> str:
    """Return the text of a structured report, as DCMTK reads it."""
    result = subprocess.run([program("dsrdump"), str(path)], capture_output=True, encoding="utf-8", check=True)
    return result.stdout


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


class Archive:
    """storescp, which keeps what it gets in a directory."""

    def __init__(self, directory: Path, *options: str, port: int | None = None) -> None:
        self.port = port or free_port()
        self.directory = directory
        directory.mkdir(exist_ok=True)
        command = [program("storescp"), *options, "-aet", "PACS", "-od", str(directory), str(self.port)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while True:
            assert self._process.poll() is None, "storescp ended"
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            time.sleep(0.01)

    @property
    def received(self) -> list[Path]:
        return sorted(self.directory.iterdir())

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
