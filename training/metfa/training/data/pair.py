"""The two domains of a run: prepared, divided, and checked to fit each other."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from metfa.runtime.errors import DataError

from ..config import TrainingConfig
from .decoding import Preparation
from .listing import SPLITS, Listing
from .prepared import PreparedDomain, read_domain
from .readers import list_domain, quick_classes
from .spelling import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..methods import Role
    from .listing import Skipped, Split
    from .store import FrameStore


@dataclass(frozen=True, slots=True)
class DomainPair:
    """The domains of one run.

    Attributes:
        config: the run.
        source: the labelled domain.
        target: the domain to adapt to.
        labels: the classes of both, in the order of their indices.
    """

    config: TrainingConfig
    source: PreparedDomain
    target: PreparedDomain
    labels: tuple[str, ...]

    def frames(self, role: Role, split: Split) -> FrameStore:
        """Return the frames of a split of a domain, with their labels."""
        domain = self.source if role == "source" else self.target
        return domain.store(domain.rows(split), self.labels)

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
    """The domains of one run, of which no picture is decoded yet."""

    source: Listing
    target: Listing


def list_pair(config: TrainingConfig) -> ListedPair:
    """List the domains of a run, and find out whether their classes fit: in seconds, whatever they hold.

    Raises:
        DataError: there is no such domain, nothing of it can be used, or the classes of the two do not fit.
        SourceError: a folder or a table cannot be read.
        ProfileError: there is no such phantom profile.
    """
    names = (config.source, config.target)
    classes = {name: quick_classes(name) for name in names}
    listings = {name: list_domain(name) for name in names if classes[name] is None}
    for name, listing in listings.items():
        classes[name] = set(listing.classes)
    source, target = (tuple(sorted(classes[name] or ())) for name in names)
    with _telling_what_is_skipped(*(listing.skipped for listing in listings.values())):
        _require_classes(config.source, source)
        _require_same_classes(source, config.target, target)
    return ListedPair(*(listings.get(name) or list_domain(name) for name in names))


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
        OutputError: the cache cannot be written.
    """
    listed = listed or list_pair(config)
    source, target = (
        read_domain(listing, Preparation(config.height, config.width, region), strict=config.strict)
        for listing, region in zip(listed, (config.source_region, config.target_region), strict=True)
    )
    with _telling_what_is_skipped(source.skipped, target.skipped):
        source, target = source.divide(config.seed, by_class=True), target.divide(config.seed, by_class=False)
        return DomainPair(config, source, target, _labels(source, target))


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
    for domain, least in ((source, 1), (target, 2)):
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
    _require_same_classes(labels, target.name, target.classes)
    return labels


def _require_classes(name: str, labels: tuple[str, ...]) -> None:
    if len(labels) < 2:
        raise DataError(
            expected=f"at least 2 classes in the source {name}",
            received=f"the class {labels[0]}" if labels else "images without labels",
            remedy="sort its images into one folder per class, or label them in a table",
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
