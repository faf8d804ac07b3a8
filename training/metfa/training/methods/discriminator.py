"""The domain discriminator of the adversarial baselines."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SOURCE, TARGET = 0, 1
HIDDEN = 500


class Discriminator(nn.Sequential):
    """Which domain does an embedding come from? D → 500 → 500 → 2, as in ADDA (Tzeng et al. 2017)."""

    def __init__(self, dimensions: int) -> None:
        super().__init__(
            nn.Linear(dimensions, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2)
        )

    def loss(self, embedding: Tensor, domain: int) -> Tensor:
        """Return the cross-entropy of embeddings, [N, D], that are said to come from ``domain``."""
        logits = self(embedding)
        return F.cross_entropy(logits, torch.full((len(logits),), domain, device=logits.device))
