"""What a network says of held-out frames, and how well it labels them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from metfa.runtime.backends import Inference

from ..data.store import UNLABELLED
from .scores import Scores, score

if TYPE_CHECKING:
    from ..data.store import FrameSequence, FrameStore
    from ..model import Network

BATCH = 64


def infer(network: Network, frames: FrameSequence) -> Inference:
    """Return logits and mean embedding of each frame; ``frames`` is uint8 [N, 1, H, W]."""
    device = next(network.parameters()).device
    network.eval()
    with torch.inference_mode():
        outputs = [
            network(torch.from_numpy(frames[start : start + BATCH].copy()).to(device))
            for start in range(0, len(frames), BATCH)
        ]
    logits, embedding = (torch.cat(parts).cpu().numpy() for parts in zip(*outputs, strict=True))
    return Inference(logits, embedding)


def evaluate(network: Network, store: FrameStore) -> Scores:
    """Score the network on the labelled frames of a store, of which there is at least one."""
    labelled = store.labels != UNLABELLED
    predicted = infer(network, store.frames).logits.argmax(axis=1)
    return score(store.labels[labelled], predicted[labelled], network.config.classes)
