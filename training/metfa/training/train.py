"""One training run: two domains in, a bundle out."""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from metfa.runtime import bundle as bundles
from metfa.runtime import records
from metfa.runtime.bundle import CHECKPOINT, UNFINISHED
from metfa.runtime.contract import SCHEMA, InputSpec, ModelContract, Provenance, software
from metfa.runtime.errors import BundleError, DivergenceError
from metfa.runtime.files import require_writable
from metfa.runtime.lock import writing_alone

from .baselines import Baseline, train_baselines
from .calibration import calibrate
from .config import CONFIG
from .data.pair import read_pair
from .data.report import DATA, report
from .data.split_record import save_split
from .data.store import UNLABELLED, FrameStore
from .development import NORMALISATION, ROLES, develop
from .device_statistics import device_statistics
from .evaluation.network import evaluate, infer
from .evaluation.scores import Scores
from .fit import METRICS
from .selection.validators import Validators
from .weights import Reference, save_network, save_reference

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lightning_fabric import Fabric

    from .config import TrainingConfig
    from .data.pair import DomainPair, ListedPair
    from .methods import Role
    from .model import Network

EVALUATION = "evaluation.json"
BASELINE = "baseline"
REFERENCE_FRAMES = 128
"""Of each kind in the bundle: so many that one wrong frame in a hundred shows."""


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
        baselines: what comes of the same run without adaptation; empty where that was not asked for.
    """

    source: Scores
    source_as_exported: Scores
    target: Scores | None
    selected_step: int
    candidates: tuple[CandidateScores, ...]
    baselines: tuple[Baseline, ...] = ()


def train(
    config: TrainingConfig,
    directory: Path,
    fabric: Fabric,
    *,
    listed: ListedPair | None = None,
    resume: bool = False,
    overwrite: bool = False,
    compare: bool = False,
    on_data: Callable[[DomainPair], None] = lambda pair: None,
    on_candidate: Callable[[int, Validators], None] = lambda step, validators: None,
) -> Evaluation | None:
    """Train and write the bundle; Ctrl-C and SIGTERM end the run with its state saved. For the main thread.

    No other process may write to the bundle meanwhile.

    Args:
        config: the run.
        directory: the bundle.
        fabric: where to compute, launched.
        listed: the domains of the run, where they were listed before.
        resume: go on with the unfinished run in the directory.
        overwrite: replace a finished bundle and drop an unfinished run.
        compare: also train without adaptation, and score that.
        on_data: told of the domains before training; what it raises ends the run.
        on_candidate: told the step and the validators of each candidate; what it raises ends the run.

    Returns:
        The scores, or None where the run was interrupted, and in all processes but the first.

    Raises:
        DataError, SourceError, ProfileError: a domain cannot be read or does not fit.
        BundleError: the directory holds what must not be replaced, or a damaged checkpoint, or another process writes
            to it.
        DivergenceError: the objective is no longer finite; nothing of the run is kept.
        TrainingError: that of the run to compare with is not.
        OutputError: the directory cannot be written.
    """
    with writing_alone(directory) if fabric.is_global_zero else nullcontext():
        return _train(config, directory, fabric, listed, resume, overwrite, compare, on_data, on_candidate)


def _train(
    config: TrainingConfig,
    directory: Path,
    fabric: Fabric,
    listed: ListedPair | None,
    resume: bool,
    overwrite: bool,
    compare: bool,
    on_data: Callable[[DomainPair], None],
    on_candidate: Callable[[int, Validators], None],
) -> Evaluation | None:
    unfinished = directory / UNFINISHED
    with fabric.rank_zero_first():  # the first fills the store, the others find it filled
        if fabric.is_global_zero:
            require_writable(directory)
            if not resume:
                _clear(directory, overwrite=overwrite)
        pair = read_pair(config, listed)
    if fabric.is_global_zero:
        on_data(pair)
    try:
        run = develop(config, pair, unfinished, fabric, resume=resume, on_candidate=on_candidate)
    except DivergenceError:
        if fabric.is_global_zero:
            shutil.rmtree(unfinished, ignore_errors=True)  # who went on with it would see it diverge again
        raise
    baselines: tuple[Baseline, ...] | None = ()
    if compare and fabric.broadcast(run is not None):
        baselines = train_baselines(config, pair, unfinished / BASELINE, fabric)
    if run is None or baselines is None:
        return None
    config = run.method.config  # with the threads that computed

    held_out: dict[Role, FrameStore] = {role: run.seen(pair.frames(role, "test")) for role in ROLES}

    target_is_labelled = bool((held_out["target"].labels != UNLABELLED).any())

    def networks(step: int) -> tuple[Network, Network]:
        exported, source = run.candidates.networks(step, run.method.network.config)
        return exported.to(fabric.device), source.to(fabric.device)

    scored = []
    for step, judged in zip(run.steps, run.validators, strict=True):
        exported, source = networks(step)
        scored.append(
            CandidateScores(
                step=step,
                validators=judged,
                source_f1=evaluate(source, held_out["source"]).f1,
                target_f1=evaluate(exported, held_out["target"]).f1 if target_is_labelled else None,
            )
        )
    exported, source = networks(run.steps[run.selected])
    evaluation = Evaluation(
        source=evaluate(source, held_out["source"]),
        source_as_exported=evaluate(exported, held_out["source"]),
        target=evaluate(exported, held_out["target"]) if target_is_labelled else None,
        selected_step=run.steps[run.selected],
        candidates=tuple(scored),
        baselines=baselines,
    )
    uses_target = run.method.home == "target"
    validation = run.seen(pair.frames("source", "val"))
    contract = ModelContract(
        schema=SCHEMA,
        labels=pair.labels,
        embedding=config.embedding,
        input=InputSpec(
            config.height,
            config.width,
            "halve-linear",
            NORMALISATION,
            config.target_region if uses_target else config.source_region,
        ),
        decision=calibrate(
            pair.labels,
            infer(source, validation.frames),
            validation.labels,
            infer(exported, run.seen(pair.frames("target", "val")).frames) if uses_target else None,
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
        devices = device_statistics(pair, adapted=uses_target)
        (stage / bundles.DEVICES).write_text(records.to_json(devices, indent=None), encoding="utf-8")
        (stage / DATA).write_text(records.to_json(report(pair)), encoding="utf-8")
        save_split(pair.source, pair.target, stage)
        save_network(run.whole(exported).cpu(), stage)
        save_reference(_reference(pair), stage)
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


def _reference(pair: DomainPair) -> Reference:
    target, _ = _spread(pair.frames("target", "test"))
    source, source_labels = _spread(pair.frames("source", "val"))
    calibration, _ = _spread(pair.frames("target", "train"))
    return Reference(target=target, source=source, source_labels=source_labels, calibration=calibration)


def _spread(store: FrameStore) -> tuple[torch.Tensor, torch.Tensor]:
    """Return frames spread evenly over the store, and their labels."""
    chosen = np.linspace(0, len(store.frames) - 1, min(REFERENCE_FRAMES, len(store.frames))).round().astype(int)
    return torch.from_numpy(store.frames[chosen]), torch.from_numpy(store.labels[chosen])
