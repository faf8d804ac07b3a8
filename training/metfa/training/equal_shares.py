"""Labels of the target that are shifted towards equally many of each class.

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

TEMPERATURE = 0.1
"""Of the probabilities that are counted: so low that each stands for a label, and being unsure says nothing."""

ITERATIONS = 100
TINY = 1e-8
"""The share of a class that is taken for none, so that its logarithm is finite."""


def logit_offsets(logits: Tensor, strength: float, background: Collection[int] = ()) -> Tensor:
    """Return what is added to the logits of each class, so that each has its target share of the labels.

    Args:
        logits: of all frames, [N, M], N ≥ 1.
        strength: 0 changes no label, and 1 gives all planes equally many.
        background: the classes that show no plane.

    Returns:
        [M].
    """
    sharpened = logits / TEMPERATURE
    shares = F.softmax(sharpened, dim=1).mean(dim=0)
    return TEMPERATURE * transport_offsets(sharpened, target_shares(shares, strength, background))


def target_shares(shares: Tensor, strength: float, background: Collection[int] = ()) -> Tensor:
    """Return π ∝ π̂^(1 − strength), in which the planes keep their part of the whole, and the background its own.

    Args:
        shares: π̂, how frequent each class is, [M].
        strength: 0 leaves the shares as they are, and 1 makes those of all planes equal.
        background: the classes that show no plane. A scan has any number of such frames.

    Returns:
        [M], which sums to one.
    """
    planes = torch.ones_like(shares, dtype=torch.bool)
    planes[list(background)] = False
    powers = (shares ** (1 - strength)) * planes
    return torch.where(planes, powers * shares[planes].sum() / powers.sum().clamp_min(TINY), shares)


def transport_offsets(logits: Tensor, shares: Tensor) -> Tensor:
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
