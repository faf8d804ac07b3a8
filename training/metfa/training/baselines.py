"""What adaptation is compared with: the same network, trained on the source's labels alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from metfa.runtime.bundle import CHECKPOINT
from metfa.runtime.errors import DivergenceError, TrainingError

from .config import OPTIMISATION, MethodName
from .data.store import UNLABELLED
from .development import develop
from .evaluation.network import evaluate, infer
from .evaluation.scores import Scores
from .selection.rule import choose
from .selection.validators import Validators, validate

if TYPE_CHECKING:
    from pathlib import Path

    from lightning_fabric import Fabric

    from .config import TrainingConfig
    from .data.pair import DomainPair

BASELINES: tuple[MethodName, MethodName] = ("source-only", "adabn")
"""Both come from one training: they differ in the batch-norm statistics, and in which candidate is chosen."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """What comes of a run without adaptation, at the settings of the run that it is compared with.

    Attributes:
        method: ``source-only``, with the source's batch-norm statistics, or ``adabn``, with the target's.
        selected_step: of the candidate that its own rule chooses.
        validators: what that is judged by, on held-out target frames without their labels.
        target: its scores on the target's test frames; None where the target has no labels.
    """

    method: MethodName
    selected_step: int
    validators: Validators
    target: Scores | None


def train_baselines(
    config: TrainingConfig, pair: DomainPair, directory: Path, fabric: Fabric
) -> tuple[Baseline, ...] | None:
    """Train on the source alone, or go on with that, and score source-only and adabn. For the main thread.

    Args:
        config: the run to compare with.
        pair: its domains.
        directory: where checkpoint and candidates are kept.
        fabric: where to compute, launched.

    Returns:
        Both, or None where the training was interrupted, and in all processes but the first.

    Raises:
        BundleError: the directory holds a damaged checkpoint.
        TrainingError: the objective is no longer finite.
        OutputError: the directory cannot be written.
    """
    try:
        run = develop(baseline_config(config), pair, directory, fabric, resume=(directory / CHECKPOINT).exists())
    except DivergenceError as cause:
        raise TrainingError(
            expected="a source-only run to compare with",
            received=cause.received,
            remedy="finish without it: metfa-train --resume, with --bundle as before and without --compare",
        ) from None
    if run is None:
        return None
    validation, test = (run.seen(pair.frames("target", split)) for split in ("val", "test"))
    labelled = bool((test.labels != UNLABELLED).any())
    baselines = []
    for method in BASELINES:
        chosen = run.selected
        if method == "source-only" and config.selection == "validators":
            chosen = choose(run.validators, adapts=False)
        adapted, source = run.candidates.networks(run.steps[chosen], run.method.network.config)
        network = (source if method == "source-only" else adapted).to(fabric.device)
        target = infer(network, validation.frames)
        judged = validate(
            target.probabilities.astype(np.float64),
            target.embedding,
            supervised_accuracy=run.validators[chosen].supervised_accuracy,
        )
        scores = evaluate(network, test) if labelled else None
        baselines.append(Baseline(method, run.steps[chosen], judged, scores))
    return tuple(baselines)


def baseline_config(config: TrainingConfig) -> TrainingConfig:
    """Return the run to compare with: the same, but for what the method's own optimiser takes by default."""
    usual, own = OPTIMISATION[config.method], OPTIMISATION["adabn"]
    return replace(
        config,
        method="adabn",
        learning_rate=own.learning_rate if config.learning_rate == usual.learning_rate else config.learning_rate,
        weight_decay=own.weight_decay if config.weight_decay == usual.weight_decay else config.weight_decay,
    )
