"""Adversarial discriminative adaptation (Tzeng et al., CVPR 2017): two stages, a target encoder of its own."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from ..losses import known_cross_entropy
from .base import Batch, Method, Role, descend, detached
from .discriminator import SOURCE, TARGET, Discriminator

if TYPE_CHECKING:
    from torch import Tensor

    from ..config import TrainingConfig
    from ..model import Network

ADVERSARIAL_RATE = 0.2
"""The second stage's learning rate as a share of the first's: 2e-4 of 1e-3."""


class ADDA(Method):
    """First half of the steps: supervised on the source. Second half: a target encoder against a discriminator.

    The target encoder (E and G) begins as the source's and is told the inverted label: its embeddings are to pass for
    the source's. The classifier stays the source's.
    """

    source_free = False
    started: Tensor

    def __init__(self, config: TrainingConfig, network: Network) -> None:
        super().__init__(config, network)
        self.source_network = copy.deepcopy(network)
        self.discriminator = Discriminator(config.embedding)
        self.register_buffer("started", torch.tensor(False))  # the second stage; in the checkpoint
        self.target_from = (config.steps + 1) // 2
        encoder = [*network.encoder.parameters(), *network.embedding.mean.parameters()]
        betas = (0.5, 0.999)
        self.optimisers = (
            torch.optim.Adam(self.source_network.parameters(), lr=config.learning_rate),
            torch.optim.Adam(self.discriminator.parameters(), lr=config.learning_rate, betas=betas),
            torch.optim.Adam(encoder, lr=config.learning_rate, betas=betas),
        )

    def network_for(self, role: Role) -> Network:
        """Return the source's network, or the target's once it has begun to differ."""
        return self.network if role == "target" and self.started else self.source_network

    def step(self, batch: Batch, noise: torch.Generator, step: int) -> dict[str, Tensor]:
        """Take one step on the labelled source or, in the second stage, one of each player."""
        if step < self.target_from:
            terms = {"ce": F.cross_entropy(self.source_network.classifier(self._embed("source", batch)), batch.labels)}
            descend(terms["ce"], self.optimisers[0], self.config.learning_rate)
            return detached(terms)
        if not self.started:
            self.network.load_state_dict(self.source_network.state_dict())
            self.started.fill_(True)
        rate = ADVERSARIAL_RATE * self.config.learning_rate
        terms = self.terms(batch)
        descend(terms["domain"], self.optimisers[1], rate)
        target = self._embed("target", batch)
        terms["inverted"] = self.discriminator.loss(target, SOURCE)
        if batch.target_labels is not None:
            terms["ce"] = known_cross_entropy(self.network.classifier(target), batch.target_labels)
        descend(terms["inverted"] + terms.get("ce", 0), self.optimisers[2], rate)
        return detached(terms)

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """Return the discriminator's loss on both domains; no gradient reaches an encoder."""
        with torch.no_grad():
            source, target = self._embed("source", batch), self._embed("target", batch)
        return {"domain": (self.discriminator.loss(source, SOURCE) + self.discriminator.loss(target, TARGET)) / 2}

    def _embed(self, role: Role, batch: Batch) -> Tensor:
        network, frames = (self.source_network, batch.source) if role == "source" else (self.network, batch.target)
        mean: Tensor = network.embedding.mean(self.run_encoder(network.encoder, frames))
        return mean
