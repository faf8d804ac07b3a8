"""What a domain consists of before a pixel is decoded: the files that hold its pictures, and what is known of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from metfa.runtime.bundle.contract import Region

if TYPE_CHECKING:
    from collections.abc import Iterator

    from metfa.runtime.imaging.coded import Image

Split = Literal["train", "val", "test"]
Declared = Literal["patient", "recording"]
"""What a medium may say that its pictures are of."""

SPLITS: tuple[Split, ...] = ("train", "val", "test")


class Medium(Protocol):
    """Something that holds pictures: an image file holds one, a recording or a DICOM cine many."""

    @property
    def name(self) -> str:
        """What messages and reports call it; never a patient's name."""
        ...

    def identity(self) -> str:
        """Return what changes when its pictures do.

        Raises:
            SourceError: it cannot be read.
        """
        ...

    def read(self) -> Iterator[Image]:
        """Yield its pictures in order, each uint8 [H, W] or [H, W, 3] (BGR), or of a video.

        Raises:
            SourceError: it cannot be decoded, or not to its end.
        """
        ...


@dataclass(frozen=True, slots=True)
class Entry:
    """One medium of a domain.

    Attributes:
        medium: how to get its pictures.
        label: the class of all of them, or the classes of one after another; None where they are not labelled.
        split: what they are for; None where the domain does not come split.
        group: a patient or a recording, which no split divides, as its kind and a number: ``patient 3``. None where
            nothing is known. Never a patient's name or number: patients are counted.
        region: the part of its pictures that holds the ultrasound, where the medium itself says so.
    """

    medium: Medium
    label: str | tuple[str, ...] | None
    split: Split | None
    group: str | None
    region: Region | None = None

    @property
    def classes(self) -> frozenset[str]:
        """The classes that its pictures are labelled with."""
        return frozenset({self.label} if isinstance(self.label, str) else self.label or ())

    def class_of(self, position: int) -> str | None:
        """Return the class of one of its pictures."""
        return self.label[position] if isinstance(self.label, tuple) else self.label

    @property
    def declared(self) -> Declared | None:
        """The kind of the group."""
        return None if self.group is None else "patient" if self.group.startswith("patient ") else "recording"


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something that was named and is not used.

    Attributes:
        name: of the medium, the row or the picture.
        reason: in a few words.
    """

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Listing:
    """The media of a domain.

    Attributes:
        name: how the user named the domain.
        entries: its media, in an order that is the same on every run.
        skipped: what was named and is not among them.
    """

    name: str
    entries: tuple[Entry, ...]
    skipped: tuple[Skipped, ...]

    @property
    def classes(self) -> frozenset[str]:
        """The classes that any of its pictures are labelled with."""
        return frozenset().union(*(entry.classes for entry in self.entries))
