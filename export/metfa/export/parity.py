"""How far an artefact is from the network in PyTorch, in FP32, on the same frames: by domain and by class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from metfa.runtime.backends import Inference
from metfa.runtime.backends.choice import Precision

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import nn

    from .frames import FrameSet

_BATCH = 8  # the largest that engines take, and little memory


@dataclass(frozen=True, slots=True)
class Compared:
    """The frames of one domain.

    Attributes:
        frames: how many there are.
        description: what they are.
        accuracy: share of them that PyTorch labels rightly; None where they are not labelled.
    """

    frames: int
    description: str
    accuracy: float | None


@dataclass(frozen=True, slots=True)
class Differences:
    """Frame by frame, an artefact beside PyTorch. A frame with a number that is not finite is as far off as can be.

    Attributes:
        agrees: bool [N], whether the top class is the same, or one that PyTorch itself cannot tell from it.
        probability: float64 [N], the largest |Δp| of any class; 0 to 1.
        embedding: float64 [N], the cosine distance of the embeddings; 0 to 2.
        non_finite: int64 [N], how many numbers are NaN or infinite.
    """

    agrees: NDArray[np.bool_]
    probability: NDArray[np.float64]
    embedding: NDArray[np.float64]
    non_finite: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Agreement:
    """An artefact beside PyTorch on some frames.

    Attributes:
        frames: how many there are.
        top1: share of them with the same top class, up to ties.
        probability_difference: largest |Δp|; 1 where a number is not finite.
        embedding_distance: largest cosine distance; 2 where a number is not finite.
        non_finite: how many of the numbers are NaN or infinite.
    """

    frames: int
    top1: float
    probability_difference: float
    embedding_distance: float
    non_finite: int


@dataclass(frozen=True, slots=True)
class DomainComparison:
    """An artefact on the frames of one domain.

    Attributes:
        overall: on all of them.
        accuracy: share of them that it labels rightly; None where they are not labelled.
        classes: on those of each class that is there: of labelled frames their own class, of others what PyTorch says.
    """

    overall: Agreement
    accuracy: float | None
    classes: dict[str, Agreement]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One artefact beside PyTorch in FP32.

    Attributes:
        artefact: name of the file.
        precision: that it is in.
        computed_by: what ran it.
        domains: by the name of the frames.
    """

    artefact: str
    precision: Precision
    computed_by: str
    domains: dict[str, DomainComparison]


def run_in_batches(infer: Callable[[NDArray[np.uint8]], Inference], frames: NDArray[np.uint8]) -> Inference:
    """Run ``infer`` on all ``frames``, uint8 [N, 1, H, W], a few at a time."""
    parts = [infer(frames[start : start + _BATCH]) for start in range(0, len(frames), _BATCH)]
    return Inference(
        np.concatenate([part.logits for part in parts]), np.concatenate([part.embedding for part in parts])
    )


def run_module(module: nn.Module, frames: NDArray[np.uint8]) -> Inference:
    """Run a PyTorch module that returns logits and embedding on all ``frames``, uint8 [N, 1, H, W]."""

    def infer(batch: NDArray[np.uint8]) -> Inference:
        with torch.inference_mode():
            logits, embedding = module(torch.from_numpy(batch))
        return Inference(logits.numpy(), embedding.numpy())

    return run_in_batches(infer, frames)


def measure(expected: Inference, received: Inference, *, tie: float) -> Differences:
    """Measure how far what an artefact computed is from what PyTorch did on the same frames.

    Args:
        expected: what PyTorch computed.
        received: what the artefact did.
        tie: classes whose probabilities PyTorch itself tells apart by no more than this are a tie: either is right.
    """
    non_finite = sum((~np.isfinite(numbers)).sum(1) for numbers in (received.logits, received.embedding))
    lost = np.asarray(non_finite, np.int64) > 0
    reference = expected.probabilities
    probabilities = Inference(np.where(lost[:, np.newaxis], 0, received.logits), received.embedding).probabilities
    chosen = np.take_along_axis(reference, probabilities.argmax(1, keepdims=True), 1)[:, 0]
    embedding = np.where(lost[:, np.newaxis], 0, received.embedding)
    return Differences(
        agrees=(chosen >= reference.max(1) - tie) & ~lost,
        probability=np.where(lost, 1, np.abs(probabilities - reference).max(1)),
        embedding=np.where(lost, 2, _cosine_distance(expected.embedding, embedding)),
        non_finite=np.asarray(non_finite, np.int64),
    )


def summarise(
    frames: FrameSet, labels: Sequence[str], expected: Inference, received: Inference, differences: Differences
) -> DomainComparison:
    """Summarise differences over the frames of a domain, and over those of each class.

    Args:
        frames: the domain's.
        labels: the class names, in the order of the logits.
        expected: what PyTorch computed on them.
        received: what the artefact did.
        differences: between the two.
    """
    classes = expected.logits.argmax(1) if frames.labels is None else frames.labels
    right = None if frames.labels is None else received.logits.argmax(1) == frames.labels
    return DomainComparison(
        overall=_agreement(differences, np.ones(len(classes), bool)),
        accuracy=None if right is None else float(right.mean()),
        classes={labels[index]: _agreement(differences, classes == index) for index in np.unique(classes)},
    )


def _agreement(differences: Differences, chosen: NDArray[np.bool_]) -> Agreement:
    return Agreement(
        frames=int(chosen.sum()),
        top1=float(differences.agrees[chosen].mean()),
        probability_difference=float(differences.probability[chosen].max()),
        embedding_distance=float(differences.embedding[chosen].max()),
        non_finite=int(differences.non_finite[chosen].sum()),
    )


def _cosine_distance(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    """Row by row; two rows of zeros are no distance apart, zeros and anything else are 1 apart."""
    lengths = [np.linalg.norm(rows.astype(np.float64), axis=1) for rows in (a, b)]
    units = [rows / np.maximum(length, 1e-12)[:, np.newaxis] for rows, length in zip((a, b), lengths, strict=True)]
    distance = np.asarray(((units[0] - units[1]) ** 2).sum(1) / 2)
    return np.where((lengths[0] == 0) != (lengths[1] == 0), 1, distance)
