"""Conditional adversarial domain adaptation with entropy conditioning (CDAN+E, Long et al., NeurIPS 2018)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from ..losses import certainty, cross_entropy
from ..model import reverse_gradient
from .dann import DANN
from .discriminator import SOURCE, TARGET

if TYPE_CHECKING:
    from torch import Tensor

    from ..config import TrainingConfig
    from ..model import Network
    from .base import Batch


class CDAN(DANN):
    """DANN, whose discriminator sees the outer product of embedding and prediction, certain frames weighing more."""

    @staticmethod
    def discriminated(config: TrainingConfig, network: Network) -> int:
        """Return the size of the outer product."""
        return config.embedding * network.config.classes

    def terms(self, batch: Batch, strength: float) -> dict[str, Tensor]:
        """Return both terms, the domains' with its gradient reversed at ``strength`` where it reaches the embedding."""
        means = [self.embed_source(batch), self.embed(batch.target)]
        logits = [self.network.classifier(mean) for mean in means]
        domain = torch.stack(
            [
                self._domain(reverse_gradient(mean, strength), each.detach(), role)
                for mean, each, role in zip(means, logits, (SOURCE, TARGET), strict=True)
            ]
        )
        ce = cross_entropy(logits[0], batch.labels, logits[1], batch.target_labels)
        return {"ce": ce, "domain": domain.mean()}

    def _domain(self, mean: Tensor, logits: Tensor, domain: int) -> Tensor:
        """Return the discriminator's loss on one domain; no gradient reaches the predictions."""
        products = (F.softmax(logits, dim=1)[:, :, None] * mean[:, None, :]).flatten(1)
        domains = torch.full((len(mean),), domain, device=mean.device)
        of_frames = F.cross_entropy(self.discriminator(products), domains, reduction="none")
        return (certainty(logits) * of_frames).sum()
