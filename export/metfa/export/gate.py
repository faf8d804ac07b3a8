"""The gate: an artefact enters the bundle only if it computes what the network computes in PyTorch, in FP32."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from metfa.runtime.errors import ParityError

from .largest_differences import draw_largest, find_largest
from .parity import Compared, Comparison, measure, run_in_batches, run_module, summarise

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from metfa.runtime.backends import Inference
    from metfa.runtime.backends.choice import Precision

    from .frames import FrameSet
    from .graph import Model
    from .parity import Agreement, Differences


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
    # Only the order of float32 sums differs: 1e-6 is usual, 2e-4 was seen of a network that had hardly been trained.
    "fp32": Tolerance(top1=1.0, tie=1e-3, probability_difference=1e-3, embedding_distance=1e-5),
    # Half precision has 11 bits: a cosine off by 1e-3 moves a logit by 0.02 (τ₀ = 0.05) and a probability by ≤ 0.005.
    "fp16": Tolerance(top1=0.99, tie=0.02, probability_difference=0.02, embedding_distance=1e-3),
    # 8 bits, a few of them lost in every layer: a cosine off by 0.02 moves a logit by 0.4 and, where two classes are
    # equally likely, a probability by 0.1. What must not change is the answer; the tie is no wider than that of FP16.
    "int8": Tolerance(top1=0.99, tie=0.02, probability_difference=0.25, embedding_distance=0.05),
}

_REMEDIES: dict[Precision, str] = {
    "fp32": "the bundle is as it was; look at the frames with --largest-differences DIR, and report this",
    "fp16": "look at the frames with --largest-differences DIR, export without --fp16, or train again",
    "int8": "look at the frames with --largest-differences DIR, or export without --int8",
}


def is_within(agreement: Agreement, tolerance: Tolerance) -> bool:
    """Return whether an artefact is as close to PyTorch as it must be."""
    return (
        agreement.top1 >= tolerance.top1
        and agreement.probability_difference <= tolerance.probability_difference
        and agreement.embedding_distance <= tolerance.embedding_distance
        and not agreement.non_finite
    )


def require_parity(comparison: Comparison, remedy: Callable[[], str] | None = None) -> None:
    """Let an artefact through.

    Args:
        comparison: of the artefact with PyTorch.
        remedy: finds what to do if it is refused; None for what goes with its precision.

    Raises:
        ParityError: on the frames of a domain, it is beyond the tolerance of its precision.
    """
    tolerance = TOLERANCES[comparison.precision]
    for name, domain in comparison.domains.items():
        overall = domain.overall
        if is_within(overall, tolerance):
            continue
        label, worst = max(domain.classes.items(), key=lambda item: (1 - item[1].top1, item[1].probability_difference))
        raise ParityError(
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
            remedy=remedy() if remedy else _REMEDIES[comparison.precision],
        )


class Gate:
    """Compares artefacts with the network in PyTorch on the same frames.

    Args:
        model: the network.
        frames: what to compare on, by domain.
        largest_differences: where to draw the frames on which each artefact is furthest off, whether or not it passes;
            None for nowhere.

    Attributes:
        compared_on: the frames, by domain.
    """

    def __init__(self, model: Model, frames: Sequence[FrameSet], largest_differences: Path | None) -> None:
        self._labels = model.contract.labels
        self._frames = frames
        self._drawn_to = largest_differences
        self._expected = [run_module(model.network, domain.frames) for domain in frames]
        self.compared_on = {
            domain.name: Compared(
                len(domain.frames),
                domain.description,
                None if domain.labels is None else float((expected.logits.argmax(1) == domain.labels).mean()),
            )
            for domain, expected in zip(frames, self._expected, strict=True)
        }

    def check(
        self,
        artefact: str,
        precision: Precision,
        computed_by: str,
        infer: Callable[[NDArray[np.uint8]], Inference],
        *,
        remedy: Callable[[], str] | None = None,
    ) -> Comparison:
        """Return the comparison of an artefact that passes.

        Args:
            artefact: name of the file.
            precision: that it is in.
            computed_by: what runs it.
            infer: runs it, on a batch.
            remedy: finds what to do if it is refused; None for what goes with its precision.

        Raises:
            ParityError: it is beyond its tolerance.
            OutputError: the worst frames cannot be drawn.
        """
        domains, worst = {}, []
        for domain, expected, received, differences in self._run(precision, infer):
            domains[domain.name] = summarise(domain, self._labels, expected, received, differences)
            worst += find_largest(domain, self._labels, expected, received, differences)
        if self._drawn_to:
            draw_largest(self._drawn_to, artefact, computed_by, worst)
        comparison = Comparison(artefact, precision, computed_by, domains)
        require_parity(comparison, remedy)
        return comparison

    def passes(self, precision: Precision, infer: Callable[[NDArray[np.uint8]], Inference]) -> bool:
        """Return whether what ``infer`` runs is within the tolerance of ``precision``; nothing is drawn."""
        return all(
            is_within(summarise(domain, self._labels, expected, received, differences).overall, TOLERANCES[precision])
            for domain, expected, received, differences in self._run(precision, infer)
        )

    def distance(self, precision: Precision, infer: Callable[[NDArray[np.uint8]], Inference]) -> float:
        """Return how far what ``infer`` runs is from PyTorch: the mean over all frames of the largest |Δp|."""
        measured = [differences.probability for _, _, _, differences in self._run(precision, infer)]
        return float(sum(part.sum() for part in measured) / sum(len(part) for part in measured))

    def _run(
        self, precision: Precision, infer: Callable[[NDArray[np.uint8]], Inference]
    ) -> list[tuple[FrameSet, Inference, Inference, Differences]]:
        runs = []
        for domain, expected in zip(self._frames, self._expected, strict=True):
            received = run_in_batches(infer, domain.frames)
            runs.append((domain, expected, received, measure(expected, received, tie=TOLERANCES[precision].tie)))
        return runs
