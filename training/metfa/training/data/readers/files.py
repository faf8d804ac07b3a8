"""Files → the entries of a domain: by name and content, each is an image, a recording, DICOM, or nothing to use."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from metfa.runtime.command import require_extra
from metfa.runtime.errors import DataError, SourceError
from metfa.runtime.files import reading, utf8
from metfa.runtime.imaging.images import SUFFIXES
from metfa.runtime.imaging.media import is_dicom
from metfa.runtime.sources.video import SUFFIXES as RECORDINGS

from ..listing import Entry, Listing, Skipped
from .image import ImageFile
from .recording import RATE, RecordingFile

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ..listing import Split


class Files:
    """Collects the files of one domain, and what is skipped of it.

    Args:
        rate: frames per second to take of recordings and cines.
    """

    def __init__(self, rate: float = RATE) -> None:
        self._rate = rate
        self._entries: list[Entry] = []
        self._skipped: list[Skipped] = []
        self._groups: dict[tuple[str, str], str] = {}

    def add(
        self, path: Path, *, label: str | None = None, split: Split | None = None, patient: str | None = None
    ) -> None:
        """Take in a file, or note why not.

        Args:
            path: of the file.
            label: the class of its pictures.
            split: what they are for.
            patient: whoever or whatever they show together with others; only counted, never passed on. Where nothing is
                given, DICOM files tell it themselves, and a recording stands alone.

        Raises:
            MissingExtraError: the file is DICOM, and what reads it is not installed.
        """
        suffix = path.suffix.lower()
        group = self._count("patient", patient) if patient else None
        if (reason := _unusable(path)) is not None:
            self.skip(str(path), reason)
        elif suffix in SUFFIXES:
            self._entries.append(Entry(ImageFile(path), label, split, group))
        elif suffix in RECORDINGS:
            group = group or self._count("recording", str(path))
            self._entries.append(Entry(RecordingFile(path, self._rate), label, split, group))
        else:
            try:
                self._add_dicom(path, label, split, group)
            except SourceError as error:
                self.skip(str(path), error.received)

    def _add_dicom(self, path: Path, label: str | None, split: Split | None, group: str | None) -> None:
        with reading(path):
            if not is_dicom(path):
                self.skip(str(path), "no image, recording or DICOM file")
                return
        require_extra("dicom", "pydicom")
        from .dicom import DicomFile, read_header

        header = read_header(path)
        if group is None:
            group = self._count("patient", header.patient) if header.patient else self._count("recording", str(path))
        self._entries.append(Entry(DicomFile(path, header.name, self._rate), label, split, group, header.region))

    def _count(self, kind: str, who: str) -> str:
        """Return what stands for a patient or a recording in this domain: a number in the order of appearance."""
        return self._groups.setdefault((kind, who), f"{kind} {len(self._groups) + 1}")

    def skip(self, name: str, reason: str) -> None:
        """Note that something is not used."""
        self._skipped.append(Skipped(utf8(name), reason))

    def mark(self) -> tuple[int, int]:
        """Return how many files were taken in up to now, and how many skipped."""
        return len(self._entries), len(self._skipped)

    def require_any(self, where: str, remedy: str, *, since: tuple[int, int] = (0, 0)) -> None:
        """Make sure that something was collected.

        Args:
            where: the files are.
            remedy: what to do where nothing was.
            since: a mark to count from.

        Raises:
            DataError: nothing was; the message tells what was skipped.
        """
        taken, skipped = since
        if len(self._entries) == taken:
            raise DataError(
                expected=f"images, recordings or DICOM files in {where}",
                received=_none_but(self._skipped[skipped:]),
                remedy=remedy,
            )

    def listing(self, name: str) -> Listing:
        """Return what was collected.

        Raises:
            DataError: nothing was.
        """
        self.require_any(name, "correct that, or name another folder or table")
        return Listing(name, tuple(self._entries), tuple(self._skipped))


def _none_but(skipped: Sequence[Skipped]) -> str:
    if not skipped:
        return "none"
    more = f", and so are {len(skipped) - 1} more" if len(skipped) > 1 else ""
    return f"none that can be used: {skipped[0].name} is skipped ({skipped[0].reason}){more}"


def _unusable(path: Path) -> str | None:
    """Return why a path is none of a file; a pipe, for one, would hang whoever reads it."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - of Path, it costs a third of listing a table
    except OSError as cause:
        return cause.strerror or "no file"
    except ValueError:  # of a name that no file can have
        return "no file"
    return None if stat.S_ISREG(mode) else "no file"
