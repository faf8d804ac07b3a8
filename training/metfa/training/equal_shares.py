"""Labels of the target that are drawn towards equally many of each class.

A network that takes one class for another gives the one too many frames and the other too few, and then teaches itself
so. How frequent the classes are is the only trace of it that needs no label.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from collections.abc import Collection

    from torch import Tensor

ITERATIONS = 100
TINY = 1e-8
"""The share of a class that no frame is to have, so that its logarithm is finite."""


def drawn_to_equal(shares: Tensor, strength: float, background: Collection[int] = ()) -> Tensor:
    """Return π ∝ π̂^(1 − strength), in which the planes keep their part of the whole, and the background its own.

    Args:
        shares: π̂, how frequent each class is among the labels that were given, [M].
        strength: 0 leaves the shares as they are, and 1 makes those of all planes equal. Below 1, a class that has no
            frame gets none.
        background: the classes that show no plane. A scan has any number of such frames.

    Returns:
        [M], which sums to one.
    """
    planes = torch.ones_like(shares, dtype=torch.bool)
    planes[list(background)] = False
    drawn = (shares ** (1 - strength)) * planes
    return torch.where(planes, drawn * shares[planes].sum() / drawn.sum().clamp_min(TINY), shares)


def offsets(logits: Tensor, shares: Tensor) -> Tensor:
    """Return what is added to the logits of each class, so that the mean probability of each is its share.

    In turns, the probabilities of each frame are made to sum to one, and their mean is scaled to the shares (Sinkhorn
    and Knopp 1967), which is the optimal transport of frames to classes (Cuturi 2013; Asano et al. 2020).

    Args:
        logits: of all frames, [N, M], N ≥ 1.
        shares: [M], which sum to one.

    Returns:
        [M].
    """
    offset = torch.zeros_like(shares)
    for _ in range(ITERATIONS):
        mean = F.softmax(logits + offset, dim=1).mean(dim=0)
        offset = offset + (shares.clamp_min(TINY) / mean.clamp_min(TINY)).log()
    return offset
