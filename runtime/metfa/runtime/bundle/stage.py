"""Where the files of an update are written before they enter the bundle; what killed processes left there goes."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import OutputError
from ..files import make_directory, remove_empty, writing_to

if TYPE_CHECKING:
    from collections.abc import Iterator

_PREFIX = ".stage-"


@contextmanager
def staged(directory: Path) -> Iterator[Path]:
    """Yield an empty directory inside a bundle, for files that the block gives to the bundle.

    It is removed afterwards, and so is the bundle's directory if it was made here and stayed empty.

    Raises:
        OutputError: the directory cannot be written, by the block either.
    """
    with writing_to(directory):
        made = make_directory(directory)
        _remove_abandoned(directory)
        stage, lock = _make_stage(directory)
    try:
        with _writing_bundle(directory, stage):
            yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        os.close(lock)
        remove_empty(made)


def lock_directory(directory: Path, *, wait: bool) -> int:
    """Lock a directory that is still there; return the descriptor that holds the lock as long as it is open.

    Raises:
        BlockingIOError: another process holds it, and ``wait`` is false.
        FileNotFoundError: the directory is gone.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        if directory.stat().st_ino != os.fstat(descriptor).st_ino:
            raise FileNotFoundError(directory)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _make_stage(directory: Path) -> tuple[Path, int]:
    """Return a new stage, and its lock, which says that its process lives."""
    while True:
        stage = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=directory))
        with suppress(FileNotFoundError, BlockingIOError):  # where another process took it for an abandoned one
            return stage, lock_directory(stage, wait=False)


def _remove_abandoned(directory: Path) -> None:
    """Remove the stages of processes that were killed."""
    for stage in directory.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # it is in use
            lock = lock_directory(stage, wait=False)
            shutil.rmtree(stage, ignore_errors=True)
            os.close(lock)


@contextmanager
def _writing_bundle(directory: Path, stage: Path) -> Iterator[None]:
    """Name the bundle's files where those of ``stage``, which users have never seen, cannot be written."""
    try:
        with writing_to(directory):
            yield
    except OutputError as error:
        raise OutputError(
            expected=error.expected.replace(str(stage), str(directory)), received=error.received, remedy=error.remedy
        ) from None
