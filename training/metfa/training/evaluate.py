"""How well a network labels held-out frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from .scores import Scores, score

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .data.store import FrameStore
    from .model import Network

BATCH = 64


def predict(network: Network, frames: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the predicted class of each frame, int64 [N]; ``frames`` is uint8 [N, 1, H, W]."""
    device = next(network.parameters()).device
    network.eval()
    with torch.inference_mode():
        batches = [
            network(torch.from_numpy(frames[start : start + BATCH].copy()).to(device))[0].argmax(dim=1).cpu()
            for start in range(0, len(frames), BATCH)
        ]
    return torch.cat(batches).numpy()


def evaluate(network: Network, store: FrameStore) -> Scores:
    """Score the network on a labelled store."""
    return score(store.labels, predict(network, store.frames), network.config.classes)
