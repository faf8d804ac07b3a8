"""Labelled frames of the target that join its batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from .data.sampling import PseudoBalancedSampler
from .data.store import UNLABELLED

if TYPE_CHECKING:
    from .data.store import FrameStore
    from .methods import Batch
    from .views import Views


class KnownFrames:
    """Frames of the target whose labels may be learnt from: all in each batch, or as many as it has of the source.

    Args:
        store: the frames and their labels.
        views: of the frames.
        batch_size: how many join a batch, evenly over the classes that there are.
        seed: of their order.
    """

    def __init__(self, store: FrameStore, views: Views, batch_size: int, seed: int) -> None:
        self._labels = store.labels
        self._views = views
        self._sampler = PseudoBalancedSampler(store.labels, batch_size, seed)

    def join(self, batch: Batch, step: int, noise: torch.Generator) -> Batch:
        """Return the batch of a step with such frames behind those of the target; only their labels are told."""
        chosen = self._sampler.batch(step)
        labels = torch.from_numpy(self._labels[chosen]).to(batch.labels.device)
        target, strong = torch.cat([batch.target, self._views.augmented(chosen, noise)]), batch.target_strong
        if strong is not None:
            strong = torch.cat([strong, self._views.augmented(chosen, noise, strongly=True)])
        return batch._replace(
            target=target,
            target_labels=torch.cat([labels.new_full((len(batch.target),), UNLABELLED), labels]),
            target_strong=strong,
            pseudo_labels=None if batch.pseudo_labels is None else torch.cat([batch.pseudo_labels, labels]),
        )
