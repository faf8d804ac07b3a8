"""The labelled frames that a bundle is evaluated on: none that it was trained on, as far as the bundle tells."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from metfa.runtime import records
from metfa.runtime.contract import Roi
from metfa.runtime.errors import BundleError, DataError

from ..config import CONFIG
from ..data.domain import Domain, read_domain, read_items
from ..data.store import FrameStore, load_store

if TYPE_CHECKING:
    from metfa.runtime.bundle import Bundle


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Labelled frames of one domain.

    Attributes:
        name: the domain, as the user named it.
        split: ``test``, its test split, or ``all``, every image of a folder that does not come split.
        region: the part of its pictures that was kept; ``auto`` for the sector, None for all of it.
        store: the frames.
    """

    name: str
    split: Literal["test", "all"]
    region: Roi
    store: FrameStore


@dataclass(frozen=True, slots=True)
class _Training:
    """What decides which frames of which domains a run held out; these fields of the bundle's configuration."""

    source: str
    target: str
    source_region: Roi
    target_region: Roi
    seed: int


def read_held_out(bundle: Bundle, specification: str, *, region: Roi | Literal["contract"] = "contract") -> HeldOut:
    """Read labelled frames for a bundle, prepared as its contract says.

    Of a domain that the bundle was trained on, they are the test split of that run. Of another, they are its test
    split where it comes split, else all its images.

    Args:
        bundle: the bundle.
        specification: a folder, or ``phantom:A``, ``phantom:B``, ``phantom:PROFILE.json``.
        region: the part of the pictures to keep; ``contract`` for the one that training kept of this domain, and of
            another domain for the contract's.

    Raises:
        BundleError: the bundle's record of its training is damaged.
        DataError: there are no such images, they are not labelled, or they show a class that the model does not know.
        SourceError: a picture cannot be read, or the region reaches beyond it.
        ProfileError: there is no such phantom profile.
        OutputError: the cache of prepared frames cannot be written.
    """
    domain, split, usual = _choose(bundle, specification)
    region = usual if region == "contract" else region
    items = [item for item in domain.items if item.split == "test"]
    if any(item.label is None for item in items):
        raise DataError(
            expected=f"one folder of images per class in {specification}",
            received="images without class folders",
            remedy="sort the images into folders that are named like the model's classes",
        )
    contract = bundle.contract
    unknown = {str(item.label) for item in items} - set(contract.labels)
    if unknown:
        raise DataError(
            expected=f"the classes of the model ({', '.join(contract.labels)}) in {specification}",
            received=", ".join(sorted(unknown)),
            remedy="rename the class folders, or move those of other classes away",
        )
    size = contract.input
    store = load_store(domain, "test", contract.labels, height=size.height, width=size.width, region=region)
    return HeldOut(specification, split, region, store)


def _choose(bundle: Bundle, specification: str) -> tuple[Domain, Literal["test", "all"], Roi]:
    """Return the domain with the chosen pictures as its test split, what they are of it, and the usual region."""
    training = _read_training(bundle)
    # Where one folder was both, its labels decided its split as a source.
    if training and _same(specification, training.source):
        return read_domain(specification, seed=training.seed, by_class=True), "test", training.source_region
    if training and _same(specification, training.target):
        return read_domain(specification, seed=training.seed, by_class=False), "test", training.target_region
    items = read_items(specification)
    region = bundle.contract.input.region
    if any(item.split for item in items):
        return Domain(specification, tuple(items)), "test", region
    return Domain(specification, tuple(replace(item, split="test") for item in items)), "all", region


def _same(one: str, other: str) -> bool:
    """Return whether two specifications name the same domain, relative to the same directory."""
    return one == other or Path(one).resolve() == Path(other).resolve()


def _read_training(bundle: Bundle) -> _Training | None:
    """Return what the bundle tells of its training; None where it was not trained but holds published weights."""
    if CONFIG not in bundle.files:
        return None
    path = bundle.path(CONFIG)
    text = path.read_bytes()
    with suppress(ValueError):  # from_json says what is wrong
        document = json.loads(text)
        if isinstance(document, dict):
            names = {field.name for field in fields(_Training)}
            text = json.dumps({name: value for name, value in document.items() if name in names}).encode()
    return records.from_json(
        _Training, text, origin=str(path), remedy="make the bundle again with metfa-train", error=BundleError
    )
