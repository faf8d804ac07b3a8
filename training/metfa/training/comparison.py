"""Methods side by side: trained at the same settings, each with the candidate that its own rule chooses."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from metfa.runtime.backends import Inference
from metfa.runtime.bundle.directory import CHECKPOINT
from metfa.runtime.errors import DivergenceError

from .data.store import spread
from .development import ROLES, Development, develop
from .evaluation.model import infer, label_augmented
from .methods import METHODS
from .selection.between import Judged, reverse_accuracy
from .selection.rule import choose
from .selection.validators import Validators, validate
from .views import make_views

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lightning_fabric import Fabric

    from .config import TrainingConfig
    from .data.pair import DomainPair
    from .model import Network
    from .names import MethodName


JUDGED_FRAMES = 1024
"""Training frames of each domain, at most, that methods are judged on."""


@dataclass(frozen=True, slots=True)
class Training:
    """A training that came to its end.

    Attributes:
        run: what it came to.
        directory: where its metrics are.
    """

    run: Development
    directory: Path


@dataclass(frozen=True, slots=True)
class Trainings:
    """All trainings of a run.

    Attributes:
        finished: at least the first.
        diverged: of the methods that diverged, what was no longer finite.
    """

    finished: tuple[Training, ...]
    diverged: dict[str, str]


def train_all(
    config: TrainingConfig,
    rivals: Sequence[MethodName],
    pair: DomainPair,
    directory: Path,
    fabric: Fabric,
    *,
    resume: bool,
    on_candidate: Callable[[int, Validators], None],
    events: Path | None = None,
) -> Trainings | None:
    """Train a method and then its rivals at the same settings, or go on with that. For the main thread.

    Args:
        config: the run of the first method.
        rivals: the others; those that diverge are left out.
        pair: the domains.
        directory: where checkpoint, metrics and candidates of the first are kept; a rival's are in a folder inside.
        fabric: where to compute, launched.
        resume: go on with the unfinished run in the directory.
        on_candidate: told of each candidate of the first.
        events: where each method has a directory of event files for TensorBoard; None for none.

    Returns:
        All, or None where one was interrupted, and in all processes but the first.

    Raises:
        MetfaError: what :func:`~.development.develop` raises; DivergenceError only for the first.
    """

    def events_of(method: MethodName) -> Path | None:
        return None if events is None else events / method

    run = develop(
        config, pair, directory, fabric, resume=resume, on_candidate=on_candidate, events=events_of(config.method)
    )
    first: TrainingConfig | None = fabric.broadcast(None if run is None else run.method.config)  # with its threads
    if first is None:
        return None
    finished = [] if run is None else [Training(run, directory)]
    diverged: dict[str, str] = {}
    for method in rivals:
        place = directory / method
        try:
            resume = (place / CHECKPOINT).exists()
            run = develop(first.with_method(method), pair, place, fabric, resume=resume, events=events_of(method))
        except DivergenceError as cause:
            diverged[method] = cause.received
            continue
        if not fabric.broadcast(run is not None):
            return None
        if run is not None:
            finished.append(Training(run, place))
    return Trainings(tuple(finished), diverged) if finished else None


@dataclass(frozen=True, slots=True)
class Contender:
    """A method that was trained, and the candidate that would become the model if the method were taken.

    Attributes:
        training: where it comes from.
        validators: of every candidate.
        selected: the index of that candidate.
        on_validation: what that says of the target's validation frames.
        on_training: the same of the target's training frames, up to ``JUDGED_FRAMES``.
        judged: what the rule between methods knows of it.
    """

    training: Training
    validators: tuple[Validators, ...]
    selected: int
    on_validation: Inference
    on_training: Inference
    judged: Judged

    @property
    def method(self) -> MethodName:
        """Return the method's name."""
        return self.judged.method

    @property
    def step(self) -> int:
        """Return the step of the candidate that would become the model."""
        return self.training.run.steps[self.selected]

    def networks(self, candidate: int, fabric: Fabric) -> tuple[Network, Network]:
        """Return a candidate's network as a bundle holds it, and the one that is scored on the source.

        Raises:
            BundleError: the candidate's file is damaged.
        """
        return _networks(self.training.run, self.method, candidate, fabric)


def contenders(trainings: Sequence[Training], pair: DomainPair, fabric: Fabric) -> Iterator[Contender]:
    """Yield what was trained, in the order of the tables; methods that packages add come last.

    Beside adabn, where there are several, comes source-only, unless the source's images are not there or labels of the
    target are learnt from. The training of both is the same. They differ in the batch-norm statistics, and in which
    candidate is chosen.

    Args:
        trainings: at least one.
        pair: their domains.
        fabric: where to compute.
    """
    order = {name: place for place, name in enumerate(METHODS)}
    for training in sorted(trainings, key=lambda each: order.get(each.run.method.config.method, len(order))):
        run = training.run
        config = run.method.config
        if config.method == "adabn" and len(trainings) > 1 and not config.origin and not config.labelled_target:
            yield _source_only(training, pair, fabric)
        yield _contender(config.method, training, run.validators, run.selected, pair, fabric)


def _source_only(training: Training, pair: DomainPair, fabric: Fabric) -> Contender:
    run = training.run
    frames = run.seen(pair.frames("target", "val")).frames
    validators = []
    for candidate, known in enumerate(run.validators):
        said = infer(_networks(run, "source-only", candidate, fabric)[0], frames)
        probabilities = said.probabilities.astype(np.float64)
        validators.append(validate(probabilities, said.embedding, known.supervised_accuracy, known.accuracy_error))
    by_validators = run.method.config.selection == "validators"
    selected = choose(validators, adapts=False) if by_validators else run.selected
    return _contender("source-only", training, tuple(validators), selected, pair, fabric)


def _contender(
    method: MethodName,
    training: Training,
    validators: tuple[Validators, ...],
    selected: int,
    pair: DomainPair,
    fabric: Fabric,
) -> Contender:
    run = training.run
    network, on_source = _networks(run, method, selected, fabric)
    if not run.method.config.origin:  # embeddings that are drawn are those of the source's own network
        on_source = network
    source, target = (run.trained_on(pair.frames(role, "train")) for role in ROLES)
    of_source, of_target = (spread(len(store.frames), JUDGED_FRAMES) for store in (source, target))
    said = infer(network, target.frames[of_target])
    labels, classes = said.logits.argmax(axis=1), source.labels[of_source]
    reverse = reverse_accuracy(said.embedding, labels, infer(on_source, source.frames[of_source]).embedding, classes)
    augmentation = replace(run.method.config.augmentation, extended=True)
    views = make_views(target.frames, network.normalise, augmentation, fabric.device)
    augmented = label_augmented(network, views, of_target)
    return Contender(
        training,
        validators,
        selected,
        on_validation=infer(network, run.seen(pair.frames("target", "val")).frames),
        on_training=said,
        judged=Judged(
            method,
            consistency=float(np.mean(labels == augmented)),
            target_frames=len(labels),
            reverse_accuracy=reverse,
            source_frames=len(classes),
            validators=validators[selected],
        ),
    )


def _networks(run: Development, method: MethodName, candidate: int, fabric: Fabric) -> tuple[Network, Network]:
    exported, source = run.candidates.networks(run.steps[candidate], run.method.network.config)
    source = source.to(fabric.device)
    return (source if METHODS[method].home == "source" else exported.to(fabric.device)), source
