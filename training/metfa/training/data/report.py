"""What a run is about to be trained on: images and groups by class and split, and what was skipped."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from metfa.runtime.files import utf8
from metfa.runtime.text import aligned

from .listing import SPLITS, Declared
from .prepared import PreparedDomain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..config import TrainingConfig
    from .pair import DomainPair

SCHEMA = 4
"""Version of the fields of :class:`DataReport`."""

DATA = "data.json"
"""The file of a bundle that holds its :class:`DataReport`."""

GroupKind = Literal[Declared, "joined", "near-duplicates", "single"]

GROUP_NAMES: Mapping[GroupKind, tuple[str, str]] = {
    "patient": ("patient", "patients"),
    "recording": ("recording", "recordings"),
    "joined": (
        "set of patients or recordings that share near-duplicates",
        "sets of patients or recordings that share near-duplicates",
    ),
    "near-duplicates": ("near-duplicate set", "near-duplicate sets"),
    "single": ("single image", "single images"),
}
"""What a group is called, alone and where there are several. What is joined by near-duplicates may be one patient."""

UNLABELLED_CLASS = "without label"
SHOWN = 3
"""So many of the files that were skipped for one reason are printed by name."""


@dataclass(frozen=True, slots=True)
class Count:
    """How many there are.

    Attributes:
        images: pictures.
        groups: patients, recordings or sets of near-duplicates that they are of.
    """

    images: int
    groups: int


@dataclass(frozen=True, slots=True)
class DomainReport:
    """What a domain consists of.

    Attributes:
        classes: by class and split, how many images of how many groups; those without a label are a class of their own.
        groups: how many there are, by kind.
        divided: how many of them are in more than one split, as the domain came split like this.
        recordings_divided: whether pictures of one recording were divided, as there are too few recordings.
        patients_unknown: whether no patient or recording is named, so that held-out images may be of patients that are
            trained on, and scores too good; not where nothing is scored, or where each image is simulated.
        skipped: how many files could not be used, by reason.
    """

    classes: dict[str, dict[str, Count]]
    groups: dict[GroupKind, int]
    divided: int
    recordings_divided: bool
    patients_unknown: bool
    skipped: dict[str, int]


@dataclass(frozen=True, slots=True)
class DataReport:
    """What a run is trained on.

    Attributes:
        schema: version of these fields.
        source: the labelled domain; None where its images were not there.
        target: the domain to adapt to.
        labelled: how many images of the target with labels were learnt from, by class.
    """

    schema: int
    source: DomainReport | None
    target: DomainReport
    labelled: dict[str, int]


def report(pair: DomainPair) -> DataReport:
    """Count what the domains of a run consist of."""
    labelled = Counter(label for label in pair.labelled.labels if label is not None) if pair.labelled else {}
    return DataReport(
        SCHEMA,
        _count(pair.source) if isinstance(pair.source, PreparedDomain) else None,
        _count(pair.target),
        {label: labelled[label] for label in pair.labels if label in labelled},
    )


def _count(domain: PreparedDomain) -> DomainReport:
    members: dict[str, dict[str, list[int]]] = {}
    splits_of: dict[int, set[str]] = {}
    for label, part, group in zip(domain.labels, domain.splits, domain.groups.tolist(), strict=True):
        of_class = members.setdefault(UNLABELLED_CLASS if label is None else label, {name: [] for name in SPLITS})
        of_class[str(part)].append(group)
        splits_of.setdefault(group, set()).add(str(part))
    groups = count_groups(domain)
    named = any(kind in groups for kind in ("patient", "recording", "joined"))
    return DomainReport(
        classes={
            label: {part: Count(len(groups), len(set(groups))) for part, groups in members[label].items()}
            for label in sorted(members, key=lambda label: (label == UNLABELLED_CLASS, label))
        },
        groups=groups,
        divided=sum(len(parts) > 1 for parts in splits_of.values()),
        recordings_divided=domain.divides_recordings,
        patients_unknown=bool(domain.classes) and not named and not domain.name.startswith("phantom:"),
        skipped=dict(sorted(Counter(each.reason for each in domain.skipped).items())),
    )


def count_groups(domain: PreparedDomain) -> dict[GroupKind, int]:
    """Count groups by what makes them one; a domain whose recordings are divided has near-duplicates alone."""
    images = Counter(domain.groups.tolist())
    declared: dict[int, dict[str, Declared]] = {group: {} for group in images}
    if not domain.divides_recordings:
        for medium, group in zip(domain.pictures.media.tolist(), domain.groups.tolist(), strict=True):
            entry = domain.entries[medium]
            if entry.group is not None and entry.declared is not None:
                declared[group][entry.group] = entry.declared

    def kind(group: int) -> GroupKind:
        if len(declared[group]) > 1:
            return "joined"
        if declared[group]:
            return next(iter(declared[group].values()))
        return "near-duplicates" if images[group] > 1 else "single"

    found = Counter(map(kind, images))
    return {each: found[each] for each in GROUP_NAMES if found[each]}


def describe_groups(groups: Mapping[GroupKind, int]) -> str:
    """Return how many groups there are, and of what: ``902 groups: 640 patients, 262 near-duplicate sets``."""
    total = sum(groups.values())
    each = ", ".join(f"{count} {GROUP_NAMES[kind][count > 1]}" for kind, count in groups.items())
    return f"{total} group{'' if total == 1 else 's'}: {each}"


def describe(pair: DomainPair) -> Iterator[str]:
    """Yield the lines that tell the user what the run is about to be trained on."""
    counted = report(pair)
    for role, domain, of_domain in (("source", pair.source, counted.source), ("target", pair.target, counted.target)):
        if not isinstance(domain, PreparedDomain) or of_domain is None:
            assert pair.config.origin
            yield (
                f"source {utf8(domain.name)}: no images, as what {pair.config.origin.path} knows of its "
                f"{len(pair.labels)} classes stands for them"
            )
            continue
        yield f"{role} {utf8(domain.name)}: {len(domain.labels)} images of {describe_groups(of_domain.groups)}"
        yield from _table(of_domain)
        if of_domain.divided:
            yield (
                f"  {of_domain.divided} of these groups in more than one split, as the data come split like this: "
                "held-out images are no strangers"
            )
        if of_domain.patients_unknown:
            yield (
                "  no patient is named: held-out images may be of patients that are trained on, and scores too good; "
                "name them in a table (docs/data.md)"
            )
        if of_domain.recordings_divided:
            yield "  too few recordings to hold one out: their images are divided, near-duplicates kept together"
        yield from _few_of_source(of_domain, pair.config) if role == "source" else _few_of_target(pair)
        yield from _skipped(domain)
    if pair.labelled:
        yield from _labelled(pair.labelled, pair.target, counted.labelled)


def _skipped(domain: PreparedDomain) -> Iterator[str]:
    """Yield what could not be used, and why."""
    for reason, count in sorted(Counter(each.reason for each in domain.skipped).items()):
        yield f"  skipped {count}: {reason}"
        names = [each.name for each in domain.skipped if each.reason == reason]
        yield from (f"    {name}" for name in names[:SHOWN])
        if count > SHOWN:
            yield f"    and {count - SHOWN} more"


def _labelled(labelled: PreparedDomain, target: PreparedDomain, counts: Mapping[str, int]) -> Iterator[str]:
    """Yield how many labelled images of the target are learnt from."""
    each = ", ".join(f"{utf8(label)} {count}" for label, count in counts.items())
    yield f"labelled target {utf8(labelled.name)}: {sum(counts.values())} images that are learnt from: {each}"
    elsewhere = int(np.count_nonzero(~labelled.held_by(target)))
    if elsewhere:
        yield (
            f"  {elsewhere} of these are not among the images of {utf8(target.name)}: "
            "make sure that nothing of the same patients is tested on"
        )
    yield from _skipped(labelled)


def _few_of_source(of_domain: DomainReport, config: TrainingConfig) -> Iterator[str]:
    """Yield a warning for each thing that the source has too little of."""
    size = config.images_of_each_class(len(of_domain.classes))
    few = {label: n for label, parts in of_domain.classes.items() if (n := parts["train"].images) < size}
    if few:
        named = ", ".join(f"{utf8(label)} ({n})" for label, n in few.items())
        yield (
            f"  warning: fewer training images than the {size} of each class in a batch, which repeats them: {named}; "
            f"{_more_or_fewer('images', min(few.values()))}"
        )
    for part, kind, lacking in (("val", "validation", "the choice of the model"), ("test", "test", "the scores")):
        without = [utf8(label) for label, parts in of_domain.classes.items() if not parts[part].images]
        if without:
            yield (
                f"  warning: no {kind} images, so that {lacking} cannot tell of them: {', '.join(without)}; "
                "add some, or leave out what divides the images, to have them split"
            )


def _few_of_target(pair: DomainPair) -> Iterator[str]:
    """Yield a warning where the target has less than a batch; only its frames are counted."""
    classes = len(pair.labels)
    frames, size = len(pair.target.rows("train")), pair.config.images_of_each_class(classes) * classes
    if frames < size:
        yield (
            f"  warning: {frames} training frames, fewer than the {size} in a batch, which repeats them; "
            f"{_more_or_fewer('frames of the scanner', frames // classes)}"
        )


def _more_or_fewer(what: str, enough: int) -> str:
    """Return what to do where a batch would need to have at most ``enough`` images of each class."""
    least = 2  # of --images-per-class
    return f"add {what}" + (f", or give --images-per-class {enough}" if enough >= least else "")


def _table(of_domain: DomainReport) -> Iterator[str]:
    rows = [("", *SPLITS)]
    for label, parts in of_domain.classes.items():
        rows.append((utf8(label), *(_cell(parts[part]) for part in SPLITS)))
    return aligned(rows, indent=2)


def _cell(count: Count) -> str:
    return f"{count.images} of {count.groups}" if count.images != count.groups else str(count.images)
