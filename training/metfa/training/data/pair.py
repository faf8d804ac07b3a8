"""The two domains of a run: listed, checked to fit each other, and read split by split."""

from __future__ import annotations

from dataclasses import dataclass, field

from metfa.runtime.errors import DataError

from ..config import TrainingConfig
from ..methods import Role
from .domain import SPLITS, Domain, Split, read_domain
from .store import DomainFrames, FrameStore, load_domain


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
    source: Domain
    target: Domain
    labels: tuple[str, ...]
    _prepared: dict[Role, DomainFrames] = field(default_factory=dict, init=False, repr=False, compare=False)

    def frames(self, role: Role, split: Split) -> FrameStore:
        """Return the frames of a split of a domain, with their labels.

        Raises:
            DataError: the split is empty.
            SourceError: a picture cannot be read.
            OutputError: the cache cannot be written.
        """
        if role not in self._prepared:
            config = self.config
            domain, region = (
                (self.source, config.source_region) if role == "source" else (self.target, config.target_region)
            )
            self._prepared[role] = load_domain(
                domain, self.labels, height=config.height, width=config.width, region=region
            )
        return self._prepared[role].split(split)

    def require_target_labels(self) -> None:
        """Make sure that a method which is trained on the target's labels can be.

        Raises:
            DataError: the target has no labelled training images of a class.
        """
        remedy = "give the target class folders, or choose a method that needs no target labels, such as metfa-v"
        trained = {item.label for item in self.target.items if item.split == "train"} - {None}
        if trained != set(self.labels):
            raise DataError(
                expected=f"labelled training images of every class of the target {self.target.name} "
                f"for {self.config.method}",
                received=f"none of {', '.join(sorted(set(self.labels) - trained))}"
                if self.target.labels
                else "a target without labels",
                remedy=remedy,
            )
        unlabelled = sum(item.label is None for item in self.target.items)
        if unlabelled:
            raise DataError(
                expected=f"a label for every image of the target {self.target.name} for {self.config.method}",
                received=f"{unlabelled} of {len(self.target.items)} without",
                remedy=remedy,
            )


def read_pair(config: TrainingConfig) -> DomainPair:
    """List the domains of a run.

    Raises:
        DataError: there is no such domain, or the two do not fit each other.
        SourceError: a file cannot be read.
        ProfileError: there is no such phantom profile.
    """
    source = read_domain(config.source, seed=config.seed, by_class=True)
    target = read_domain(config.target, seed=config.seed, by_class=False)
    return DomainPair(config, source, target, _labels(source, target))


def _labels(source: Domain, target: Domain) -> tuple[str, ...]:
    labels = source.labels
    if len(labels) < 2:
        raise DataError(
            expected=f"at least 2 class folders in the source {source.name}",
            received=f"the class {labels[0]}" if labels else "images without class folders",
            remedy="sort the source's images into one folder per class",
        )
    trained = {item.label for item in source.items if item.split == "train"}
    if trained != set(labels):
        raise DataError(
            expected=f"training images of every class of the source {source.name}",
            received=f"none of {', '.join(sorted(set(labels) - trained))}",
            remedy="add some to train/, or remove the class from test/",
        )
    for domain, least in ((source, 1), (target, 2)):
        counts = {part: sum(item.split == part for item in domain.items) for part in SPLITS}
        if not counts["test"]:
            raise DataError(
                expected=f"images in the test split of {domain.name}",
                received="none",
                remedy="let some be for testing, or leave out what divides the images, to have them split",
            )
        if counts["train"] < least or not counts["val"]:
            raise DataError(
                expected=f"at least {least + 1} training images in {domain.name}, one of them for validation",
                received=f"{counts['train'] + counts['val']}",
                remedy="add frames of the device",
            )
    if target.labels and target.labels != labels:
        raise DataError(
            expected=f"the source's classes ({', '.join(labels)}) in the target {target.name}",
            received=", ".join(target.labels),
            remedy="rename the target's class folders, or put its images into one folder without classes",
        )
    return labels
