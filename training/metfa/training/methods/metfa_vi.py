"""MetFA-V with a mean teacher, balanced batches and minimum class confusion; not in the paper."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from .. import losses
from ..equal_shares import logit_offsets
from ..temperature import fit_temperature
from .metfa import MetFA

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor, nn
    from torch.optim import Optimizer

    from ..config import TrainingConfig
    from ..model import Network
    from .base import Batch

BEGIN = 0.1
"""Of the steps that look at the target, when the teacher has learnt something, and begins to label frames."""

DECAY = 0.99
"""Of the teacher's memory for each step, at most."""


class MetFAVI(MetFA):
    """The terms of MetFA-V, of which the minimax entropy is off by default, class confusion, and consistency.

    The teacher is an exponential moving average of the network (Tarvainen and Valpola 2017). What it says of a weakly
    augmented frame, where it is confident, the network is to say of the strongly augmented one (FixMatch, Sohn et al.
    2020). Held-out frames of the source tell how far its confidence can be trusted (Guo et al. 2017). With
    ``config.equal_shares``, its labels are shifted towards equally many of each plane.
    """

    teacher_offset: Tensor
    teacher_temperature: Tensor

    def __init__(self, config: TrainingConfig, network: Network) -> None:
        super().__init__(config, network)
        self.teacher = copy.deepcopy(network).requires_grad_(False)
        self.register_buffer("teacher_offset", torch.zeros(network.config.classes))
        self.register_buffer("teacher_temperature", torch.ones(()))
        self.balances_target = config.balance
        self.target_from = int(config.source_first * config.steps)
        teacher_from = self.target_from + round(BEGIN * (config.steps - self.target_from))
        consistency = "consistency" in self.computed
        if consistency:
            self.two_views_from = teacher_from
        if config.balance or consistency:
            self.relabels_from = teacher_from

    def optimiser(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        """Return AdamW (Loshchilov and Hutter 2019), which needs fewer steps; SGD where the encoder is frozen."""
        if self.config.freeze_encoder:
            return super().optimiser(parameters)
        return torch.optim.AdamW(list(parameters), lr=self.config.learning_rate, weight_decay=self.config.weight_decay)

    def step(self, batch: Batch, noise: torch.Generator, step: int) -> dict[str, Tensor]:
        """Take one step of both players, and let the teacher follow."""
        terms = super().step(batch, noise, step)
        with torch.no_grad():
            decay = min(DECAY, (step + 1) / (step + 10))
            for mean, parameter in zip(self.teacher.parameters(), self.network.parameters(), strict=True):
                mean.lerp_(parameter, 1 - decay)
        return terms

    def terms(self, batch: Batch, noise: torch.Generator, *, reverse_prototype_gradient: bool) -> dict[str, Tensor]:
        """Return each term, unweighted; ``noise`` draws the embedding's ε."""
        terms = super().terms(batch, noise, reverse_prototype_gradient=reverse_prototype_gradient)
        if batch.target_strong is None:
            return terms
        features = self.run_encoder(self.network.encoder, batch.target_strong)
        logits = self.network.classifier(self.network.embedding(features).sample(noise))
        terms["consistency"] = losses.consistency(logits, self.label(batch.target), self.config.confidence)
        return terms

    def weights(self, progress: float) -> dict[str, float]:
        """Return the weight of each term; those that rest on pseudo-labels grow once the target is looked at."""
        begin = self.config.source_first
        return super().weights(max(0.0, progress - begin) / (1 - begin))

    def calibrate(self, images: Iterable[Tensor], labels: Tensor) -> None:
        """Soften the teacher's confidence to what it deserves on the source; it is never made surer of itself."""
        logits = torch.cat([self._logits(batch) for batch in images])[: len(labels)]
        temperature = fit_temperature(logits.cpu().numpy(), labels.cpu().numpy())
        self.teacher_temperature.fill_(max(1.0, temperature))

    def relabel(self, images: Iterable[Tensor], count: int) -> Tensor:
        """Return the class that the teacher gives each of the target's frames, int64 [N].

        With ``config.equal_shares``, how often it gives each also decides what is added to its logits from now on.
        """
        logits = torch.cat([self._logits(batch) for batch in images])[:count]
        if self.config.equal_shares:
            self.teacher_offset.copy_(logit_offsets(logits, self.config.equal_shares, self.background))
        return (logits + self.teacher_offset).argmax(dim=1)

    def label(self, frames: Tensor) -> Tensor:
        """Return the teacher's probabilities for normalised frames of the target, float [N, M]."""
        return F.softmax((self._logits(frames) + self.teacher_offset) / self.teacher_temperature, dim=1)

    @torch.no_grad()
    def _logits(self, frames: Tensor) -> Tensor:
        mean = self.teacher.embedding.mean(self.run_encoder(self.teacher.encoder, frames))
        logits: Tensor = self.teacher.classifier(mean)
        return logits
