"""How well a network labels held-out frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

from metfa.runtime.backends import Inference

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .data.store import FrameStore
    from .model import Network

BATCH = 64


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of one domain's held-out frames; macro averages weigh every class alike.

    Attributes:
        images: how many frames.
        accuracy: share of frames labelled right.
        f1: macro F1.
        precision: macro precision.
        recall: macro recall.
        confusion: frames by true class (row) and predicted class (column).
    """

    images: int
    accuracy: float
    f1: float
    precision: float
    recall: float
    confusion: tuple[tuple[int, ...], ...]


def infer(network: Network, frames: NDArray[np.uint8]) -> Inference:
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
    """Score the network on a labelled store."""
    predicted = infer(network, store.frames).logits.argmax(axis=1)
    classes = list(range(network.config.classes))
    precision, recall, f1, _ = precision_recall_fscore_support(
        store.labels, predicted, labels=classes, average="macro", zero_division=0.0
    )
    confusion = confusion_matrix(store.labels, predicted, labels=classes)
    return Scores(
        images=len(predicted),
        accuracy=float(accuracy_score(store.labels, predicted)),
        f1=float(f1),
        precision=float(precision),
        recall=float(recall),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
    )
