"""Minimax entropy (Saito et al., *Semi-supervised domain adaptation via minimax entropy*, ICCV 2019)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import losses
from .base import Batch, Method, descend, detached

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ..config import TrainingConfig
    from ..model import Network

ENTROPY_WEIGHT = 0.1


class MME(Method):
    """Cross-entropy on the source and minimax entropy on the target.

    The published method also trains on a few labelled target images, which ``--labelled-target`` gives, and stops early
    by others, which is not done here.
    Its head is the prototype classifier that MetFA took over: normalised features, no bias, temperature 0.05.
    """

    def __init__(self, config: TrainingConfig, network: Network) -> None:
        super().__init__(config, network)
        self.optimisers = (self.sgd(self.parameters(), nesterov=True),)

    def step(self, batch: Batch, noise: torch.Generator, step: int) -> dict[str, Tensor]:
        """Take one step: the prototypes raise the target's entropy, everything else lowers it."""
        terms = self.terms(batch)
        rate = self.config.learning_rate * (1 + 1e-4 * step) ** -0.75
        descend(terms["ce"] + ENTROPY_WEIGHT * terms["entropy"], self.optimisers[0], rate)
        return detached(terms)

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """Return both terms, unweighted, the entropy with W's gradient reversed."""
        source, target = map(self.network.classifier.hidden, (self.embed_source(batch), self.embed(batch.target)))
        prototypes = self.network.classifier.prototypes
        return {
            "ce": losses.cross_entropy(prototypes(source), batch.labels, prototypes(target), batch.target_labels),
            "entropy": losses.entropy(prototypes(target, reverse_prototype_gradient=True)),
        }
