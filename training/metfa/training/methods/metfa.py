"""The paper's method and the rows of its ablation (Meng et al. 2020, Eq. 8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .. import losses
from ..data.store import UNLABELLED
from .base import Batch, Method, Role, cosine, descend, detached, sigmoid_ramp

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

OF_THE_SOURCE = ("ce", "prior", "reconstruction")
"""The terms that the source has by itself."""

RAMPED = ("entropy", "metric", "alignment", "confusion", "consistency")
"""The terms that rest on pseudo-labels, which mean nothing at first."""


class MetFA(Method):
    """W minimises L − λ₆ L_H and everything else L + λ₆ L_H.

    In one forward and backward pass, the gradient of L_H is reversed where it reaches W; alternating, W takes its step
    first and everything else then takes its own against the new W.

    Attributes:
        encoded: the domains whose frames E sees; not the source, where its embeddings are drawn.
    """

    def __init__(self, config: TrainingConfig, network: Network) -> None:
        super().__init__(config, network)
        self.encoded: tuple[Role, ...] = ("target",) if config.origin else ("source", "target")
        self.computed = tuple(name for name in TERMS[config.method] if getattr(config.weights, name) > 0)
        if "reconstruction" in self.computed:
            sizes = network.config.embedding, network.config.features
            self.decoders = nn.ModuleList(nn.Linear(*sizes) for _ in self.encoded)
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
        """Return each term, unweighted; those of the source alone where the batch has no frame of the target.

        ``noise`` draws the embedding's ε.
        """
        classes, split = self.network.config.classes, len(batch.labels)
        alone = not len(batch.target)
        computed = [name for name in self.computed if name in OF_THE_SOURCE or not alone]
        frames = [batch.source] if alone else [getattr(batch, role) for role in self.encoded]
        sizes = [len(each) for each in frames]
        # Each domain by itself where there are batch norms: their statistics are the domain's own.
        features = torch.cat([self.run_encoder(self.network.encoder, each) for each in frames])
        gaussian = self.network.embedding(features)
        sampled = gaussian.sample(noise)
        z = torch.cat([batch.source, sampled]) if self.config.origin else sampled
        hidden = torch.cat([self.network.classifier.hidden(part) for part in z.tensor_split([split])])
        source_logits, target_logits = self.network.classifier.prototypes(hidden).tensor_split([split])
        pseudo_labels = target_logits.detach().argmax(dim=1)
        supports, support_labels = z[:split], batch.labels
        if batch.target_labels is not None:
            known = batch.target_labels != UNLABELLED
            pseudo_labels = torch.where(known, batch.target_labels, pseudo_labels)
            supports = torch.cat([supports, z[split:][known]])
            support_labels = torch.cat([support_labels, batch.target_labels[known]])
        contested = (
            self.network.classifier.prototypes(hidden[split:], reverse_prototype_gradient=True)
            if reverse_prototype_gradient
            else target_logits
        )
        terms = {"ce": losses.cross_entropy(source_logits, batch.labels, target_logits, batch.target_labels)}
        if "prior" in computed:
            parts = (torch.split(of_all, sizes) for of_all in gaussian)
            terms["prior"] = torch.stack([losses.prior(*domain) for domain in zip(*parts, strict=True)]).sum()
        if "entropy" in computed:
            terms["entropy"] = losses.entropy(contested)
        if "metric" in computed:
            terms["metric"] = losses.metric(z[split:], pseudo_labels, supports, support_labels, classes=classes)
        if "reconstruction" in computed:
            decoders = self.decoders[: len(sizes)]
            of_each = zip(torch.split(features, sizes), torch.split(sampled, sizes), decoders, strict=True)
            terms["reconstruction"] = torch.stack(
                [losses.reconstruction(part, decode(each)) for part, each, decode in of_each]
            ).sum()
        if "alignment" in computed:
            terms["alignment"] = losses.alignment(
                source_logits,
                batch.labels,
                target_logits,
                pseudo_labels,
                classes=classes,
                temperature=self.config.alignment_temperature,
            )
        if "confusion" in computed:
            terms["confusion"] = losses.confusion(target_logits, losses.CONFUSION_TEMPERATURE)
        return terms

    def weights(self, progress: float) -> dict[str, float]:
        """Return the weight of each term; with ``config.ramp``, those that rest on pseudo-labels grow from zero."""
        ramp = sigmoid_ramp(progress) if self.config.ramp else 1.0
        return {name: getattr(self.config.weights, name) * (ramp if name in RAMPED else 1.0) for name in self.computed}


def _weighted_sum(terms: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    return torch.stack([weights[name] * term for name, term in terms.items()]).sum()
