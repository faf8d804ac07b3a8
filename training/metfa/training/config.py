"""Everything that decides a training run, in one frozen record that travels in its checkpoint and its bundle."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

from metfa.runtime.contract import Roi

if TYPE_CHECKING:
    from collections.abc import Mapping

CONFIG = "training.json"
"""The file of a bundle that holds its :class:`TrainingConfig`."""

MethodName = Literal[
    "source-only",
    "adabn",
    "dann",
    "cdan",
    "adda",
    "mme",
    "mcc",
    "shot",
    "metfa-i",
    "metfa-ii",
    "metfa-iii",
    "metfa-iv",
    "metfa-v",
    "metfa-vi",
    "fine-tuned",
    "fully-supervised",
]
"""The rows of the tables, in their order."""

AUTO = "auto"
"""In place of a method: train the few below at the same settings, and take what a rule without labels prefers."""

AUTO_METHODS: tuple[MethodName, ...] = ("adabn", "mcc", "metfa-vi")
"""What ``auto`` trains. The first training is also that of ``source-only``."""

PAPER_METHODS: tuple[MethodName, ...] = (
    "source-only",
    "dann",
    "adda",
    "mme",
    "metfa-i",
    "metfa-ii",
    "metfa-iii",
    "metfa-iv",
    "metfa-v",
    "fine-tuned",
    "fully-supervised",
)
"""The rows of the paper's own tables. They are trained with its augmentation unless the user says otherwise."""

EncoderName = Literal["edge", "residual", "sononet16", "strided"]
TrainingPrecision = Literal["fp32", "bf16"]


class Preset(NamedTuple):
    """What decides the size of a model.

    Attributes:
        encoder: E.
        embedding: D.
        height: rows of the input.
        width: columns of the input.
    """

    encoder: EncoderName
    embedding: int
    height: int
    width: int


PRESETS: Mapping[str, Preset] = {
    "small": Preset("strided", 128, 56, 72),
    "edge": Preset("edge", 128, 112, 144),
    "sononet16": Preset("sononet16", 128, 224, 288),
    "compact": Preset("residual", 128, 224, 288),
    "paper": Preset("residual", 4096, 224, 288),
}
"""For small inputs; for an edge device; an encoder that has seen ultrasound, with ``--init``; the released code's, with
a small embedding and with its own."""


class Defaults(NamedTuple):
    """What a method takes unless the user says otherwise.

    Attributes:
        learning_rate: at the first step.
        weight_decay: L2.
        entropy: λ₆ of the minimax entropy, where the method has that term.
    """

    learning_rate: float
    weight_decay: float
    entropy: float = 5.0


_OWN = Defaults(learning_rate=1e-3, weight_decay=1e-5)

DEFAULTS: Mapping[MethodName, Defaults] = {
    "source-only": _OWN,
    "adabn": _OWN,
    "dann": Defaults(learning_rate=1e-2, weight_decay=1e-5),
    "cdan": Defaults(learning_rate=1e-2, weight_decay=1e-5),
    "adda": Defaults(learning_rate=1e-3, weight_decay=1e-5),
    "mme": Defaults(learning_rate=1e-2, weight_decay=5e-4),
    "mcc": Defaults(learning_rate=1e-2, weight_decay=5e-4),
    "shot": _OWN,
    "metfa-i": _OWN,
    "metfa-ii": _OWN,
    "metfa-iii": _OWN,
    "metfa-iv": _OWN,
    "metfa-v": _OWN,
    "metfa-vi": _OWN._replace(entropy=0.0),
    "fine-tuned": _OWN,
    "fully-supervised": _OWN,
}
"""The baselines' are their references'. λ₁ = 10 multiplies the cross-entropy of the others, theirs has weight 1.
MetFA-VI has minimum class confusion in place of the minimax entropy."""


PAPER_IMAGES_PER_CLASS = 5
MIN_BATCH = 30
"""Labelled images in a batch, at least, unless the user says otherwise: five for each of the paper's six planes. With
fewer, the statistics of batch norms are too noisy for the learning rate, and runs diverge."""


@dataclass(frozen=True, slots=True)
class Weights:
    """λ₁ … λ₆ of Eq. 8, with the paper's values, and what MetFA-VI adds.

    Attributes:
        ce: λ₁ of the cross-entropy on source labels.
        prior: λ₂ of the prior of the embedding.
        metric: λ₃ of cross-domain metric learning.
        reconstruction: λ₄ of the reconstruction.
        alignment: λ₅ of class-distribution alignment.
        entropy: λ₆ of the minimax entropy.
        consistency: of the consistency with the mean teacher.
        confusion: of the minimum class confusion.
    """

    ce: float = 10.0
    prior: float = 0.01
    metric: float = 0.1
    reconstruction: float = 1.0
    alignment: float = 10.0
    entropy: float = 5.0
    consistency: float = 5.0
    confusion: float = 10.0


@dataclass(frozen=True, slots=True)
class Augmentation:
    """What is done to every training image, of both domains and whatever the method.

    Attributes:
        flip: whether images are mirrored left to right at random (the paper's).
        noise: σ of the Gaussian noise on the normalised input (the released code's).
        extended: whether images are also turned, scaled, shifted, brightened and blurred a little; not in the paper.
    """

    flip: bool
    noise: float
    extended: bool


@dataclass(frozen=True, slots=True)
class InitialWeights:
    """Where an encoder's first weights come from.

    Attributes:
        path: ``SonoNet16.npz``, or the directory of a bundle, as the user names it.
        sha256: of the file that holds the weights.
        origin: who made them, and of what.
        licence: under which they may be used; None where the bundle that they are of does not say.
    """

    path: str
    sha256: str
    origin: str
    licence: str | None


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """One training run.

    Attributes:
        source: the labelled domain, as the user names it.
        target: the domain to adapt to; only ``fine-tuned`` and ``fully-supervised`` see its labels.
        source_region: the part of the source's pictures that the model sees; ``auto`` for the sector, None for all.
        target_region: the same for the target.
        strict: whether a file that cannot be used ends the run; otherwise it is skipped and reported.
        method: what a step does.
        encoder: E.
        height: rows of the input.
        width: columns of the input.
        embedding: D, dimensions of the Gaussian embedding.
        steps: optimisation steps, of all stages together.
        candidates: how often, spread evenly over the steps, the network is kept for selection.
        images_per_class: source images of each class in a batch; the target's part is as large as the source's. None
            for five, the paper's, or as many more as make up a batch of thirty.
        learning_rate: at the first step.
        momentum: of SGD.
        weight_decay: L2.
        prototype_temperature: τ₀.
        alignment_temperature: τ₁.
        augmentation: of every training image.
        confidence: from which on a pseudo-label of the mean teacher counts, 0 to 1.
        balance: whether MetFA-VI's target batches have equally many frames of each class that the teacher predicts.
        ramp: whether the weights of the terms that rest on pseudo-labels grow from zero.
        game: how Eq. 8 is played: both players in one pass, or one after the other.
        precision: of the encoder while it is trained.
        compiled: whether the encoder is compiled for training.
        threads: of the CPU that compute. The last digits of every sum depend on their number, so that it is part of the
            run; None until the run begins, for as many as are fastest then.
        selection: which candidate becomes the model: the one that :mod:`.selection.rule` prefers, or the last.
        seed: of initialisation, split, sampling, augmentation and the embedding's noise.
        weights: λ₁ … λ₆, and those of MetFA-VI.
        initial_weights: of the encoder; None where it is initialised at random.
        freeze_encoder: whether those stay as they are, but for what standardises the features.
        rivals: methods that are trained at the same settings after ``method``. The model is then the one that
            :mod:`.selection.between` prefers, source-only among them.
    """

    source: str
    target: str
    source_region: Roi
    target_region: Roi
    strict: bool
    method: MethodName
    encoder: EncoderName
    height: int
    width: int
    embedding: int
    steps: int
    candidates: int
    images_per_class: int | None
    learning_rate: float
    momentum: float
    weight_decay: float
    prototype_temperature: float
    alignment_temperature: float
    augmentation: Augmentation
    confidence: float
    balance: bool
    ramp: bool
    game: Literal["one-pass", "alternating"]
    precision: TrainingPrecision
    compiled: bool
    threads: int | None
    selection: Literal["validators", "last"]
    seed: int
    weights: Weights = field(default_factory=Weights)
    initial_weights: InitialWeights | None = None
    freeze_encoder: bool = False
    rivals: tuple[MethodName, ...] = ()

    def images_of_each_class(self, classes: int) -> int:
        """Return how many source images of each of ``classes`` classes a batch has."""
        if self.images_per_class is not None:
            return self.images_per_class
        return max(PAPER_IMAGES_PER_CLASS, -(-MIN_BATCH // classes))
