"""The gate: an artefact enters the bundle only if it computes what the network computes in PyTorch, in FP32."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from metfa.runtime.backends import Inference
from metfa.runtime.engine import OperationCounts
from metfa.runtime.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import nn

    from metfa.runtime.backends.choice import Precision

_BATCH = 8  # the largest that engines take, and little memory


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far an artefact may be from PyTorch in FP32.

    Attributes:
        agreement: least share of frames with the same top class. Classes whose probabilities PyTorch itself tells apart
            by less than ``probability_difference`` are a tie: either is right.
        probability_difference: largest |Δp| of any class of any frame.
        embedding_distance: largest cosine distance of a frame's embedding.
    """

    agreement: float
    probability_difference: float
    embedding_distance: float


TOLERANCES: dict[Precision, Tolerance] = {
    # Only the order of float32 sums differs: 1e-6 is usual; 1e-4 leaves room for other processors.
    "fp32": Tolerance(agreement=1.0, probability_difference=1e-4, embedding_distance=1e-5),
    # Half precision has 11 bits: a cosine off by 1e-3 moves a logit by 0.02 (τ₀ = 0.05) and a probability by ≤ 0.005.
    "fp16": Tolerance(agreement=0.99, probability_difference=0.02, embedding_distance=1e-3),
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """One artefact beside PyTorch in FP32.

    Attributes:
        artefact: name of the file.
        computed_by: what ran it.
        agreement: share of frames with the same top class, up to ties.
        probability_difference: largest |Δp|; infinite where a number is not finite.
        embedding_distance: largest cosine distance; infinite where a number is not finite.
        non_finite: how many of its numbers are NaN or infinite.
    """

    artefact: str
    computed_by: str
    agreement: float
    probability_difference: float
    embedding_distance: float
    non_finite: int


@dataclass(frozen=True, slots=True)
class ParityReport:
    """What the gate let through.

    Attributes:
        software: name and version of what wrote it.
        frames: how many frames were compared.
        frames_from: what they are.
        comparisons: one per artefact and way of computing it.
        operations: per FP16 artefact, the proof of its precision.
    """

    software: str
    frames: int
    frames_from: str
    comparisons: tuple[Comparison, ...]
    operations: dict[str, OperationCounts]


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


def compare(
    artefact: str, precision: Precision, computed_by: str, *, expected: Inference, received: Inference
) -> Comparison:
    """Compare what an artefact computed with what PyTorch did on the same frames.

    Raises:
        ExportError: the difference is beyond the tolerance of ``precision``.
    """
    tolerance = TOLERANCES[precision]
    non_finite = sum(int((~np.isfinite(numbers)).sum()) for numbers in (received.logits, received.embedding))
    if non_finite:
        comparison = Comparison(artefact, computed_by, 0.0, float("inf"), float("inf"), non_finite)
    else:
        reference, probabilities = expected.probabilities, received.probabilities
        chosen = np.take_along_axis(reference, probabilities.argmax(1, keepdims=True), 1)[:, 0]
        comparison = Comparison(
            artefact,
            computed_by,
            agreement=float(np.mean(chosen >= reference.max(1) - tolerance.probability_difference)),
            probability_difference=float(np.abs(probabilities - reference).max()),
            embedding_distance=float(_cosine_distance(expected.embedding, received.embedding).max()),
            non_finite=0,
        )
    _require(comparison, tolerance)
    return comparison


def _require(comparison: Comparison, tolerance: Tolerance) -> None:
    if (
        comparison.agreement >= tolerance.agreement
        and comparison.probability_difference <= tolerance.probability_difference
        and comparison.embedding_distance <= tolerance.embedding_distance
    ):
        return
    raise ExportError(
        expected=(
            f"{comparison.artefact} ({comparison.computed_by}) to agree with PyTorch on {tolerance.agreement:.0%} of "
            f"frames, with probabilities within {tolerance.probability_difference:g} and embeddings within a cosine "
            f"distance of {tolerance.embedding_distance:g}"
        ),
        received=(
            f"{comparison.agreement:.1%}, {comparison.probability_difference:.2g} and "
            f"{comparison.embedding_distance:.2g}, with {comparison.non_finite} numbers that are not finite"
        ),
        remedy="the bundle is as it was; export without --fp16 if only half precision differs, or train again",
    )


def _cosine_distance(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    """Row by row; two rows of zeros are no distance apart, zeros and anything else are 1 apart."""
    a, b = (rows / np.maximum(np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True), 1e-12) for rows in (a, b))
    return np.asarray(((a - b) ** 2).sum(1) / 2)
