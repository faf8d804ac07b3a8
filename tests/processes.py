"""Processes that have PyTorch and metfa loaded when they start, which takes each of them seconds otherwise.

They are forks of an interpreter that has done nothing but import, so that each is as one that was just started.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import select
import socket
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_LOADED = ("torch", "lightning_fabric", "metfa.training.run", "metfa.training.tuning.study", "metfa.export.artefacts")
_MAX_REQUEST = 2**20
_SERVE = "import sys; from tests.processes import serve; serve(int(sys.argv[1]))"


class Process:
    """A fork that runs some code. What it prints is read when it has ended."""

    def __init__(self, replies: socket.socket, files: Sequence[Path]) -> None:
        self._replies, self._files = replies, files
        self.pid = self._receive()

    def _receive(self) -> int:
        reply = self._replies.recv(32)
        assert reply, "the interpreter that forks has ended"
        return int(reply)

    def runs(self) -> bool:
        """Return whether it has not ended yet."""
        return not select.select([self._replies], [], [], 0)[0]

    def wait(self) -> subprocess.CompletedProcess[str]:
        """Wait until it ends; the code it ends with is negative where a signal ended it."""
        with self._replies:
            code = self._receive()
        return subprocess.CompletedProcess((), code, *(file.read_text() for file in self._files))


class Interpreter:
    """Starts processes by forking one that has everything loaded."""

    def __init__(self, requests: socket.socket, folder: Path) -> None:
        self._requests, self._folder = requests, folder
        self._started = 0

    def start(self, code: str, *arguments: object, **environment: str) -> Process:
        """Run Python code with these arguments in a process of its own, as ``python -c`` does."""
        self._started += 1
        files = [self._folder / f"{self._started}.{name}" for name in ("stdout", "stderr")]
        for file in files:  # which one that is killed at once has not opened
            file.touch()
        request = {
            "files": list(map(str, files)),
            "code": code,
            "arguments": [str(argument) for argument in arguments],
            "environment": {**os.environ, **environment},
            "directory": str(Path.cwd()),
        }
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            socket.send_fds(self._requests, [json.dumps(request).encode()], [theirs.fileno()])
        return Process(ours, files)

    def run(self, code: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        """The same, and wait until it ends."""
        return self.start(code, *arguments, **environment).wait()


@contextmanager
def loaded_interpreter() -> Iterator[Interpreter]:
    """Start the interpreter; it ends when it is no longer needed."""
    paths = os.pathsep.join(path for path in sys.path if path)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, tempfile.TemporaryDirectory() as folder:
        with theirs:
            server = subprocess.Popen(
                [sys.executable, "-X", "faulthandler", "-c", _SERVE, str(theirs.fileno())],
                env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        yield Interpreter(ours, Path(folder))
    server.wait()


def serve(descriptor: int) -> None:
    """Load everything and fork for each request, until there are no more."""
    for module in _LOADED:
        importlib.import_module(module)
    with socket.socket(fileno=descriptor) as requests:
        while True:
            message, descriptors, *_ = socket.recv_fds(requests, _MAX_REQUEST, 1)
            if not message:
                break
            with socket.socket(fileno=descriptors[0]) as replies:
                if os.fork() == 0:  # which waits for the process, while others are started
                    process = multiprocessing.get_context("fork").Process(target=_run, args=(json.loads(message),))
                    process.start()
                    replies.send(str(process.pid).encode())
                    process.join()
                    replies.send(str(process.exitcode).encode())
                    os._exit(0)
    with suppress(ChildProcessError):
        while True:
            os.wait()


def _run(request: dict[str, Any]) -> None:
    for standard, file in enumerate(request["files"], 1):
        with Path(file).open("wb") as opened:
            os.dup2(opened.fileno(), standard)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["directory"])
    sys.argv[1:] = request["arguments"]
    exec(request["code"], {"__name__": "__main__"})
