"""What one optimisation step minimises, per row of the paper's tables."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import losses

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .config import MethodName, TrainingConfig
    from .model import Network

TERMS: Mapping[MethodName, tuple[str, ...]] = {
    "source-only": ("ce",),
    "metfa-i": ("ce", "prior", "entropy"),
    "metfa-ii": ("ce", "prior", "entropy", "metric"),
    "metfa-iii": ("ce", "prior", "entropy", "metric", "alignment"),
    "metfa-iv": ("ce", "prior", "entropy", "metric", "reconstruction"),
    "metfa-v": ("ce", "prior", "entropy", "metric", "reconstruction", "alignment"),
}
"""The terms of each row, by the name of their weight."""

RAMPED = ("entropy", "metric", "alignment")
"""The terms that rest on pseudo-labels, which mean nothing at first."""


class Batch(NamedTuple):
    """What a step sees.

    Attributes:
        source: normalised and augmented frames, float [N_S, 1, H, W].
        labels: their classes, int64 [N_S].
        target: normalised and augmented frames, float [N_T, 1, H, W]; no labels.
    """

    source: Tensor
    labels: Tensor
    target: Tensor


class SourceOnly(nn.Module):
    """E and C trained on the labelled source alone; the target is not looked at."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Batch, noise: torch.Generator) -> dict[str, Tensor]:
        """Return L_ce at the mean embedding."""
        mean = self.network.embedding.mean(self.network.encoder(batch.source))
        return {"ce": F.cross_entropy(self.network.classifier(mean), batch.labels)}


class MetFA(nn.Module):
    """The paper's method, or a row of its ablation (Eq. 8).

    W minimises L − λ₆ L_H and everything else L + λ₆ L_H, in one backward pass: the gradient of L_H is reversed where
    it reaches W.

    Args:
        network: E, G and C.
        terms: the names of the terms to compute.
        temperature: τ₁ of the class-distribution alignment.
    """

    def __init__(self, network: Network, terms: tuple[str, ...], temperature: float) -> None:
        super().__init__()
        self.network = network
        self.computed = terms
        self.temperature = temperature
        if "reconstruction" in terms:
            sizes = network.config.embedding, network.config.features
            self.reconstruct_source, self.reconstruct_target = nn.Linear(*sizes), nn.Linear(*sizes)

    def forward(self, batch: Batch, noise: torch.Generator) -> dict[str, Tensor]:
        """Return each term, unweighted; ``noise`` draws the embedding's ε."""
        classes, split = self.network.config.classes, len(batch.labels)
        # Each domain by itself where there are batch norms: their statistics are the domain's own.
        features = torch.cat([self.network.encoder(frames) for frames in (batch.source, batch.target)])
        gaussian = self.network.embedding(features)
        z = gaussian.sample(noise)
        hidden = torch.cat([self.network.classifier.hidden(part) for part in z.tensor_split([split])])
        source_logits, target_logits = self.network.classifier.prototypes(hidden).tensor_split([split])
        pseudo_labels = target_logits.detach().argmax(dim=1)

        terms = {
            "ce": F.cross_entropy(source_logits, batch.labels),
            "prior": losses.prior(gaussian.mean[:split], gaussian.log_variance[:split])
            + losses.prior(gaussian.mean[split:], gaussian.log_variance[split:]),
            "entropy": losses.entropy(
                self.network.classifier.prototypes(hidden[split:], reverse_prototype_gradient=True)
            ),
        }
        if "metric" in self.computed:
            terms["metric"] = losses.metric(z[split:], pseudo_labels, z[:split], batch.labels, classes=classes)
        if "reconstruction" in self.computed:
            terms["reconstruction"] = losses.reconstruction(
                features[:split], self.reconstruct_source(z[:split])
            ) + losses.reconstruction(features[split:], self.reconstruct_target(z[split:]))
        if "alignment" in self.computed:
            terms["alignment"] = losses.alignment(
                source_logits, batch.labels, target_logits, pseudo_labels, classes=classes, temperature=self.temperature
            )
        return terms


def build_method(config: TrainingConfig, network: Network) -> SourceOnly | MetFA:
    """Return the method that the configuration names, around ``network``."""
    if config.method == "source-only":
        return SourceOnly(network)
    return MetFA(network, TERMS[config.method], config.alignment_temperature)


def term_weights(config: TrainingConfig, progress: float) -> dict[str, float]:
    """Return the weight of each term of the method.

    With ``config.ramp``, those that rest on pseudo-labels grow as 2 / (1 + e^(−10 p)) − 1, DANN's schedule (Ganin and
    Lempitsky 2015).

    Args:
        config: method and λs.
        progress: p, from 0 at the first step to 1 at the last.
    """
    ramp = 2 / (1 + math.exp(-10 * progress)) - 1 if config.ramp else 1.0
    return {name: getattr(config.weights, name) * (ramp if name in RAMPED else 1.0) for name in TERMS[config.method]}
