"""A domain whose pictures are prepared: what is known of each, which belong together, and what each is for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from metfa.runtime.bundle.contract import LABEL_RULE, is_label
from metfa.runtime.errors import DataError, SourceError

from .cache import Prepared, prepare
from .groups import join
from .listing import SPLITS, Entry, Listing, Skipped, Split
from .splits import split
from .store import UNLABELLED, FrameStore, Rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from metfa.runtime.imaging.coded import Image

    from .decoding import Preparation


@dataclass(frozen=True, slots=True, eq=False)
class PreparedDomain:
    """The pictures of one scanner, in the order of their digests: no file name and no class decides it.

    Attributes:
        name: how the user named it.
        entries: its media.
        pictures: their N pictures.
        labels: the class of each; None where it has none.
        splits: what each is for; None until that is decided.
        groups: the number of the group that each belongs to, a patient, a recording or near-duplicates; int64 [N].
        skipped: what was named and is not used.
        divides_recordings: whether pictures of one patient or recording had to be divided, as there are too few.
    """

    name: str
    entries: tuple[Entry, ...]
    pictures: Prepared
    labels: tuple[str | None, ...]
    splits: tuple[Split | None, ...]
    groups: NDArray[np.int64]
    skipped: tuple[Skipped, ...]
    divides_recordings: bool = False

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, sorted; empty where the domain is not labelled."""
        return tuple(sorted({label for label in self.labels if label is not None}))

    def divide(self, seed: int, *, by_class: bool) -> PreparedDomain:
        """Return the domain with every picture for training, validation or testing.

        What comes split keeps its split. The rest is divided by groups. A source must have enough of them. A target
        that has fewer than there are splits, as one recording is, only has its near-duplicates kept together: it is
        there to be adapted to before there is more of it.

        Args:
            seed: of the choice.
            by_class: whether labels may decide anything. A source is split class by class; a target must not be, or its
                labels would reach training.

        Raises:
            DataError: a class, or the domain, has too few groups; or labels that may decide are there for some alone.
        """
        unlabelled = self.labels.count(None)
        if by_class and 0 < unlabelled < len(self.labels):
            raise DataError(
                expected=f"a label for every image of {self.name}, or for none",
                received=f"{unlabelled} of {len(self.labels)} without",
                remedy="label those, too, or leave them out",
            )
        groups = self.groups
        divides_recordings = not by_class and None in self.splits and len(set(groups.tolist())) < len(SPLITS)
        if divides_recordings:
            groups = self.pictures.duplicates
        splits = split(self.name, groups.tolist(), self.splits, seed, labels=self.labels if by_class else None)
        return replace(self, splits=tuple(splits), groups=groups, divides_recordings=divides_recordings)

    def for_training(self) -> PreparedDomain:
        """Return the domain with every picture for training."""
        return replace(self, splits=tuple("train" for _ in self.splits))

    def held_by(self, others: PreparedDomain) -> NDArray[np.bool_]:
        """Return which pictures another domain also holds, recognised by their pixels, bool [N]."""
        held = {digest.tobytes() for digest in others.pictures.digests}
        return np.array([digest.tobytes() in held for digest in self.pictures.digests], np.bool_)

    def training_on(self, learnt: NDArray[np.bool_], parts: Sequence[Split]) -> PreparedDomain:
        """Return the divided domain with the groups of some pictures for training.

        Args:
            learnt: which pictures, bool [N].
            parts: the splits that give up their pictures of these groups.
        """
        theirs = np.isin(self.groups, self.groups[learnt]).tolist()
        splits = ("train" if moves and part in parts else part for moves, part in zip(theirs, self.splits, strict=True))
        return replace(self, splits=tuple(splits))

    def rows(self, part: Split | None) -> NDArray[np.int64]:
        """Return the pictures of a split, int64 [n]."""
        return np.flatnonzero([each == part for each in self.splits])

    def image(self, row: int) -> Image:
        """Return a picture as it was before it was prepared.

        Raises:
            SourceError: its file cannot be read any more.
        """
        medium, position = self.pictures.media[row], int(self.pictures.positions[row])
        image: Image = next(islice(self.entries[medium].medium.read(), position, None))
        return image

    def store(self, rows: NDArray[np.int64], classes: Sequence[str]) -> FrameStore:
        """Return the frames of some pictures.

        Args:
            rows: which, int64 [n].
            classes: the class names, in the order of their indices.
        """
        index = {label: number for number, label in enumerate(classes)}
        labels = [self.labels[row] for row in rows.tolist()]
        numbers = [UNLABELLED if label is None else index[label] for label in labels]
        return FrameStore(Rows(self.pictures.frames, rows), np.array(numbers, np.int64))


def read_domain(listing: Listing, preparation: Preparation, *, strict: bool = False) -> PreparedDomain:
    """Prepare the pictures of a domain, or find them in the cache; they are not split yet.

    Args:
        listing: its media.
        preparation: what to do with every picture.
        strict: whether to refuse a domain of which anything is skipped.

    Raises:
        DataError: nothing of the domain can be used, a class has a name that cannot be shown, or anything is skipped
            where ``strict`` forbids it.
        OutputError: the cache cannot be written.
    """
    _require_labels(listing)
    skipped = list(listing.skipped)
    entries: list[Entry] = []
    identities: list[str] = []
    for entry in listing.entries:
        try:
            identities.append(entry.medium.identity())
            entries.append(entry)
        except SourceError as error:  # noqa: PERF203 - one file that cannot be read does not end the others
            skipped.append(Skipped(entry.medium.name, error.received))
    pictures = prepare(listing.name, entries, identities, preparation)
    skipped += [Skipped(entries[medium].medium.name, reason) for medium, reason in pictures.failures.items()]
    if skipped and (strict or not len(pictures.media)):
        raise _refusal(listing.name, skipped, strict=strict)
    of_each = [entries[medium] for medium in pictures.media.tolist()]
    return PreparedDomain(
        name=listing.name,
        entries=tuple(entries),
        pictures=pictures,
        labels=tuple(
            entry.class_of(position) for entry, position in zip(of_each, pictures.positions.tolist(), strict=True)
        ),
        splits=tuple(entry.split for entry in of_each),
        groups=join([entry.group for entry in of_each], pictures.media.tolist(), pictures.duplicates.tolist()),
        skipped=tuple(skipped),
    )


def _require_labels(listing: Listing) -> None:
    for label in sorted(listing.classes):
        if not is_label(label):
            raise DataError(
                expected=f"classes of {listing.name} with names {LABEL_RULE}",
                received=repr(label),
                remedy="rename its folder, or correct the table",
            )


def _refusal(name: str, skipped: Sequence[Skipped], *, strict: bool) -> DataError:
    first = f"{skipped[0].name}: {skipped[0].reason}" + (f", and {len(skipped) - 1} more" if skipped[1:] else "")
    if strict:
        return DataError(
            expected=f"every file of {name} to be usable, as --strict asks",
            received=first,
            remedy="replace or remove what is named, or leave out --strict to skip it",
        )
    return DataError(
        expected=f"images in {name} that can be used",
        received=f"none ({first})",
        remedy="replace the files, or correct the region",
    )
