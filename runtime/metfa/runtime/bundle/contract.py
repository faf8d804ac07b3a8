"""The contract between a model and whatever runs it: strict JSON, carried by the bundle and by the ONNX itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ..errors import ContractError
from ..text import printable
from . import records

SCHEMA = 5
"""Version of the contract's fields. Another version is refused."""

METADATA_KEY = "metfa.contract"
"""Key of the ONNX ``metadata_props`` entry that holds the contract."""

MAX_SIDE = 4096
"""Pixels of an input; more than any ultrasound frame has, and little enough for any memory."""

MAX_DIMENSIONS = 1 << 16
"""Of an embedding."""

MAX_TEMPERATURE = 1000
"""That logits are divided by; ten times what calibration fits."""

MAX_LABEL_LENGTH = 64
"""Characters."""

LABEL_RULE = f"of 1 to {MAX_LABEL_LENGTH} characters, none of which controls a terminal"

_REMEDY = "train or export the model again with this version of metfa"


@dataclass(frozen=True, slots=True)
class Normalisation:
    """How the graph turns grey levels 0–255 into what the encoder sees; it is part of the exported graph.

    Attributes:
        kind: ``fixed``: (x − mean) · scale; ``per-image``: (x − mean(x)) / std(x) · scale.
        scale: factor, > 0.
        mean: grey level to subtract where kind is ``fixed``, None where it is ``per-image``.
    """

    kind: Literal["fixed", "per-image"]
    scale: float
    mean: float | None

    def __post_init__(self) -> None:
        if not (0 < self.scale < math.inf and math.isfinite(self.mean or 0)):
            raise ValueError(f"scale {self.scale} is not above 0, or mean {self.mean} not finite")
        if (self.mean is None) != (self.kind == "per-image"):
            raise ValueError(f"mean {self.mean} does not go with kind {self.kind!r}")


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle of a frame, in pixels from its top left corner."""

    x: int
    y: int
    width: int
    height: int

    def __post_init__(self) -> None:
        if min(self.x, self.y) < 0 or min(self.width, self.height) < 1:
            raise ValueError(f"region {self} is empty or begins outside the frame")

    def __str__(self) -> str:
        return f"{self.x},{self.y},{self.width},{self.height}"


Roi: TypeAlias = Region | Literal["auto"] | None
"""What of a scanner's frames the model sees: a region, the sector that :mod:`.sector` finds in them, or all of it."""


@dataclass(frozen=True, slots=True)
class InputSpec:
    """The tensor ``frame``: uint8 [N, 1, height, width], N dynamic.

    Attributes:
        height: pixels, ≥ 28 and ≤ ``MAX_SIDE``.
        width: pixels, the same.
        resize: how :mod:`metfa.runtime.imaging.preprocess` brings a frame to that size.
        normalisation: what the graph does first.
        region: the part of the scanner's frames that the model was made for; ``auto`` for the sector that is found in
            them, None for all of it.
    """

    height: int
    width: int
    resize: Literal["halve-linear"]
    normalisation: Normalisation
    region: Roi

    def __post_init__(self) -> None:
        if min(self.height, self.width) < 28:
            raise ValueError(f"input size {self.height}x{self.width} is below 28x28")
        if max(self.height, self.width) > MAX_SIDE:
            raise ValueError(f"input size {self.height}x{self.width} is beyond {MAX_SIDE}x{MAX_SIDE}")


RejectionScore: TypeAlias = Literal["max-probability", "max-logit", "energy"]


@dataclass(frozen=True, slots=True)
class Rejection:
    """Which frames show no plane that the model knows: those whose score is below the threshold.

    Attributes:
        score: of a frame's logits g: ``max-probability`` is the largest of softmax(g / temperature), ``max-logit`` the
            largest of g (of MetFA's, the cosine to the nearest prototype over τ₀), ``energy`` log Σ exp g.
        threshold: in the score's unit.
    """

    score: RejectionScore
    threshold: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.threshold):
            raise ValueError(f"rejection threshold {self.threshold} is not finite")


@dataclass(frozen=True, slots=True)
class DecisionSpec:
    """How :mod:`metfa.runtime.decisions.decider` turns the predictions of successive frames into decisions.

    Attributes:
        temperature: what the logits are divided by before the softmax, so that probabilities are calibrated; > 0, at
            most ``MAX_TEMPERATURE`` and at least one over it.
        rejection: which frames show no known plane; None where every frame is taken to show one of the labels.
        background: the labels that are no planes.
        max_validation_confidence: greatest probability of a plane among the held-out frames of the scanner that the
            model is for, but of rejected ones; None where it was not measured.
        smoothing_ms: time constant of the exponential average of the probabilities, > 0.
        enter: smoothed probability from which a plane counts as seen; above 0.5, so that only one can be.
        exit: smoothed probability below which it no longer does, in (0, enter].
        dwell_ms: how long it must have been seen before it is shown, ≥ 0.
        gap_ms: after a pause that is longer, what was seen before counts for nothing; > 0.
    """

    temperature: float
    rejection: Rejection | None
    background: tuple[str, ...]
    max_validation_confidence: float | None = None
    smoothing_ms: float = 150.0
    enter: float = 0.8
    exit: float = 0.5
    dwell_ms: float = 100.0
    gap_ms: float = 1500.0

    def __post_init__(self) -> None:
        if not 1 / MAX_TEMPERATURE <= self.temperature <= MAX_TEMPERATURE:
            raise ValueError(f"temperature {self.temperature} is not from {1 / MAX_TEMPERATURE} to {MAX_TEMPERATURE}")
        if not 0 <= (self.max_validation_confidence or 0) <= 1:
            raise ValueError(f"confidence {self.max_validation_confidence} is not from 0 to 1")
        if not (0 < self.smoothing_ms < math.inf and 0 <= self.dwell_ms < math.inf and 0 < self.gap_ms < math.inf):
            raise ValueError(
                f"smoothing {self.smoothing_ms}, dwell {self.dwell_ms} or gap {self.gap_ms} is no time in milliseconds"
            )
        if not (0 < self.exit <= self.enter <= 1 and self.enter > 0.5):
            raise ValueError(f"exit {self.exit} and enter {self.enter} are not 0 < exit ≤ enter ≤ 1 with enter > 0.5")


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where the model came from.

    Attributes:
        software: name and version of what wrote the contract.
        method: how the model was trained (``metfa-v``, ``source-only``, …) or the published network's name.
        source: the labelled domain, as it was named.
        target: the unlabelled domain, as it was named; None where the method used none.
    """

    software: str
    method: str
    source: str
    target: str | None


@dataclass(frozen=True, slots=True)
class ModelContract:
    """What a model takes, what it returns and what its numbers mean.

    The outputs are ``logits`` float32 [N, M] and ``embedding`` float32 [N, D] (the mean μ, no sampling).

    Attributes:
        schema: version of these fields.
        labels: the M class names, in the order of the logits.
        embedding: D.
        input: the tensor ``frame``.
        decision: how predictions become decisions.
        provenance: where the model came from.
    """

    schema: int
    labels: tuple[str, ...]
    embedding: int
    input: InputSpec
    decision: DecisionSpec
    provenance: Provenance

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise ValueError(f"schema {self.schema} where this version of metfa reads schema {SCHEMA}")
        for label in self.labels:
            if not is_label(label):
                raise ValueError(f"the label {label!r} is not {LABEL_RULE}")
        if len(self.labels) < 2 or len(set(self.labels)) != len(self.labels):
            raise ValueError(f"labels {self.labels} are not two or more different names")
        if not 1 <= self.embedding <= MAX_DIMENSIONS:
            raise ValueError(f"embedding {self.embedding} is not a number of dimensions up to {MAX_DIMENSIONS}")
        if not set(self.decision.background) < set(self.labels):
            raise ValueError(f"background {self.decision.background} is not a part of the labels {self.labels}")

    def to_json(self) -> str:
        """Return the contract as JSON."""
        return records.to_json(self)

    @classmethod
    def from_json(cls, text: str | bytes, *, origin: str) -> ModelContract:
        """Read a contract.

        Args:
            text: the JSON document.
            origin: where it came from, for the message.

        Raises:
            ContractError: it is not JSON, of another schema, or has an unknown, missing or invalid field.
        """
        return records.from_json(cls, text, origin=origin, remedy=_REMEDY, error=ContractError)


def is_label(text: str) -> bool:
    """Return whether a class may be called that; see ``LABEL_RULE``."""
    return 1 <= len(text) <= MAX_LABEL_LENGTH and printable(text) == text


def software() -> str:
    """Return the name and version of this package, for :class:`Provenance` and reports."""
    from importlib.metadata import version  # here, as it takes as long to import as click

    return f"metfa {version('metfa')}"
