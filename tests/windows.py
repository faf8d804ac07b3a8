"""Runs commands in a process that has nothing of what Windows lacks, as far as metfa calls it itself.

It is a stand-in: the libraries are those of this system, and what only Windows does stays untested. As a script, the
commands, each a JSON list of a module, its command and the arguments, one after another. ::

    python windows.py '["metfa.runtime.cli", "main", "--help"]'
"""

from __future__ import annotations

import errno
import fcntl
import importlib
import json
import os
import select
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

_MISSING = {
    os: "O_CLOEXEC O_DIRECTORY O_NOCTTY O_NOFOLLOW O_NONBLOCK chown fork geteuid getuid killpg mkfifo readv "
    "sched_getaffinity set_blocking",
    signal: "SIGHUP SIGUSR1 SIGUSR2",
}
_MISSING_MODULES = ("fcntl", "pwd", "resource", "termios")
_LIBRARIES = (
    "click cv2 filelock h11 lightning_fabric numpy onnx onnxruntime onnxscript openvino PIL.Image scipy sklearn torch"
)
_TEMPORARY = 1 << 40  # no flag of this system's

_open, _close, _fsync, _select = os.open, os.close, os.fsync, select.select
_temporary: dict[int, str] = {}  # by their descriptor, the files that go when they are closed


def open_as_windows(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
    """Open a file, but no folder; with ``O_TEMPORARY`` it goes when it is closed."""
    if Path(path).is_dir():
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    descriptor = _open(path, flags & ~_TEMPORARY, mode, dir_fd=dir_fd)
    if flags & _TEMPORARY:
        _temporary[descriptor] = os.fspath(path)
    return descriptor


def close_as_windows(descriptor: int) -> None:
    """Close a file."""
    _close(descriptor)
    if path := _temporary.pop(descriptor, None):
        Path(path).unlink()


def sync_as_windows(descriptor: int) -> None:
    """Sync what may be written to."""
    if not fcntl.fcntl(descriptor, fcntl.F_GETFL) & (os.O_WRONLY | os.O_RDWR):
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    _fsync(descriptor)


def select_as_windows(reading: Any, *others: Any) -> Any:
    """Wait for sockets alone."""
    if 0 in reading:
        raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK))
    return _select(reading, *others)


def pretend() -> None:
    """Let this process be on Windows, as far as metfa can tell; libraries must be imported before."""
    for module, names in _MISSING.items():
        for name in names.split():
            delattr(module, name)
    for name in _MISSING_MODULES:
        sys.modules[name] = None  # type: ignore[assignment]  # which makes its import fail
    replaced: dict[Any, dict[str, Any]] = {
        os: {
            "O_NOINHERIT": 0,
            "O_TEMPORARY": _TEMPORARY,
            "close": close_as_windows,
            "fsync": sync_as_windows,
            "open": open_as_windows,
        },
        select: {"select": select_as_windows},
        shutil: {"_use_fd_functions": False},  # it would open folders
        signal: {"SIGBREAK": signal.SIGQUIT},
        sys: {"platform": "win32"},
    }
    for module, names_and_values in replaced.items():
        for name, value in names_and_values.items():
            setattr(module, name, value)


def main() -> None:
    """Run the commands; end with the exit code of the first that fails."""
    for library in _LIBRARIES.split():
        with suppress(ImportError):
            importlib.import_module(library)
    importlib.import_module("multiprocessing.popen_spawn_posix")
    pretend()
    for module, name, *arguments in map(json.loads, sys.argv[1:]):
        command = getattr(importlib.import_module(module), name)
        if code := command.main(arguments, standalone_mode=False):
            sys.exit(code)


if __name__ == "__main__":
    main()
