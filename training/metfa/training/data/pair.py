"""The domains of a run: prepared, divided, and checked to fit each other."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from metfa.runtime.decisions.scanner_check import read_scanner_statistics
from metfa.runtime.errors import DataError

from ..config import TrainingConfig
from ..origin import open_origin
from .decoding import Preparation
from .drawn import DrawnSource
from .listing import SPLITS, Listing
from .prepared import PreparedDomain, read_domain
from .readers import list_domain, quick_classes
from .spelling import did_you_mean
from .split_record import seen_in_training

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from metfa.runtime.bundle.contract import Roi

    from ..ancestry import Origin
    from ..methods import Role
    from .listing import Skipped, Split
    from .store import FrameStore


@dataclass(frozen=True, slots=True)
class DomainPair:
    """The domains of one run.

    Attributes:
        config: the run.
        source: the labelled domain, or what stands for its images.
        target: the domain to adapt to.
        labelled: frames of the target with labels that may be learnt from, whatever their split; None for none.
        labels: the classes of all, in the order of their indices.
    """

    config: TrainingConfig
    source: PreparedDomain | DrawnSource
    target: PreparedDomain
    labelled: PreparedDomain | None
    labels: tuple[str, ...]

    def known(self) -> FrameStore | None:
        """Return the target's frames whose labels may be learnt from; None where there are none."""
        if self.labelled is None:
            return None
        return self.labelled.store(self.labelled.rows("train"), self.labels)

    def frames(self, role: Role, split: Split) -> FrameStore:
        """Return the frames of a split of a domain, with their labels."""
        domain = self.source if role == "source" else self.target
        if isinstance(domain, DrawnSource):
            return domain.store(split)
        return domain.store(domain.rows(split), self.labels)

    def source_shares(self) -> NDArray[np.float64]:
        """Return how frequent each class is among the source's training images, float [M]."""
        if isinstance(self.source, DrawnSource):
            counts = self.source.embeddings.count.numpy()
        else:
            counts = np.bincount(self.frames("source", "train").labels, minlength=len(self.labels))
        return np.asarray(counts / counts.sum(), np.float64)

    def require_target_labels(self) -> None:
        """Make sure that a method which is trained on the target's labels can be.

        Raises:
            DataError: the target has no labelled training images of a class.
        """
        remedy = "give the target class folders, or choose a method that needs no target labels, such as metfa-v"
        trained = _trained(self.target)
        if trained != set(self.labels):
            raise DataError(
                expected=f"labelled training images of every class of the target {self.target.name} "
                f"for {self.config.method}",
                received=f"none of {', '.join(sorted(set(self.labels) - trained))}"
                if self.target.classes
                else "a target without labels",
                remedy=remedy,
            )
        unlabelled = self.target.labels.count(None)
        if unlabelled:
            raise DataError(
                expected=f"a label for every image of the target {self.target.name} for {self.config.method}",
                received=f"{unlabelled} of {len(self.target.labels)} without",
                remedy=remedy,
            )


class ListedPair(NamedTuple):
    """The domains of one run, of which no picture is decoded yet.

    Attributes:
        source: None where its images are not there.
        target: the domain to adapt to.
        labelled: frames of the target with labels; None for none.
    """

    source: Listing | None
    target: Listing
    labelled: Listing | None


def list_pair(config: TrainingConfig) -> ListedPair:
    """List the domains of a run, and find out whether their classes fit: in seconds, whatever they hold.

    Raises:
        DataError: there is no such domain, nothing of it can be used, or the classes of the two do not fit.
        SourceError: a folder or a table cannot be read.
        ProfileError: there is no such phantom profile.
    """
    names = [config.target] if config.origin else [config.source, config.target]
    names += [config.labelled_target] if config.labelled_target else []
    classes = {name: quick_classes(name) for name in names}
    listings = {name: list_domain(name) for name in names if classes[name] is None}
    for name, listing in listings.items():
        classes[name] = set(listing.classes)
    named = {name: tuple(sorted(known or ())) for name, known in classes.items()}
    with _telling_what_is_skipped(*(listing.skipped for listing in listings.values())):
        source = open_origin(config.origin).contract.labels if config.origin else named[config.source]
        _require_classes(config.source, source)
        _require_same_classes(source, config.target, named[config.target])
        if config.labelled_target:
            _require_known_classes(source, config.labelled_target, named[config.labelled_target])

    def listing_of(name: str) -> Listing:
        return listings.get(name) or list_domain(name)

    return ListedPair(
        source=None if config.origin else listing_of(config.source),
        target=listing_of(config.target),
        labelled=listing_of(config.labelled_target) if config.labelled_target else None,
    )


def read_pair(config: TrainingConfig, listed: ListedPair | None = None) -> DomainPair:
    """Read the domains of a run.

    Args:
        config: the run.
        listed: what :func:`list_pair` returned for it, where it was asked.

    Raises:
        DataError: there is no such domain, nothing of it can be used, or the two do not fit each other; or anything is
            skipped where the run is strict.
        SourceError: a folder or a table cannot be read.
        ProfileError: there is no such phantom profile.
        BundleError, TrainingError: the bundle that stands for the source is not the one that it was, or has too little.
        OutputError: the cache cannot be written.
    """
    listed = listed or list_pair(config)

    def read(listing: Listing, region: Roi) -> PreparedDomain:
        return read_domain(listing, Preparation(config.height, config.width, region), strict=config.strict)

    source = read(listed.source, config.source_region) if listed.source else None
    target = read(listed.target, config.target_region)
    labelled = read(listed.labelled, config.target_region).for_training() if listed.labelled else None
    with _telling_what_is_skipped(*(domain.skipped for domain in (source, target, labelled) if domain)):
        target = target.divide(config.seed, by_class=False)
        if labelled:
            _require_one_label(labelled)
        target = _without_known(target, labelled, config.origin)
        _require_enough(target, least=2)
        if source is None:
            drawn = _drawn(config)
            _require_same_classes(drawn.classes, target.name, target.classes)
            return DomainPair(config, drawn, target, labelled, drawn.classes)
        source = source.divide(config.seed, by_class=True)
        return DomainPair(config, source, target, labelled, _labels(source, target))


def _without_known(target: PreparedDomain, labelled: PreparedDomain | None, origin: Origin | None) -> PreparedDomain:
    """Return the target without held-out images that are learnt from by their labels, or were by an earlier run.

    Raises:
        DataError: none are left to validate or to test on.
        BundleError: the earlier run's record of its images is damaged.
    """
    if labelled:
        remaining = target.training_on(target.held_by(labelled), ("val", "test"))
        _require_left(target, remaining, f"of which none is like those of {labelled.name}", "add some without labels")
        target = remaining
    if origin:
        remaining = target.training_on(seen_in_training(open_origin(origin), target), ("test",))
        remedy = "add frames of the scanner, or begin with an earlier bundle"
        _require_left(target, remaining, f"that {origin.path} was not trained on", remedy)
        target = remaining
    return target


def _require_left(target: PreparedDomain, remaining: PreparedDomain, which: str, remedy: str) -> None:
    for part, purpose in (("val", "validate"), ("test", "test")):
        if part in target.splits and part not in remaining.splits:
            raise DataError(expected=f"images to {purpose} on in {target.name} {which}", received="none", remedy=remedy)


def _drawn(config: TrainingConfig) -> DrawnSource:
    """Return what stands for the images of the source.

    Raises:
        BundleError, TrainingError: the bundle is not the one that it was, or does not hold it.
    """
    from ..inheritance import inherit_classes  # PyTorch, which listing does without

    assert config.origin is not None
    bundle = open_origin(config.origin)
    scanners = read_scanner_statistics(bundle)
    scanner = scanners.source if scanners else None
    return DrawnSource(config.source, bundle.contract.labels, inherit_classes(bundle), scanner)


@contextmanager
def _telling_what_is_skipped(*of_each: Sequence[Skipped]) -> Iterator[None]:
    """Add what is skipped, and why, to an error that may well come of it."""
    try:
        yield
    except DataError as error:
        reasons = Counter(skipped.reason for domain in of_each for skipped in domain)
        if not reasons:
            raise
        told = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
        raise DataError(
            expected=error.expected, received=f"{error.received} (skipped: {told})", remedy=error.remedy
        ) from None


def _trained(domain: PreparedDomain) -> set[str]:
    """Return the classes that a domain has training images of."""
    return {
        label for label, part in zip(domain.labels, domain.splits, strict=True) if part == "train" and label is not None
    }


def _labels(source: PreparedDomain, target: PreparedDomain) -> tuple[str, ...]:
    labels = source.classes
    _require_classes(source.name, labels)
    trained = _trained(source)
    if trained != set(labels):
        raise DataError(
            expected=f"training images of every class of the source {source.name}",
            received=f"none of {', '.join(sorted(set(labels) - trained))}",
            remedy="add some to train/, or remove the class from test/",
        )
    _require_enough(source, least=1)
    _require_same_classes(labels, target.name, target.classes)
    return labels


def _require_enough(domain: PreparedDomain, *, least: int) -> None:
    counts = {part: domain.splits.count(part) for part in SPLITS}
    if not counts["test"]:
        raise DataError(
            expected=f"images in the test split of {domain.name}",
            received="none",
            remedy="let some be for testing, or leave out what divides the images, to have them split",
        )
    if counts["train"] < least or not counts["val"]:
        raise DataError(
            expected=f"at least {least + 1} training images in {domain.name}, one of them for validation",
            received=f"{counts['train'] + counts['val']} of one group",
            remedy="add frames of the scanner",
        )


def _require_classes(name: str, labels: tuple[str, ...]) -> None:
    if len(labels) < 2:
        raise DataError(
            expected=f"at least 2 classes in the source {name}",
            received=f"the class {labels[0]}" if labels else "images without labels",
            remedy="sort its images into one folder per class, or label them in a table",
        )


def _require_known_classes(labels: tuple[str, ...], name: str, classes: tuple[str, ...]) -> None:
    """Make sure that the target's labelled frames are of the source's classes; some may be missing."""
    unknown = [label for label in classes if label not in labels]
    if unknown or not classes:
        raise DataError(
            expected=f"some of the source's classes ({', '.join(labels)}) in the labelled target {name}",
            received=", ".join(unknown) if unknown else "images without labels",
            remedy=(did_you_mean(unknown[0], labels) if unknown else "")
            + "sort the images into folders that are named like the classes, or label them with metfa-label",
        )


def _require_one_label(domain: PreparedDomain) -> None:
    """Make sure that copies of an image have the same label."""
    rows: dict[bytes, int] = {}
    for row, digest in enumerate(domain.pictures.digests):
        first = rows.setdefault(digest.tobytes(), row)
        if domain.labels[first] != domain.labels[row]:
            names = (domain.entries[domain.pictures.media[each]].medium.name for each in (first, row))
            raise DataError(
                expected=f"one label for each image of the labelled target {domain.name}",
                received=f"{domain.labels[first]} and {domain.labels[row]} for the same image ({', '.join(names)})",
                remedy="correct one of the labels, or remove it",
            )


def _require_same_classes(labels: tuple[str, ...], target: str, classes: tuple[str, ...]) -> None:
    if classes and classes != labels:
        guesses = (did_you_mean(label, [each for each in labels if each not in classes]) for label in classes)
        meant = next(
            (guess for label, guess in zip(classes, guesses, strict=True) if label not in labels and guess), ""
        )
        raise DataError(
            expected=f"the source's classes ({', '.join(labels)}) in the target {target}",
            received=", ".join(classes),
            remedy=f"{meant}rename the target's classes, or name it without labels: "
            f"{target}{'&' if '?' in target else '?'}label=none",
        )
