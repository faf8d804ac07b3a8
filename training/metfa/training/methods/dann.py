"""Domain-adversarial training (Ganin and Lempitsky, *Unsupervised domain adaptation by backpropagation*, ICML 2015)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..losses import cross_entropy
from ..model import reverse_gradient
from .base import Batch, Method, descend, detached, sigmoid_ramp
from .discriminator import SOURCE, TARGET, Discriminator

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ..config import TrainingConfig
    from ..model import Network


class DANN(Method):
    """A discriminator tells the domains' mean embeddings apart; the encoder, through reversal, makes that harder.

    The strength λ(p) of the reversal acts inside the reversal alone: the discriminator's own loss is unscaled.
    """

    def __init__(self, config: TrainingConfig, network: Network) -> None:
        super().__init__(config, network)
        self.discriminator = Discriminator(self.discriminated(config, network))
        self.optimisers = (self.sgd(self.parameters()),)

    @staticmethod
    def discriminated(config: TrainingConfig, network: Network) -> int:
        """Return how many numbers of a frame the discriminator sees."""
        del network
        return config.embedding

    def step(self, batch: Batch, noise: torch.Generator, step: int) -> dict[str, Tensor]:
        """Take one step of both players."""
        progress = self.progress(step)
        terms = self.terms(batch, sigmoid_ramp(progress))
        rate = self.config.learning_rate / (1 + 10 * progress) ** 0.75
        descend(terms["ce"] + terms["domain"], self.optimisers[0], rate)
        return detached(terms)

    def terms(self, batch: Batch, strength: float) -> dict[str, Tensor]:
        """Return both terms, the domains' with its gradient reversed at ``strength`` where it reaches the embedding."""
        source, target = self.embed_source(batch), self.embed(batch.target)
        domain = self.discriminator.loss(reverse_gradient(source, strength), SOURCE) + self.discriminator.loss(
            reverse_gradient(target, strength), TARGET
        )
        logits = self.network.classifier(source)
        known = None if batch.target_labels is None else self.network.classifier(target)
        return {"ce": cross_entropy(logits, batch.labels, known, batch.target_labels), "domain": domain / 2}
