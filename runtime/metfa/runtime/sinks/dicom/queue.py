"""Files that wait until they are delivered, in a directory that survives the process."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from ...errors import OutputError
from ...files import make_directory, replacing, writing_to
from ...lock import lock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .documents import Document

MAX_BYTES = 2 << 30
"""What may wait for a peer: some 700 planes of 1280x720 pixels."""

_REFUSED = "refused"
_SUFFIX = ".dcm"


class Queue:
    """Documents that wait, in the order of their names; several processes may add to it, and one delivers.

    The directory belongs to its user alone, as it holds images of patients. Files are whole or not there.

    Args:
        directory: made if it is missing.
        max_bytes: what may wait in it.

    Raises:
        OutputError: the directory cannot be written.
    """

    def __init__(self, directory: Path, max_bytes: int = MAX_BYTES) -> None:
        self.directory = directory
        self.refused = directory / _REFUSED
        self._max_bytes = max_bytes
        with writing_to(directory):
            make_directory(directory)
            directory.chmod(0o700)
            self.refused.mkdir(exist_ok=True)

    def put(self, document: Document) -> None:
        """Let a document wait: its image, then its report.

        Raises:
            OutputError: there is no room for it, or it cannot be written.
        """
        with writing_to(self.directory):
            used = sum(map(_size, (*self.waiting(), *_files(self.refused))))
        if used + len(document.image) + len(document.report) > self._max_bytes:
            raise OutputError(
                expected=f"at most {self._max_bytes / 1e9:.1f} GB in {self.directory}",
                received="a queue that is full",
                remedy="bring the peer back, or move what is in it",
            )
        write(self.directory, document)

    def waiting(self) -> list[Path]:
        """Return the files that wait, in their order."""
        return _files(self.directory)

    def refuse(self, path: Path) -> None:
        """Put a file aside that the peer will never take."""
        path.rename(self.refused / path.name)

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Yield whether nobody else delivers until the block ends."""
        try:
            descriptor = lock(self.directory, wait=False)
        except (BlockingIOError, FileNotFoundError):  # another stream delivers
            yield False
            return
        except OSError:  # network file systems that lock no directories: an object may be sent twice, which is harmless
            yield True
            return
        try:
            yield True
        finally:
            os.close(descriptor)


def write(directory: Path, document: Document) -> None:
    """Write the two files of a document, whole or not at all.

    Raises:
        OutputError: they cannot be written.
    """
    with (
        replacing(directory / f"{document.name}-report{_SUFFIX}") as report,
        replacing(directory / f"{document.name}-image{_SUFFIX}") as image,
    ):
        image.write_bytes(document.image)
        report.write_bytes(document.report)


def _size(path: Path) -> int:
    with suppress(FileNotFoundError):  # it was delivered meanwhile
        return path.stat().st_size
    return 0


def _files(directory: Path) -> list[Path]:
    """Return the whole files of a directory; those that are being written begin with a dot."""
    with suppress(FileNotFoundError):
        return sorted(path for path in directory.glob(f"*{_SUFFIX}") if not path.name.startswith("."))
    return []
