"""Everything that decides a training run, in one frozen record that travels in its checkpoint and its bundle."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from metfa.runtime.contract import Region

MethodName = Literal["source-only", "metfa-i", "metfa-ii", "metfa-iii", "metfa-iv", "metfa-v"]

EMBEDDINGS = {"compact": 128, "paper": 4096}
"""Dimensions of the embedding by preset: one that fits an edge device, and the released code's."""


@dataclass(frozen=True, slots=True)
class Weights:
    """λ₁ … λ₆ of Eq. 8, with the paper's values.

    Attributes:
        ce: λ₁ of the cross-entropy on source labels.
        prior: λ₂ of the prior of the embedding.
        metric: λ₃ of cross-domain metric learning.
        reconstruction: λ₄ of the reconstruction.
        alignment: λ₅ of class-distribution alignment.
        entropy: λ₆ of the minimax entropy.
    """

    ce: float = 10.0
    prior: float = 0.01
    metric: float = 0.1
    reconstruction: float = 1.0
    alignment: float = 10.0
    entropy: float = 5.0


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """One training run.

    Attributes:
        source: the labelled domain, as the user names it.
        target: the unlabelled domain.
        source_region: the part of the source's pictures that the model sees; None for all.
        target_region: the same for the target.
        method: which objective.
        height: rows of the input.
        width: columns of the input.
        embedding: D, dimensions of the Gaussian embedding.
        steps: optimisation steps.
        images_per_class: source images of each class in a batch; the target's part is as large as the source's.
        learning_rate: of SGD at the first step, from where it falls to zero.
        momentum: of SGD.
        weight_decay: L2.
        weights: λ₁ … λ₆.
        prototype_temperature: τ₀.
        alignment_temperature: τ₁.
        noise: σ of the Gaussian noise on the normalised input.
        ramp: whether the weights of the terms that rest on pseudo-labels grow from zero.
        flip: whether images are mirrored at random.
        seed: of initialisation, split, sampling, augmentation and the embedding's noise.
    """

    source: str
    target: str
    source_region: Region | None
    target_region: Region | None
    method: MethodName
    height: int
    width: int
    embedding: int
    steps: int
    images_per_class: int
    learning_rate: float
    momentum: float
    weight_decay: float
    prototype_temperature: float
    alignment_temperature: float
    noise: float
    ramp: bool
    flip: bool
    seed: int
    weights: Weights = field(default_factory=Weights)
