"""Directories that belong to one process; the system gives their locks back however it ends."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import BundleError
from .files import make_directory, remove_empty, writing_to

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def writing_alone(directory: Path, *, wait: bool = False) -> Iterator[None]:
    """Make a directory where it is missing, and keep other processes from writing to it until the block ends.

    What is locked is the directory itself, so that no file stays behind. Where nothing came to be in a directory that
    was made, it goes again.

    Args:
        directory: what is written to.
        wait: until another process has done so, in place of an error.

    Raises:
        BundleError: another process writes to it.
        OutputError: it cannot be made.
    """
    with writing_to(directory):
        made = make_directory(directory)
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _lock_alone(descriptor, directory, wait=wait)
        yield
    finally:
        os.close(descriptor)
        remove_empty(made)


def _lock_alone(descriptor: int, directory: Path, *, wait: bool) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BundleError(
            expected=f"to be the only one who writes to {directory}",
            received="another command of metfa that is writing to it",
            remedy="wait for it, or name another directory with --bundle",
        ) from None
    except OSError:  # network file systems that lock no directories: better without a lock than not at all
        return


@contextmanager
def own_directory(parent: Path, prefix: str) -> Iterator[Path]:
    """Yield a new directory that goes when the block ends, or by :func:`remove_abandoned` if the process is killed.

    The parent is made where it is missing, and goes again where nothing else came to be in it.

    Raises:
        OutputError: it cannot be made.
    """
    with writing_to(parent):
        made = make_directory(parent)
        directory, descriptor = _make_own(parent, prefix)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(descriptor)
        remove_empty(made)


def _make_own(parent: Path, prefix: str) -> tuple[Path, int]:
    while True:
        directory = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        try:
            return directory, lock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (FileNotFoundError, BlockingIOError):  # another process took it for an abandoned one
            continue
        except BaseException:  # there are no locks here, or a signal came
            directory.rmdir()
            raise


def remove_abandoned(parent: Path, prefix: str) -> list[Path]:
    """Remove the directories that processes made with :func:`own_directory` before they were killed; return them."""
    removed = []
    for directory in parent.glob(f"{prefix}*"):
        with suppress(OSError):  # it is in use
            descriptor = lock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(directory, ignore_errors=True)
            os.close(descriptor)
            removed.append(directory)
    return removed


def lock(directory: Path, how: int) -> int:
    """Lock a directory that is still there; return the descriptor that holds the lock as long as it is open.

    Raises:
        BlockingIOError: another process holds it, and ``how`` says not to wait.
        FileNotFoundError: the directory is gone.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, how)
        if directory.stat().st_ino != os.fstat(descriptor).st_ino:
            raise FileNotFoundError(directory)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
