"""Cross-entropy on labelled frames: source-only, adaptive batch norm, and the references that see target labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F

from .. import losses
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
        if stage == "target":
            assert batch.target_labels is not None
            terms = {"ce": F.cross_entropy(self.network.classifier(self.embed(batch.target)), batch.target_labels)}
        else:
            source = self.network.classifier(self.embed_source(batch))
            known = None if "target" in self.supervision else batch.target_labels  # which has a stage of its own there
            target = None if known is None else self.network.classifier(self.embed(batch.target))
            terms = {"ce": losses.cross_entropy(source, batch.labels, target, known)}
        rate = self.config.learning_rate * cosine(self.progress(step))
        descend(self.config.weights.ce * terms["ce"], self.optimisers[0], rate)
        return detached(terms)


class SourceOnly(Supervised):
    """E and C trained on the labelled source alone; the target is not looked at."""

    home = "source"
    source_free = False


class AdaBN(Supervised):
    """Source-only with the target's batch-norm statistics (Li et al., *Revisiting batch normalization*, 2016)."""


class FineTuned(Supervised):
    """A reference that needs target labels: trained on the source, then on the labelled target."""

    supervision = ("source", "target")
    source_free = False


class FullySupervised(Supervised):
    """A reference that needs target labels: trained on the labelled target from scratch."""

    supervision = ("target",)
    source_free = False
