"""The two domains of a run: prepared, divided, and checked to fit each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from metfa.runtime.errors import DataError

from ..config import TrainingConfig
from .decoding import Preparation
from .forms import list_domain
from .listing import SPLITS
from .prepared import PreparedDomain, read_domain

if TYPE_CHECKING:
    from ..methods import Role
    from .listing import Split
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


def read_pair(config: TrainingConfig) -> DomainPair:
    """Read the domains of a run.

    Raises:
        DataError: there is no such domain, nothing of it can be used, or the two do not fit each other; or anything is
            skipped where the run is strict.
        SourceError: a folder or a table cannot be read.
        ProfileError: there is no such phantom profile.
        OutputError: the cache cannot be written.
    """
    source, target = (
        read_domain(list_domain(name), Preparation(config.height, config.width, region), strict=config.strict).divide(
            config.seed, by_class=by_class
        )
        for name, region, by_class in (
            (config.source, config.source_region, True),
            (config.target, config.target_region, False),
        )
    )
    return DomainPair(config, source, target, _labels(source, target))


def _trained(domain: PreparedDomain) -> set[str]:
    """Return the classes that a domain has training images of."""
    return {
        label for label, part in zip(domain.labels, domain.splits, strict=True) if part == "train" and label is not None
    }


def _labels(source: PreparedDomain, target: PreparedDomain) -> tuple[str, ...]:
    labels = source.classes
    if len(labels) < 2:
        raise DataError(
            expected=f"at least 2 classes in the source {source.name}",
            received=f"the class {labels[0]}" if labels else "images without labels",
            remedy="sort its images into one folder per class, or label them in a table",
        )
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
                remedy="add frames of the device",
            )
    if target.classes and target.classes != labels:
        raise DataError(
            expected=f"the source's classes ({', '.join(labels)}) in the target {target.name}",
            received=", ".join(target.classes),
            remedy="rename the target's classes, or name it without labels: as one folder, or with ?label=none",
        )
    return labels
