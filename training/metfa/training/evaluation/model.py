"""What a network says of held-out frames, and how well it labels them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from metfa.runtime.backends import Inference

from ..data.store import UNLABELLED
from ..model import BATCH, batches
from .scores import Scores, score

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..data.store import FrameSequence, FrameStore
    from ..model import Network
    from ..views import Views


def infer(network: Network, frames: FrameSequence) -> Inference:
    """Return logits and mean embedding of each frame; ``frames`` is uint8 [N, 1, H, W]."""
    with torch.inference_mode():
        outputs = [network(batch) for batch in batches(network, frames)]
    logits, embedding = (torch.cat(parts).cpu().numpy() for parts in zip(*outputs, strict=True))
    return Inference(logits, embedding)


def label_augmented(network: Network, views: Views, chosen: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return what the network says of an augmented copy of each frame, int64 [n]; the same for every network.

    Args:
        network: asked at the mean embedding.
        views: of the frames.
        chosen: which of them, int64 [n].
    """
    noise = torch.Generator(next(network.parameters()).device).manual_seed(0)
    network.eval()
    with torch.inference_mode():
        labels = [
            network.classifier(network.embedding.mean(network.encoder(views.augmented(part, noise)))).argmax(dim=1)
            for part in np.array_split(chosen, -(-len(chosen) // BATCH))
        ]
    return torch.cat(labels).cpu().numpy()


def evaluate(network: Network, store: FrameStore) -> Scores:
    """Score the network on the labelled frames of a store, of which there is at least one."""
    labelled = store.labels != UNLABELLED
    predicted = infer(network, store.frames).logits.argmax(axis=1)
    return score(store.labels[labelled], predicted[labelled], network.config.classes)
