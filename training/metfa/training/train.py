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

from .batch_norm import adopt_statistics
from .data.domain import Domain, Split, read_domain
from .data.store import FrameStore, load_store
from .evaluate import evaluate
from .fit import CHECKPOINT, METRICS, UNFINISHED, Trainer
from .model import Network, NetworkConfig
from .scores import Scores
from .weights import save_network, save_reference

if TYPE_CHECKING:
    from pathlib import Path

    from metfa.runtime.contract import Region

    from .config import TrainingConfig

CONFIG = "training.json"
EVALUATION = "evaluation.json"
REFERENCE_FRAMES = 64
NORMALISATION = Normalisation(kind="per-image", scale=1.0, mean=None)
"""Standardised per image, as the gain of two devices is never the same."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Scores on held-out frames of each domain.

    A bundle holds the batch-norm statistics of the domain that it is for: the target's, or the source's where the
    method does not use the target.

    Attributes:
        source: with the source's statistics.
        source_as_exported: with the bundle's.
        target: with the bundle's; None where the target has no labels.
    """

    source: Scores
    source_as_exported: Scores
    target: Scores | None


def train(
    config: TrainingConfig,
    directory: Path,
    device: torch.device,
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> Evaluation | None:
    """Train and write the bundle; Ctrl-C and SIGTERM end the run with its state saved. For the main thread.

    Args:
        config: the run.
        directory: the bundle.
        device: where to compute.
        resume: go on with the unfinished run in the directory.
        overwrite: replace a finished bundle and drop an unfinished run.

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
    source = read_domain(config.source, seed=config.seed, by_class=True)
    target = read_domain(config.target, seed=config.seed, by_class=False)
    labels = _labels(source, target)

    torch.manual_seed(config.seed)
    network = Network(
        NetworkConfig(
            height=config.height,
            width=config.width,
            classes=len(labels),
            embedding=config.embedding,
            temperature=config.prototype_temperature,
            normalisation=NORMALISATION,
        )
    )
    source_frames = _store(config, source, "train", labels, config.source_region)
    target_frames = _store(config, target, "train", labels, config.target_region).frames
    with writing_to(unfinished):
        unfinished.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(network, config, source_frames, target_frames, unfinished, device)
    if resume:
        trainer.restore()
    with Interruption() as interruption:
        if not trainer.run(interruption):
            return None

    adapts = config.method != "source-only"
    held_out = _store(config, target, "test", labels, config.target_region)
    source_held_out = _store(config, source, "test", labels, config.source_region)
    adopt_statistics(network, source_frames.frames)
    source_scores = evaluate(network, source_held_out)
    if adapts:
        adopt_statistics(network, target_frames)
    evaluation = Evaluation(
        source=source_scores,
        source_as_exported=evaluate(network, source_held_out),
        target=evaluate(network, held_out) if target.labels else None,
    )
    contract = ModelContract(
        schema=SCHEMA,
        labels=labels,
        embedding=config.embedding,
        input=InputSpec(
            config.height,
            config.width,
            "area",
            NORMALISATION,
            config.target_region if adapts else config.source_region,
        ),
        provenance=Provenance(
            software=software(),
            method=config.method,
            source=config.source,
            target=config.target if adapts else None,
        ),
    )
    with bundles.updating(directory, keep=lambda _: False) as stage:
        (stage / bundles.CONTRACT).write_text(contract.to_json(), encoding="utf-8")
        (stage / CONFIG).write_text(records.to_json(config), encoding="utf-8")
        (stage / EVALUATION).write_text(records.to_json(evaluation), encoding="utf-8")
        save_network(network.cpu(), stage)
        save_reference(_reference(held_out), stage)
        shutil.copyfile(unfinished / METRICS, stage / METRICS)
    shutil.rmtree(unfinished)
    return evaluation


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
    frames = sum(item.split == "train" for item in target.items)
    if frames < 2:
        raise DataError(
            expected=f"at least 2 training images in the target {target.name}",
            received=f"{frames}",
            remedy="add unlabelled frames of the device",
        )
    if target.labels and target.labels != labels:
        raise DataError(
            expected=f"the source's classes ({', '.join(labels)}) in the target {target.name}",
            received=", ".join(target.labels),
            remedy="rename the target's class folders, or put its images into one folder without classes",
        )
    return labels


def _store(
    config: TrainingConfig, domain: Domain, split: Split, labels: tuple[str, ...], region: Region | None
) -> FrameStore:
    return load_store(
        domain,
        split,
        labels,
        height=config.height,
        width=config.width,
        region=region,
    )


def _reference(store: FrameStore) -> torch.Tensor:
    """Return frames spread evenly over the store, uint8 [N, 1, H, W]."""
    chosen = np.linspace(0, len(store.frames) - 1, min(REFERENCE_FRAMES, len(store.frames))).round().astype(int)
    return torch.from_numpy(store.frames[chosen])
