"""Files → the entries of a domain: by its name and content, each is an image or no medium at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metfa.runtime.errors import DataError
from metfa.runtime.files import utf8
from metfa.runtime.images import SUFFIXES

from ..listing import Entry, Listing, Skipped
from .image import ImageFile

if TYPE_CHECKING:
    from pathlib import Path

    from ..listing import Split


class Files:
    """Collects the files of one domain, and what is skipped of it."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._skipped: list[Skipped] = []
        self._patients: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def add(
        self, path: Path, *, label: str | None = None, split: Split | None = None, patient: str | None = None
    ) -> None:
        """Take in a file, or note why not.

        Args:
            path: of the file.
            label: the class of its pictures.
            split: what they are for.
            patient: whoever or whatever they show together with others; only counted, never passed on.
        """
        if not path.is_file():  # a pipe would hang whoever reads it
            self.skip(str(path), "a link that leads nowhere" if path.is_symlink() else "no file")
        elif path.suffix.lower() in SUFFIXES:
            self._entries.append(Entry(ImageFile(path), label, split, patient and self.count(patient)))
        else:
            self.skip(str(path), "no image")

    def count(self, patient: str) -> str:
        """Return what stands for a patient in this domain: his number in the order of appearance."""
        return self._patients.setdefault(patient, f"patient {len(self._patients) + 1}")

    def skip(self, name: str, reason: str) -> None:
        """Note that something is not used."""
        self._skipped.append(Skipped(utf8(name), reason))

    def listing(self, name: str) -> Listing:
        """Return what was collected.

        Raises:
            DataError: nothing was.
        """
        if not self._entries:
            skipped = self._skipped
            raise DataError(
                expected=f"images in {name}",
                received=f"none that can be used: {skipped[0].name} is skipped ({skipped[0].reason})"
                + (f", and so are {len(skipped) - 1} more" if len(skipped) > 1 else "")
                if skipped
                else "none",
                remedy="correct that, or name another folder or table",
            )
        return Listing(name, tuple(self._entries), tuple(self._skipped))
