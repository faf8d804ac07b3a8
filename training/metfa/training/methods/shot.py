"""Source hypothesis transfer (SHOT, Liang et al., *Do we really need to access the source data?*, ICML 2020)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from .. import losses
from ..model import scale_gradient
from .base import Batch, Method, cosine, descend, detached

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from ..config import TrainingConfig
    from ..model import Network

ENCODER_RATE = 0.1
"""The encoder's learning rate on the target, as a share of the other layers'."""

PSEUDO_LABEL_WEIGHT = 0.3
"""β."""


class SHOT(Method):
    """First half of the steps: supervised on the source. Second half: the prototypes stay, the rest fits the target.

    There it minimises the entropy of each prediction, maximises that of their mean, and learns the class of the nearest
    centroid. The target's stage looks at no source frame; a run that begins with a bundle has no other stage.
    """

    def __init__(self, config: TrainingConfig, network: Network) -> None:
        super().__init__(config, network)
        fixed = {id(each) for each in network.classifier.prototypes.parameters()}
        others = [each for each in network.parameters() if id(each) not in fixed]
        self.optimisers = (self.sgd(network.parameters()), self.sgd(others))
        self.target_from = 0 if config.origin else (config.steps + 1) // 2
        self.relabels_from = self.target_from

    def step(self, batch: Batch, noise: torch.Generator, step: int) -> dict[str, Tensor]:
        """Take one step on the source or, in the second half, on the target."""
        stages = 1 if self.config.origin else 2
        rate = self.config.learning_rate * cosine(stages * self.progress(step) % 1)
        if step < self.target_from:
            terms = {"ce": F.cross_entropy(self.network.classifier(self.embed(batch.source)), batch.labels)}
            descend(self.config.weights.ce * terms["ce"], self.optimisers[0], rate)
        else:
            terms = self.terms(batch)
            objective = terms["entropy"] - terms["diversity"] + PSEUDO_LABEL_WEIGHT * terms["pseudo_labels"]
            objective = objective + terms.get("ce", 0)
            descend(objective, self.optimisers[1], rate)
        return detached(terms)

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """Return the terms of the target's stage, unweighted; the encoder's share of their gradient is small."""
        assert batch.pseudo_labels is not None
        features = self.run_encoder(self.network.encoder, batch.target)
        logits = self.network.classifier(self.network.embedding.mean(scale_gradient(features, ENCODER_RATE)))
        terms = {
            "entropy": losses.entropy(logits),
            "diversity": losses.diversity(logits),
            "pseudo_labels": F.cross_entropy(logits, batch.pseudo_labels),
        }
        if batch.target_labels is not None:
            terms["ce"] = losses.known_cross_entropy(logits, batch.target_labels)
        return terms

    def relabel(self, images: Iterable[Tensor], count: int) -> Tensor:
        """Return the class of the nearest centroid of each of the target's frames, int64 [N]."""
        hidden, probabilities = [], []
        for batch in images:
            each = self.network.classifier.hidden(self.embed(batch))
            hidden.append(F.normalize(each))
            probabilities.append(F.softmax(self.network.classifier.prototypes(each), dim=1))
        return nearest_centroids(torch.cat(hidden)[:count], torch.cat(probabilities)[:count])


def nearest_centroids(features: Tensor, probabilities: Tensor) -> Tensor:
    """Return the class of the centroid with the greatest cosine, int64 [N]; a class that nothing is near takes no part.

    The centroids are first means weighted by the probabilities, then means of the frames that are nearest to those.

    Args:
        features: of length 1, [N, K].
        probabilities: [N, M].
    """
    weights = probabilities
    labels = probabilities.argmax(dim=1)
    for _ in range(2):
        centroids = F.normalize(weights.T @ features)
        cosines = features @ centroids.T
        present = F.one_hot(labels, probabilities.shape[1]).any(dim=0)
        labels = cosines.masked_fill(~present, -torch.inf).argmax(dim=1)
        weights = F.one_hot(labels, probabilities.shape[1]).to(features.dtype)
    return labels
