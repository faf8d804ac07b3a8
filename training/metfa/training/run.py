"""One training run: two domains in, a bundle out."""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from metfa.runtime.bundle import directory as bundles
from metfa.runtime.bundle import records
from metfa.runtime.bundle.contract import SCHEMA, InputSpec, ModelContract, Provenance, software
from metfa.runtime.bundle.directory import CHECKPOINT, UNFINISHED
from metfa.runtime.errors import BundleError, DivergenceError, TrainingError
from metfa.runtime.files import require_writable
from metfa.runtime.lock import writing_alone

from .calibration import calibrate
from .class_embeddings import ClassEmbeddings, describe_classes, save_embeddings
from .comparison import contenders, train_all
from .config import CONFIG
from .curves.event_directory import EVENTS, clear_events
from .curves.picture import CURVES, draw_curves
from .data.drawn import DrawnSource
from .data.pair import read_pair
from .data.report import DATA, report
from .data.split_record import save_split
from .data.store import spread
from .development import NORMALISATION, adapts
from .evaluation.model import infer
from .methods import METHODS
from .metrics import METRICS, read_metrics
from .origin import open_origin
from .outcome import EVALUATION, Evaluation, evaluate_run
from .parallel import first_process_first, make_fabric, with_precision
from .scanner_statistics import scanner_statistics
from .selection.between import prefer
from .weights import Reference, save_network, save_reference

if TYPE_CHECKING:
    from collections.abc import Callable

    from lightning_fabric import Fabric

    from .comparison import Contender, Trainings
    from .config import TrainingConfig
    from .data.pair import DomainPair, ListedPair
    from .data.store import FrameStore
    from .model import Network
    from .names import MethodName
    from .selection.validators import Validators

REFERENCE_FRAMES = 128
"""Of each kind in the bundle: so many that one wrong frame in a hundred shows."""


def train(
    config: TrainingConfig,
    directory: str | Path,
    fabric: Fabric | None = None,
    *,
    listed: ListedPair | None = None,
    resume: bool = False,
    overwrite: bool = False,
    compare: bool = False,
    tensorboard: bool = False,
    on_data: Callable[[DomainPair], None] = lambda pair: None,
    on_candidate: Callable[[int, Validators], None] = lambda step, validators: None,
) -> Evaluation | None:
    """Train and write the bundle; Ctrl-C and SIGTERM end the run with its state saved. For the main thread.

    No other process may write to the bundle meanwhile.

    Args:
        config: the run.
        directory: the bundle.
        fabric: where to compute, launched; None for a GPU where there is one, else the CPU.
        listed: the domains of the run, where they were listed before.
        resume: go on with the unfinished run in the directory.
        overwrite: replace a finished bundle and drop an unfinished run.
        compare: also train without adaptation, and compare with that.
        tensorboard: write event files into the bundle, too, whose manifest does not name them; nothing else changes.
        on_data: told of the domains before training; what it raises ends the run.
        on_candidate: told the step and the validators of each candidate; what it raises ends the run.

    Returns:
        The scores, or None where the run was interrupted, and in all processes but the first.

    Raises:
        DataError, SourceError, ProfileError: a domain cannot be read or does not fit.
        BundleError: the directory holds what must not be replaced, or a damaged checkpoint, or another process writes
            to it.
        TrainingError: the method cannot do without the source's images, or learns from no label of the target.
        DivergenceError: the objective is no longer finite; nothing of the run is kept.
        OutputError: the directory cannot be written.
    """
    directory = Path(directory)
    _require_method(config)
    if fabric is None:
        config = with_precision(config, None)
        fabric = make_fabric(None, precision=config.precision)
        fabric.launch()
    with writing_alone(directory) if fabric.is_global_zero else nullcontext():
        with first_process_first(fabric):  # it fills the store, the others find it filled
            if fabric.is_global_zero:
                require_writable(directory)
                if not resume:
                    _clear(directory, overwrite=overwrite)
            pair = read_pair(config, listed)
        if fabric.is_global_zero:
            on_data(pair)
        rivals: tuple[MethodName, ...] = ("adabn",) if compare else config.rivals
        unfinished, events = directory / UNFINISHED, directory / EVENTS if tensorboard else None
        try:
            trainings = train_all(
                config, rivals, pair, unfinished, fabric, resume=resume, on_candidate=on_candidate, events=events
            )
        except DivergenceError:
            if fabric.is_global_zero:
                shutil.rmtree(unfinished, ignore_errors=True)  # who went on with it would see it diverge again
            raise
        if trainings is None:
            return None
        evaluation = _choose_and_write(config, trainings, pair, directory, fabric)
        shutil.rmtree(unfinished)
        return evaluation


def _require_method(config: TrainingConfig) -> None:
    method = METHODS[config.method]
    if config.origin and not method.source_free:
        raise TrainingError(
            expected="a method that adapts without the source's images",
            received=config.method,
            remedy="choose another with --method, such as metfa-vi or shot, or give --source in place of --from",
        )
    if config.labelled_target and not adapts(method):
        raise TrainingError(
            expected="a method that adapts, with labelled images of the target",
            received=config.method,
            remedy="choose another with --method, such as metfa-vi, or leave out --labelled-target",
        )


def _choose_and_write(
    config: TrainingConfig, trainings: Trainings, pair: DomainPair, directory: Path, fabric: Fabric
) -> Evaluation:
    """Take the method that the rule prefers, score it, and write its bundle."""
    every = list(contenders(trainings.finished, pair, fabric))
    method = prefer([each.judged for each in every]).method if config.rivals else config.method
    (model,) = (each for each in every if each.method == method)
    evaluation = evaluate_run(model, every, trainings.diverged, pair, fabric)
    config = replace(model.training.run.method.config, method=method, rivals=())
    exported, source = model.networks(model.selected, fabric)
    contract = _contract(config, model, source, pair)
    with bundles.updating(directory, keep=lambda _: False) as stage:
        (stage / bundles.CONTRACT).write_text(contract.to_json(), encoding="utf-8", newline="\n")
        (stage / CONFIG).write_text(records.to_json(config), encoding="utf-8", newline="\n")
        (stage / EVALUATION).write_text(records.to_json(evaluation), encoding="utf-8", newline="\n")
        statistics = scanner_statistics(pair, adapted=_uses_target(config))
        embeddings = _class_embeddings(model, source, pair)
        (stage / bundles.SCANNERS).write_text(records.to_json(statistics, indent=None), encoding="utf-8", newline="\n")
        (stage / DATA).write_text(records.to_json(report(pair)), encoding="utf-8", newline="\n")
        save_split(
            None if isinstance(pair.source, DrawnSource) else pair.source,
            pair.target,
            stage,
            known=pair.labelled,
            origin=open_origin(config.origin) if config.origin else None,
        )
        save_network(model.training.run.whole(exported).cpu(), stage)
        save_embeddings(embeddings, stage)
        if config.keep_frames:
            save_reference(_reference(pair), stage)
        shutil.copyfile(model.training.directory / METRICS, stage / METRICS)
        curves = draw_curves(read_metrics(model.training.directory), evaluation.candidates, evaluation.selected_step)
        curves.save(stage / CURVES)
    return evaluation


def _class_embeddings(model: Contender, source: Network, pair: DomainPair) -> ClassEmbeddings:
    """Return what the source's classes look like to its network, which a later run needs in place of the images."""
    if isinstance(pair.source, DrawnSource):
        return pair.source.embeddings
    return describe_classes(source, model.training.run.seen(pair.frames("source", "train")))


def _contract(config: TrainingConfig, model: Contender, source: Network, pair: DomainPair) -> ModelContract:
    """Return the contract of a model, calibrated by the validation frames of the source."""
    validation = model.training.run.seen(pair.frames("source", "val"))
    uses_target = _uses_target(config)
    return ModelContract(
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
            model.on_validation if uses_target else None,
        ),
        provenance=Provenance(
            software=software(),
            method=config.method,
            source=config.source,
            target=config.target if uses_target else None,
        ),
    )


def _uses_target(config: TrainingConfig) -> bool:
    return METHODS[config.method].home == "target"


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
    clear_events(directory)


def _reference(pair: DomainPair) -> Reference:
    def frames(store: FrameStore) -> tuple[torch.Tensor, torch.Tensor]:
        chosen = spread(len(store.frames), REFERENCE_FRAMES)
        return torch.from_numpy(store.frames[chosen]), torch.from_numpy(store.labels[chosen])

    target, _ = frames(pair.frames("target", "test"))
    calibration, _ = frames(pair.frames("target", "train"))
    if isinstance(pair.source, DrawnSource):
        source, source_labels = target[:0], torch.zeros(0, dtype=torch.int64)
    else:
        source, source_labels = frames(pair.frames("source", "val"))
    return Reference(target=target, source=source, source_labels=source_labels, calibration=calibration)
