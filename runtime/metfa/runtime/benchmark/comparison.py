"""What each way of running a bundle computes, beside FP32 on the CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .candidates import BATCHES
from .record import Parity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ..backends import Backend
    from .candidates import Candidate

_REFERENCES = (("cpu", "fp32"), ("openvino:CPU", "fp32"))
"""What others are compared with: the first of these that runs here."""


def compare(candidates: Sequence[Candidate], frames: NDArray[np.uint8]) -> tuple[list[Parity | None], str | None]:
    """Return how far each candidate is from the reference on ``frames``, uint8 [N, 1, H, W], and the reference's name.

    Nothing is compared where no reference runs here.
    """
    by_name = {(candidate.name, candidate.precision): candidate for candidate in candidates}
    reference = next((by_name[name] for name in _REFERENCES if name in by_name), None)
    if reference is None:
        return [None] * len(candidates), None
    expected = _infer(reference.backend, frames)
    parities = [_parity(expected, _infer(candidate.backend, frames)) for candidate in candidates]
    return [*parities], f"{reference.name} {reference.precision}"


def _infer(backend: Backend, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the logits of all frames, [N, M]."""
    batch = max(BATCHES)
    starts = range(0, len(frames), batch)
    return np.concatenate([backend.infer(frames[start : start + batch]).logits for start in starts])


def _parity(expected: NDArray[np.float32], received: NDArray[np.float32]) -> Parity:
    difference = float(np.abs(received - expected).max())
    return Parity(
        logit_difference=difference if np.isfinite(difference) else None,
        same_label=float((received.argmax(axis=1) == expected.argmax(axis=1)).mean()),
    )
