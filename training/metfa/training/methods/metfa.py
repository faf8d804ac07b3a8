"""The paper's method and the rows of its ablation (Meng et al. 2020, Eq. 8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import losses
from .base import Batch, Method, cosine, descend, detached, sigmoid_ramp

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch.optim import Optimizer

    from ..config import TrainingConfig
    from ..model import Network
    from ..names import MethodName

TERMS: Mapping[MethodName, tuple[str, ...]] = {
    "metfa-i": ("ce", "prior", "entropy"),
    "metfa-ii": ("ce", "prior", "entropy", "metric"),
    "metfa-iii": ("ce", "prior", "entropy", "metric", "alignment"),
    "metfa-iv": ("ce", "prior", "entropy", "metric", "reconstruction"),
    "metfa-v": ("ce", "prior", "entropy", "metric", "reconstruction", "alignment"),
    "metfa-vi": (
        *("ce", "prior", "entropy", "metric", "reconstruction", "alignment"),
        *("confusion", "consistency"),
    ),
}
"""The terms of each row, by the name of their weight."""

RAMPED = ("entropy", "metric", "alignment", "confusion", "consistency")
"""The terms that rest on pseudo-labels, which mean nothing at first."""


class MetFA(Method):
    """W minimises L − λ₆ L_H and everything else L + λ₆ L_H.

    In one forward and backward pass, the gradient of L_H is reversed where it reaches W; alternating, W takes its step
    first and everything else then takes its own against the new W.
    """

    def __init__(self, config: TrainingConfig, network: Network) -> None:
        super().__init__(config, network)
        self.computed = tuple(name for name in TERMS[config.method] if getattr(config.weights, name) > 0)
        if "reconstruction" in self.computed:
            sizes = network.config.embedding, network.config.features
            self.reconstruct_source, self.reconstruct_target = nn.Linear(*sizes), nn.Linear(*sizes)
        if config.game == "one-pass":
            self.optimisers = (self.optimiser(self.parameters()),)
        else:
            prototypes = list(network.classifier.prototypes.parameters())
            others = [p for p in self.parameters() if all(p is not prototype for prototype in prototypes)]
            self.optimisers = (self.optimiser(prototypes), self.optimiser(others))

    def optimiser(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        """Return what moves the parameters."""
        return self.sgd(parameters)

    def step(self, batch: Batch, noise: torch.Generator, step: int) -> dict[str, Tensor]:
        """Take one step of both players."""
        progress = self.progress(step)
        rate = self.config.learning_rate * cosine(progress)
        weights = self.weights(progress)
        if self.config.game == "one-pass":
            terms = self.terms(batch, noise, reverse_prototype_gradient=True)
            descend(_weighted_sum(terms, weights), self.optimisers[0], rate)
        else:
            against = {name: -weight if name == "entropy" else weight for name, weight in weights.items()}
            for optimiser, of_player in zip(self.optimisers, (against, weights), strict=True):
                terms = self.terms(batch, noise, reverse_prototype_gradient=False)
                descend(_weighted_sum(terms, of_player), optimiser, rate)
        return detached(terms)

    def terms(self, batch: Batch, noise: torch.Generator, *, reverse_prototype_gradient: bool) -> dict[str, Tensor]:
        """Return each term, unweighted; ``noise`` draws the embedding's ε."""
        classes, split = self.network.config.classes, len(batch.labels)
        # Each domain by itself where there are batch norms: their statistics are the domain's own.
        features = torch.cat(
            [self.run_encoder(self.network.encoder, frames) for frames in (batch.source, batch.target)]
        )
        gaussian = self.network.embedding(features)
        z = gaussian.sample(noise)
        hidden = torch.cat([self.network.classifier.hidden(part) for part in z.tensor_split([split])])
        source_logits, target_logits = self.network.classifier.prototypes(hidden).tensor_split([split])
        pseudo_labels = target_logits.detach().argmax(dim=1)
        contested = (
            self.network.classifier.prototypes(hidden[split:], reverse_prototype_gradient=True)
            if reverse_prototype_gradient
            else target_logits
        )
        terms = {"ce": F.cross_entropy(source_logits, batch.labels)}
        if "prior" in self.computed:
            terms["prior"] = losses.prior(gaussian.mean[:split], gaussian.log_variance[:split]) + losses.prior(
                gaussian.mean[split:], gaussian.log_variance[split:]
            )
        if "entropy" in self.computed:
            terms["entropy"] = losses.entropy(contested)
        if "metric" in self.computed:
            terms["metric"] = losses.metric(z[split:], pseudo_labels, z[:split], batch.labels, classes=classes)
        if "reconstruction" in self.computed:
            terms["reconstruction"] = losses.reconstruction(
                features[:split], self.reconstruct_source(z[:split])
            ) + losses.reconstruction(features[split:], self.reconstruct_target(z[split:]))
        if "alignment" in self.computed:
            terms["alignment"] = losses.alignment(
                source_logits,
                batch.labels,
                target_logits,
                pseudo_labels,
                classes=classes,
                temperature=self.config.alignment_temperature,
            )
        if "confusion" in self.computed:
            terms["confusion"] = losses.confusion(target_logits, losses.CONFUSION_TEMPERATURE)
        return terms

    def weights(self, progress: float) -> dict[str, float]:
        """Return the weight of each term; with ``config.ramp``, those that rest on pseudo-labels grow from zero."""
        ramp = sigmoid_ramp(progress) if self.config.ramp else 1.0
        return {name: getattr(self.config.weights, name) * (ramp if name in RAMPED else 1.0) for name in self.computed}


def _weighted_sum(terms: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    return torch.stack([weights[name] * term for name, term in terms.items()]).sum()
