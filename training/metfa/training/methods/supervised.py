"""Cross-entropy on labelled frames: source-only, adaptive batch norm, and the references that see target labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F

from .base import Batch, Method, cosine, descend, detached

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ..config import TrainingConfig
    from ..model import Network


class Supervised(Method):
    """λ₁ L_ce (Eq. 1) at the mean embedding, on the domains of ``supervision`` one after the other, for equal times."""

    def __init__(self, config: TrainingConfig, network: Network) -> None:
        super().__init__(config, network)
        self.optimisers = (self.sgd(self.parameters()),)

    def step(self, batch: Batch, noise: torch.Generator, step: int) -> dict[str, Tensor]:
        """Take one step on the labelled frames of the stage's domain."""
        stage = self.supervision[step * len(self.supervision) // self.config.steps]
        frames, labels = (batch.source, batch.labels) if stage == "source" else (batch.target, batch.target_labels)
        assert labels is not None
        mean = self.network.embedding.mean(self.run_encoder(self.network.encoder, frames))
        terms = {"ce": F.cross_entropy(self.network.classifier(mean), labels)}
        rate = self.config.learning_rate * cosine(self.progress(step))
        descend(self.config.weights.ce * terms["ce"], self.optimisers[0], rate)
        return detached(terms)


class SourceOnly(Supervised):
    """E and C trained on the labelled source alone; the target is not looked at."""

    home = "source"


class AdaBN(Supervised):
    """Source-only with the target's batch-norm statistics (Li et al., *Revisiting batch normalization*, 2016)."""


class FineTuned(Supervised):
    """A reference that needs target labels: trained on the source, then on the labelled target."""

    supervision = ("source", "target")


class FullySupervised(Supervised):
    """A reference that needs target labels: trained on the labelled target from scratch."""

    supervision = ("target",)
