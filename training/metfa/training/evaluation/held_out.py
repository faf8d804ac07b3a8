"""The labelled frames that a bundle is evaluated on: none that it was trained on, as far as the bundle tells."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from metfa.runtime.bundle import records
from metfa.runtime.bundle.contract import Roi
from metfa.runtime.errors import BundleError, DataError

from ..config import CONFIG
from ..data.decoding import Preparation
from ..data.listing import Skipped
from ..data.prepared import read_domain
from ..data.readers import list_domain
from ..data.spelling import did_you_mean
from ..data.split_record import seen_in_training
from ..data.store import FrameStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from metfa.runtime.bundle.directory import Bundle

    from ..data.listing import Entry


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Labelled frames of one domain.

    Attributes:
        name: the domain, as the user named it.
        split: ``test``, what the run or the domain itself held out for testing, or ``all``, every image.
        region: the part of its pictures that was kept; ``auto`` for the sector, None for all of it.
        store: the frames.
        seen: how many more were left out, as the bundle was trained or validated on these pictures.
        skipped: what could not be used.
    """

    name: str
    split: Literal["test", "all"]
    region: Roi
    store: FrameStore
    seen: int
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True, slots=True)
class _Training:
    """What a run kept of the pictures of its domains; these fields of the bundle's configuration."""

    source: str
    target: str
    source_region: Roi
    target_region: Roi


def read_held_out(bundle: Bundle, specification: str, *, region: Roi | Literal["contract"] = "contract") -> HeldOut:
    """Read labelled frames for a bundle, prepared as its contract says.

    They are the test split of a domain that comes split, else all its images; without those that the bundle was trained
    or validated on, which its record of the split knows by their pixels, whatever they are called now.

    Args:
        bundle: the bundle.
        specification: a domain.
        region: the part of the pictures to keep; ``contract`` for the one that training kept of this domain, and of
            another domain for the contract's.

    Raises:
        BundleError: the bundle's record of its training is damaged.
        DataError: there are no such images, they are not labelled, they show a class that the model does not know, or
            the bundle was trained on all of them.
        SourceError: a folder or a table cannot be read.
        ProfileError: there is no such phantom profile.
        OutputError: the cache of prepared frames cannot be written.
    """
    region = _usual_region(bundle, specification) if region == "contract" else region
    contract = bundle.contract
    listing = list_domain(specification)
    comes_split = any(entry.split for entry in listing.entries)
    scored = [entry for entry in listing.entries if entry.split == "test" or not comes_split]
    _require_known(specification, scored, contract.labels)
    domain = read_domain(listing, Preparation(contract.input.height, contract.input.width, region))
    rows = domain.rows("test") if comes_split else np.arange(len(domain.labels))
    seen = seen_in_training(bundle, domain)[rows]
    if seen.all():
        raise DataError(
            expected=f"images in {specification} to test on",
            received=f"{len(rows)}, all of which the bundle was trained on" if len(rows) else "none",
            remedy="name images that are not in --source or --target of its training",
        )
    return HeldOut(
        specification,
        "test" if comes_split or seen.any() else "all",
        region,
        domain.store(rows[~seen], contract.labels),
        int(seen.sum()),
        domain.skipped,
    )


def _require_known(specification: str, scored: Sequence[Entry], known: tuple[str, ...]) -> None:
    """Make sure that images are labelled with classes that a model knows."""
    if any(entry.label is None for entry in scored):
        raise DataError(
            expected=f"one folder of images per class in {specification}",
            received="images without class folders",
            remedy="sort the images into folders that are named like the model's classes",
        )
    unknown = sorted({label for entry in scored for label in entry.classes} - set(known))
    if unknown:
        raise DataError(
            expected=f"the classes of the model ({', '.join(known)}) in {specification}",
            received=", ".join(unknown),
            remedy=f"{did_you_mean(unknown[0], known)}name the classes as the model does, "
            "and leave out images of others",
        )


def _usual_region(bundle: Bundle, specification: str) -> Roi:
    """Return the region that training kept of this domain, and of another the contract's."""
    training = _read_training(bundle)
    if training and _same(specification, training.source):
        return training.source_region
    if training and _same(specification, training.target):
        return training.target_region
    return bundle.contract.input.region


def _same(one: str, other: str) -> bool:
    """Return whether two specifications name the same domain, relative to the same directory."""
    return one == other or Path(one).resolve() == Path(other).resolve()


def _read_training(bundle: Bundle) -> _Training | None:
    """Return what the bundle tells of its training; None where it was not trained but holds published weights."""
    if CONFIG not in bundle.files:
        return None
    text = bundle.read(CONFIG)
    with suppress(ValueError):  # from_json says what is wrong
        document = json.loads(text)
        if isinstance(document, dict):
            names = {field.name for field in fields(_Training)}
            text = json.dumps({name: value for name, value in document.items() if name in names}).encode()
    return records.from_json(
        _Training,
        text,
        origin=str(bundle.directory / CONFIG),
        remedy="make the bundle again with metfa-train",
        error=BundleError,
    )
