"""Everything that decides a training run, in one frozen record that travels in its checkpoint and its bundle."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from metfa.runtime.bundle.contract import Roi

from .ancestry import InitialWeights, Origin
from .names import DEFAULTS, ENCODER_NAMES, PAPER_METHODS, Defaults, EncoderName, MethodName, defaults_of
from .settings import Names, check, setting

CONFIG = "training.json"
"""The file of a bundle that holds its :class:`TrainingConfig`."""

TrainingPrecision = Literal["fp32", "bf16"]

PAPER_IMAGES_PER_CLASS = 5
MIN_BATCH = 30
"""Labelled images in a batch, at least, unless the user says otherwise: five for each of the paper's six planes. With
fewer, the statistics of batch norms are too noisy for the learning rate, and runs diverge."""


@dataclass(frozen=True, slots=True)
class Weights:
    """λ₁ … λ₆ of Eq. 8, with the paper's values, and what MetFA-VI adds."""

    ce: float = setting(10.0, "--lambda-ce", "Optimisation", "λ₁, cross-entropy on source labels.", low=0)
    prior: float = setting(0.01, "--lambda-prior", "Optimisation", "λ₂, prior of the embedding.", low=0)
    metric: float = setting(0.1, "--lambda-m", "Optimisation", "λ₃, cross-domain metric learning.", low=0)
    reconstruction: float = setting(1.0, "--lambda-rec", "Optimisation", "λ₄, reconstruction.", low=0)
    alignment: float = setting(10.0, "--lambda-kl", "Optimisation", "λ₅, class-distribution alignment.", low=0)
    entropy: float = setting(
        None,
        "--lambda-h",
        "Optimisation",
        "λ₆, minimax entropy.",
        low=0,
        shown="5; 0 with metfa-vi, which has --lambda-mcc",
    )
    consistency: float = setting(
        5.0,
        "--lambda-consistency",
        "Optimisation",
        "Weight of the consistency with the mean teacher (metfa-vi).",
        low=0,
    )
    confusion: float = setting(10.0, "--lambda-mcc", "Optimisation", "Minimum class confusion (metfa-vi).", low=0)


@dataclass(frozen=True, slots=True)
class Augmentation:
    """What is done to every training image, of both domains and whatever the method."""

    flip: bool = setting(
        True, "--flip/--no-flip", "Augmentation", "Mirror images at random; not where that changes the class."
    )
    noise: float = setting(0.1, "--noise", "Augmentation", "σ of the noise on the normalised input.", low=0)
    extended: bool = setting(
        None,
        "--extended-augmentation/--paper-augmentation",
        "Augmentation",
        "Also turn, scale, shift, brighten and blur images a little; not in the paper.",
        shown="the paper's for its own methods, extended for the others",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """One training run: ``TrainingConfig(source="images/A", target="images/B")`` is one with every default.

    What a field means is the text of its setting. Where its default depends on others, it is filled in when the record
    is made; :meth:`with_method` changes the method of a record with what is the method's own.

    Raises:
        ValueError: a field is none of what its setting allows, a frozen encoder has no initial weights, or a run
            without the source's images is to learn from them first.
    """

    source: str = setting(
        "phantom:A",
        "--source",
        "Data",
        "Labelled domain: class folders, TABLE.csv?COLUMN=VALUE, fetal-planes-db:DIR, or phantom:NAME.",
    )
    target: str = setting(
        "phantom:B",
        "--target",
        "Data",
        "Domain to adapt to: likewise, or a folder of images, recordings or DICOM files. Its labels, if any, only "
        "score the result; fine-tuned and fully-supervised alone learn from them.",
    )
    source_region: Roi = setting(
        None,
        "--source-roi",
        "Data",
        "Part of the source's images that the model sees: auto finds the ultrasound in them.",
        shown="full",
    )
    target_region: Roi = setting(None, "--target-roi", "Data", "The same for the target's.", shown="full")
    labelled_target: str | None = setting(
        None,
        "--labelled-target",
        "Data",
        "Images of the target's scanner with labels, a few of each class, that a method which adapts learns from.",
    )
    strict: bool = setting(
        False, "--strict", "Data", "End where a file of either domain cannot be used, in place of skipping it."
    )

    method: MethodName = setting(
        "metfa-vi",
        "--method",
        "Method",
        "How to adapt. fine-tuned and fully-supervised are references that need the target's labels.",
        names=Names("metfa.methods", tuple(DEFAULTS)),
    )
    confidence: float = setting(
        0.8,
        "--confidence",
        "Method",
        "The least confidence of the mean teacher at which its pseudo-label counts (metfa-vi).",
        low=0,
        high=1,
    )
    balance: bool = setting(
        True,
        "--balance/--no-balance",
        "Method",
        "Draw the target's frames evenly over the classes that the mean teacher gives them (metfa-vi).",
    )
    equal_shares: float = setting(
        None,
        "--equal-shares",
        "Method",
        "Shift the teacher's labels towards equally many of each plane: 1 if they are, 0 not at all (metfa-vi).",
        low=0,
        high=1,
        shown="0.5; 0 with --freeze-encoder",
    )
    source_first: float = setting(
        None,
        "--source-first",
        "Method",
        "Share of the steps that learn from the source alone, before the target's frames come in (metfa-vi).",
        low=0,
        high=1,
        high_open=True,
        shown="0.2; 0 with --from or --freeze-encoder",
    )
    ramp: bool = setting(
        True, "--ramp/--no-ramp", "Method", "Grow what rests on pseudo-labels from zero, as they become meaningful."
    )
    game: Literal["one-pass", "alternating"] = setting(
        "one-pass",
        "--game",
        "Method",
        "Update the prototypes and everything else together, or one after the other at twice the cost.",
    )
    prototype_temperature: float = setting(
        0.05, "--tau0", "Method", "Temperature τ₀ of the prototypes.", low=0, low_open=True
    )
    alignment_temperature: float = setting(
        2.0, "--tau1", "Method", "Temperature τ₁ of the alignment.", low=0, low_open=True
    )

    encoder: EncoderName = setting(
        "edge",
        "--encoder",
        "Model",
        "The network E.",
        shown="the preset's",
        names=Names("metfa.encoders", ENCODER_NAMES),
    )
    embedding: int = setting(128, "--embedding", "Model", "Dimensions D of the embedding.", shown="the preset's", low=1)
    height: int = 112
    width: int = 144
    freeze_encoder: bool = setting(
        False, "--freeze-encoder", "Model", "Leave the initial weights as they are, and train what follows, in seconds."
    )

    steps: int = setting(2000, "--steps", "Optimisation", "Optimisation steps, of all stages together.", low=1)
    images_per_class: int | None = setting(
        None,
        "--images-per-class",
        "Optimisation",
        "Labelled images of each class in a batch; of the target there are as many in all.",
        low=2,
        shown="5, or as many as make up a batch of 30",
    )
    learning_rate: float = setting(
        None,
        "--learning-rate",
        "Optimisation",
        "At the first step.",
        low=0,
        low_open=True,
        shown="the method's own",
    )
    momentum: float = setting(
        0.9,
        "--momentum",
        "Optimisation",
        "Of SGD, which adda does not have, nor metfa-vi unless the encoder is frozen.",
        low=0,
        high=1,
        low_open=True,
        high_open=True,
    )
    weight_decay: float = setting(
        None,
        "--weight-decay",
        "Optimisation",
        "L2; of AdamW with metfa-vi, unless the encoder is frozen.",
        low=0,
        shown="the method's own",
    )
    weights: Weights = field(default_factory=Weights)

    augmentation: Augmentation = field(default_factory=Augmentation)

    candidates: int = setting(
        10, "--candidates", "Run", "Networks kept over the run, evenly spread, to choose one from.", low=1
    )
    selection: Literal["validators", "last"] = setting(
        "validators",
        "--select",
        "Run",
        "Take the last candidate that has neither collapsed nor lost the source, or the last.",
    )
    seed: int = setting(
        0, "--seed", "Run", "Of initialisation, split, sampling, augmentation and the embedding's noise.", low=0
    )
    precision: TrainingPrecision | None = setting(
        None,
        "--precision",
        "Run",
        "Of the encoder in training; bf16 on a GPU that has it.",
        shown="bf16 on a CPU that computes in it, else fp32",
    )
    compiled: bool = setting(
        False,
        "--compile/--no-compile",
        "Run",
        "Compile the encoder in the first step, for minutes at most; later ones are faster.",
    )
    threads: int | None = setting(
        None,
        "--threads",
        "Run",
        "Threads of the CPU that compute. The last digits of every sum depend on their number.",
        low=1,
        shown="as many as are fastest when the run begins",
    )

    keep_frames: bool = setting(
        True, "--frames/--no-frames", "Run", "Keep frames of both domains in the bundle, to compare exports on."
    )

    origin: Origin | None = None
    """The bundle that the run begins with; None where the source's images are there."""
    initial_weights: InitialWeights | None = None
    """Of the encoder; None where it is initialised at random."""
    rivals: tuple[MethodName, ...] = ()
    """Methods that are trained after ``method``; of all and source-only, :mod:`.selection.between` takes the model."""

    def __post_init__(self) -> None:
        """Check what was given, and fill in what was left to the method."""
        check(self)
        if self.freeze_encoder and self.initial_weights is None and self.origin is None:
            raise ValueError("expected initial_weights or an origin with freeze_encoder, received neither")
        own = self._defaults_of(self.method)

        def fill(name: str, value: object) -> None:
            object.__setattr__(self, name, value)  # as the record is frozen only when it is whole

        if self.equal_shares is None:
            fill("equal_shares", 0.0 if self.freeze_encoder else 0.5)
        if self.source_first is None:
            fill("source_first", 0.0 if self.origin or self.freeze_encoder else 0.2)
        if self.source_first and self.origin:
            raise ValueError("expected source_first to be 0 with an origin, which has learnt from its source already")
        if self.learning_rate is None:
            fill("learning_rate", own.learning_rate)
        if self.weight_decay is None:
            fill("weight_decay", own.weight_decay)
        if self.weights.entropy is None:
            fill("weights", replace(self.weights, entropy=own.entropy))
        if self.augmentation.extended is None:
            fill("augmentation", replace(self.augmentation, extended=self.method not in PAPER_METHODS))

    def with_method(self, method: MethodName) -> TrainingConfig:
        """Return the run of another method: the same, with that method's own learning rate, weight decay and λ₆.

        A value that differs from what this record's method would take was chosen and stays, as does all but the rivals.
        """
        usual, own = self._defaults_of(self.method), self._defaults_of(method)

        def value(given: float, of_this: float, of_other: float) -> float:
            return of_other if given == of_this else given

        return replace(
            self,
            method=method,
            rivals=(),
            learning_rate=value(self.learning_rate, usual.learning_rate, own.learning_rate),
            weight_decay=value(self.weight_decay, usual.weight_decay, own.weight_decay),
            weights=replace(self.weights, entropy=value(self.weights.entropy, usual.entropy, own.entropy)),
        )

    def _defaults_of(self, method: MethodName) -> Defaults:
        return defaults_of(method, frozen=self.freeze_encoder, source_free=self.origin is not None)

    def images_of_each_class(self, classes: int) -> int:
        """Return how many source images of each of ``classes`` classes a batch has."""
        if self.images_per_class is not None:
            return self.images_per_class
        return max(PAPER_IMAGES_PER_CLASS, -(-MIN_BATCH // classes))
