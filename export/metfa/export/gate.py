"""The gate: an artefact enters the bundle only if it computes what the network computes in PyTorch, in FP32."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from metfa.runtime.errors import ExportError

if TYPE_CHECKING:
    from metfa.runtime.backends.choice import Precision

    from .parity import Agreement, Comparison


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far an artefact may be from PyTorch in FP32, on the frames of each domain by itself.

    Attributes:
        top1: least share of frames with the same top class.
        tie: classes whose probabilities PyTorch itself tells apart by no more than this are a tie: either is right.
        probability_difference: largest |Δp| of any class of any frame.
        embedding_distance: largest cosine distance of a frame's embedding.
    """

    top1: float
    tie: float
    probability_difference: float
    embedding_distance: float


TOLERANCES: dict[Precision, Tolerance] = {
    # Only the order of float32 sums differs: 1e-6 is usual; 1e-4 leaves room for other processors.
    "fp32": Tolerance(top1=1.0, tie=1e-4, probability_difference=1e-4, embedding_distance=1e-5),
    # Half precision has 11 bits: a cosine off by 1e-3 moves a logit by 0.02 (τ₀ = 0.05) and a probability by ≤ 0.005.
    "fp16": Tolerance(top1=0.99, tie=0.02, probability_difference=0.02, embedding_distance=1e-3),
}


def is_within(agreement: Agreement, tolerance: Tolerance) -> bool:
    """Return whether an artefact is as close to PyTorch as it must be."""
    return (
        agreement.top1 >= tolerance.top1
        and agreement.probability_difference <= tolerance.probability_difference
        and agreement.embedding_distance <= tolerance.embedding_distance
        and not agreement.non_finite
    )


def require_parity(comparison: Comparison) -> None:
    """Let an artefact through.

    Raises:
        ExportError: on the frames of a domain, it is beyond the tolerance of its precision.
    """
    tolerance = TOLERANCES[comparison.precision]
    for name, domain in comparison.domains.items():
        overall = domain.overall
        if is_within(overall, tolerance):
            continue
        label, worst = max(domain.classes.items(), key=lambda item: (1 - item[1].top1, item[1].probability_difference))
        raise ExportError(
            expected=(
                f"{comparison.artefact} ({comparison.computed_by}) to agree with PyTorch on {tolerance.top1:.0%} of "
                f"the frames of {name}, with probabilities within {tolerance.probability_difference:g} and embeddings "
                f"within a cosine distance of {tolerance.embedding_distance:g}"
            ),
            received=(
                f"{overall.top1:.1%}, {overall.probability_difference:.2g} and {overall.embedding_distance:.2g}, with "
                f"{overall.non_finite} numbers that are not finite (worst class: {label}, {worst.top1:.1%} of "
                f"{worst.frames})"
            ),
            remedy=_REMEDIES[comparison.precision],
        )


_REMEDIES: dict[Precision, str] = {
    "fp32": "the bundle is as it was; look at the frames with --worst DIR, and report this",
    "fp16": "the bundle is as it was; look at the frames with --worst DIR, export without --fp16, or train again",
}
