"""Optuna's journal, a line of JSON for each operation, in a file that survives whatever ends the process.

Optuna's own file backend would stop at a line that a power cut tore, and wait for a lock that a killed process held.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from optuna.storages.journal import BaseJournalBackend

from metfa.runtime.errors import StudyError
from metfa.runtime.files import writing_to

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO


class Journal(BaseJournalBackend):
    """A journal that no other process writes to; see :func:`open_journal`."""

    def __init__(self, path: Path, operations: list[dict[str, Any]]) -> None:
        self._path = path
        self._operations = operations

    def read_logs(self, log_number_from: int) -> list[dict[str, Any]]:
        """Return the operations from that number on."""
        return self._operations[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add operations; they are on the disk afterwards.

        Raises:
            OutputError: the file cannot be written.
        """
        lines = [json.dumps(operation, separators=(",", ":")) + "\n" for operation in logs]
        with writing_to(self._path), self._path.open("ab") as file:
            file.write("".join(lines).encode())
            file.flush()
            os.fsync(file.fileno())
        # As the next start would read them: with keys that are text.
        self._operations += [json.loads(line) for line in lines]


@contextmanager
def open_journal(path: Path) -> Iterator[Journal]:
    """Yield the journal in ``path``, which is made where there is none; it is this process's until the block ends.

    Raises:
        OutputError: the file cannot be written.
        StudyError: it is damaged, or another process has it.
    """
    with writing_to(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b")
    with file:
        _lock(file, path)
        with writing_to(path):
            file.seek(0)
            content = file.read()
            whole = content[: content.rfind(b"\n") + 1]
            file.truncate(len(whole))  # the last line may have been cut off
        yield Journal(path, [_parse(line, number, path) for number, line in enumerate(whole.splitlines(), 1)])


def _lock(file: BinaryIO, path: Path) -> None:
    """Take the lock, which the system gives back however the process ends."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StudyError(
            expected=f"a study that no other process runs in {path.parent}",
            received="one that is being run",
            remedy="wait for it, or name another directory with --study",
        ) from None


def _parse(line: bytes, number: int, path: Path) -> dict[str, Any]:
    try:
        operation = json.loads(line)
    except ValueError:
        operation = None
    if not isinstance(operation, dict):
        raise StudyError(
            expected=f"a JSON object in line {number} of {path}",
            received=repr(line[:40])[1:],
            remedy="restore the file, or delete it to begin the study anew",
        )
    return operation
