"""Minimum class confusion (Jin et al., *Minimum class confusion for versatile domain adaptation*, ECCV 2020)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import losses
from .base import Batch, Method, descend, detached

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ..config import TrainingConfig
    from ..model import Network


class MCC(Method):
    """Cross-entropy on the source, and classes that are not confused with each other on the target."""

    def __init__(self, config: TrainingConfig, network: Network) -> None:
        super().__init__(config, network)
        self.optimisers = (self.sgd(self.parameters(), nesterov=True),)

    def step(self, batch: Batch, noise: torch.Generator, step: int) -> dict[str, Tensor]:
        """Take one step."""
        terms = self.terms(batch)
        rate = self.config.learning_rate * (1 + 10 * self.progress(step)) ** -0.75
        descend(terms["ce"] + terms["confusion"], self.optimisers[0], rate)
        return detached(terms)

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """Return both terms, of equal weight."""
        source, target = map(self.network.classifier, (self.embed_source(batch), self.embed(batch.target)))
        return {
            "ce": losses.cross_entropy(source, batch.labels, target, batch.target_labels),
            "confusion": losses.confusion(target, losses.CONFUSION_TEMPERATURE),
        }
