"""One training run: two domains in, a bundle out."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from metfa.runtime import bundle as bundles
from metfa.runtime import records
from metfa.runtime.command import Interruption
from metfa.runtime.contract import SCHEMA, InputSpec, ModelContract, Normalisation, Provenance, software
from metfa.runtime.errors import BundleError, DataError
from metfa.runtime.files import writing_to

from .candidates import Candidates, Frames
from .config import CONFIG
from .data.domain import SPLITS, Domain, Split, read_domain
from .data.store import UNLABELLED, FrameStore, load_store
from .evaluate import evaluate
from .fit import CHECKPOINT, METRICS, UNFINISHED, Trainer
from .methods import build_method
from .model import Network, NetworkConfig
from .scores import Scores
from .selection import choose
from .validators import Validators
from .weights import save_network, save_reference

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .config import TrainingConfig
    from .methods import Role

EVALUATION = "evaluation.json"
CANDIDATES = "candidates"
REFERENCE_FRAMES = 64
NORMALISATION = Normalisation(kind="per-image", scale=1.0, mean=None)
"""Standardised per image, as the gain of two devices is never the same."""


@dataclass(frozen=True, slots=True)
class CandidateScores:
    """What became of one candidate: for the report, computed after one was chosen.

    Attributes:
        step: after which it was kept.
        validators: what it was judged by; no target label is in them, but of the two references that need them.
        source_f1: macro F1 on held-out source frames.
        target_f1: macro F1 on held-out target frames; None where the target has no labels.
    """

    step: int
    validators: Validators
    source_f1: float
    target_f1: float | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Scores on held-out frames of each domain.

    A bundle holds the batch-norm statistics of the domain that it is for: the target's, or the source's where the
    method does not use the target.

    Attributes:
        source: with the source's statistics and, where the method trains one, the source's own network.
        source_as_exported: with the bundle's.
        target: with the bundle's; None where the target has no labels.
        selected_step: of the candidate that became the model.
        candidates: all that were kept, in the order of their steps.
    """

    source: Scores
    source_as_exported: Scores
    target: Scores | None
    selected_step: int
    candidates: tuple[CandidateScores, ...]


def train(
    config: TrainingConfig,
    directory: Path,
    device: torch.device,
    *,
    resume: bool = False,
    overwrite: bool = False,
    on_candidate: Callable[[int, Validators], None] = lambda step, validators: None,
) -> Evaluation | None:
    """Train and write the bundle; Ctrl-C and SIGTERM end the run with its state saved. For the main thread.

    Args:
        config: the run.
        directory: the bundle.
        device: where to compute.
        resume: go on with the unfinished run in the directory.
        overwrite: replace a finished bundle and drop an unfinished run.
        on_candidate: told the step and the validators of each candidate; what it raises ends the run.

    Returns:
        The scores, or None where the run was interrupted.

    Raises:
        DataError, SourceError, ProfileError: a domain cannot be read or does not fit.
        BundleError: the directory holds what must not be replaced, or a damaged checkpoint.
        TrainingError: the objective is no longer finite.
        OutputError: the directory cannot be written.
    """
    unfinished = directory / UNFINISHED
    if not resume:
        _clear(directory, overwrite=overwrite)
    domains: dict[Role, Domain] = {
        "source": read_domain(config.source, seed=config.seed, by_class=True),
        "target": read_domain(config.target, seed=config.seed, by_class=False),
    }
    labels = _labels(domains["source"], domains["target"])
    torch.manual_seed(config.seed)
    method = build_method(config, Network(_network_config(config, len(labels))))
    if "target" in method.supervision:
        _require_target_labels(domains["target"], labels, config)

    def frames(role: Role, split: Split) -> FrameStore:
        region = config.source_region if role == "source" else config.target_region
        return load_store(domains[role], split, labels, height=config.height, width=config.width, region=region)

    def supervision(role: Role, split: Split) -> FrameStore:
        """Return frames for training and selection, with labels only where the method may see them."""
        store = frames(role, split)
        if role in method.supervision or role == "source":
            return store
        return FrameStore(store.frames, np.full_like(store.labels, UNLABELLED))

    training = {role: supervision(role, "train") for role in domains}
    candidates = Candidates(
        unfinished / CANDIDATES,
        Frames(
            train={role: store.frames for role, store in training.items()},
            validation={role: supervision(role, "val") for role in domains},
        ),
    )
    with writing_to(unfinished):
        (unfinished / CANDIDATES).mkdir(parents=True, exist_ok=True)
    trainer = Trainer(method, training["source"], training["target"], unfinished, candidates, device, on_candidate)
    if resume:
        trainer.restore()
    with Interruption() as interruption:
        if not trainer.run(interruption):
            return None

    steps = candidates.steps()
    validators = [candidates.validators(step) for step in steps]
    selected = len(steps) - 1
    if config.selection == "validators":
        selected = choose(validators, adapts=method.home == "target" and "target" not in method.supervision)

    held_out = {role: frames(role, "test") for role in domains}
    target_is_labelled = bool((held_out["target"].labels != UNLABELLED).any())
    network_config = method.network.config
    scored = []
    for step, judged in zip(steps, validators, strict=True):
        exported, source = (network.to(device) for network in candidates.networks(step, network_config))
        scored.append(
            CandidateScores(
                step=step,
                validators=judged,
                source_f1=evaluate(source, held_out["source"]).f1,
                target_f1=evaluate(exported, held_out["target"]).f1 if target_is_labelled else None,
            )
        )
    exported, source = (network.to(device) for network in candidates.networks(steps[selected], network_config))
    evaluation = Evaluation(
        source=evaluate(source, held_out["source"]),
        source_as_exported=evaluate(exported, held_out["source"]),
        target=evaluate(exported, held_out["target"]) if target_is_labelled else None,
        selected_step=steps[selected],
        candidates=tuple(scored),
    )
    uses_target = method.home == "target"
    contract = ModelContract(
        schema=SCHEMA,
        labels=labels,
        embedding=config.embedding,
        input=InputSpec(
            config.height,
            config.width,
            "area",
            NORMALISATION,
            config.target_region if uses_target else config.source_region,
        ),
        provenance=Provenance(
            software=software(),
            method=config.method,
            source=config.source,
            target=config.target if uses_target else None,
        ),
    )
    with bundles.updating(directory, keep=lambda _: False) as stage:
        (stage / bundles.CONTRACT).write_text(contract.to_json(), encoding="utf-8")
        (stage / CONFIG).write_text(records.to_json(config), encoding="utf-8")
        (stage / EVALUATION).write_text(records.to_json(evaluation), encoding="utf-8")
        save_network(exported.cpu(), stage)
        save_reference(_reference(held_out["target"]), stage)
        shutil.copyfile(unfinished / METRICS, stage / METRICS)
    shutil.rmtree(unfinished)
    return evaluation


def _network_config(config: TrainingConfig, classes: int) -> NetworkConfig:
    return NetworkConfig(
        height=config.height,
        width=config.width,
        classes=classes,
        encoder=config.encoder,
        embedding=config.embedding,
        temperature=config.prototype_temperature,
        normalisation=NORMALISATION,
    )


def _clear(directory: Path, *, overwrite: bool) -> None:
    """Make way for a new run, unless that would lose something that the user has not agreed to lose."""
    unfinished = directory / UNFINISHED
    if (unfinished / CHECKPOINT).exists() and not overwrite:
        raise BundleError(
            expected=f"no other run in {directory}",
            received="an unfinished one",
            remedy="--resume to go on with it, or --overwrite to begin anew",
        )
    if (directory / bundles.MANIFEST).exists() and not overwrite:
        raise BundleError(
            expected=f"no bundle in {directory}",
            received="a finished one",
            remedy="name another with --bundle, or --overwrite to replace it",
        )
    shutil.rmtree(unfinished, ignore_errors=True)


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


def _require_target_labels(target: Domain, labels: tuple[str, ...], config: TrainingConfig) -> None:
    trained = {item.label for item in target.items if item.split == "train"} - {None}
    unlabelled = sum(item.label is None for item in target.items)
    if trained != set(labels):
        missing = sorted(set(labels) - trained)
        raise DataError(
            expected=f"labelled training images of every class of the target {target.name} for {config.method}",
            received=f"none of {', '.join(missing)}" if target.labels else "a target without labels",
            remedy="give the target class folders, or choose a method that needs no target labels, such as metfa-v",
        )
    if unlabelled:
        raise DataError(
            expected=f"a label for every image of the target {target.name} for {config.method}",
            received=f"{unlabelled} of {len(target.items)} without",
            remedy="give the target class folders, or choose a method that needs no target labels, such as metfa-v",
        )


def _reference(store: FrameStore) -> torch.Tensor:
    """Return frames spread evenly over the store, uint8 [N, 1, H, W]."""
    chosen = np.linspace(0, len(store.frames) - 1, min(REFERENCE_FRAMES, len(store.frames))).round().astype(int)
    return torch.from_numpy(store.frames[chosen])
