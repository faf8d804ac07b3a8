"""Domains of media that hold what a test needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.training.data.media import Held, picture

from metfa.training.data.decoding import Preparation
from metfa.training.data.listing import Entry, Listing, Medium, Skipped, Split
from metfa.training.data.prepared import PreparedDomain, read_domain

if TYPE_CHECKING:
    from collections.abc import Sequence

SMALL = Preparation(28, 30, None)


def entry(
    medium: Medium | int,
    label: str | tuple[str, ...] | None = None,
    *,
    split: Split | None = None,
    group: str | None = None,
) -> Entry:
    """An entry of a medium, or of a picture."""
    held = Held(f"{medium}.png", (picture(medium),)) if isinstance(medium, int) else medium
    return Entry(held, label, split, group)


def domain(
    entries: Sequence[Entry],
    *,
    preparation: Preparation = SMALL,
    skipped: tuple[Skipped, ...] = (),
    strict: bool = False,
) -> PreparedDomain:
    """A domain of these media."""
    return read_domain(Listing("B", tuple(entries), skipped), preparation, strict=strict)
