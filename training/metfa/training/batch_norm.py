"""Batch-norm statistics belong to a domain, weights to both (Li et al., *Revisiting batch normalization*, 2016)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from .data.sampling import PseudoBalancedSampler

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .data.store import FrameSequence
    from .model import Network

BATCH = 64
MAX_BATCHES = 32


def adopt_statistics(network: Network, frames: FrameSequence, pseudo_labels: NDArray[np.int64] | None = None) -> None:
    """Give every batch norm of ``network`` the mean and variance that a domain's frames have there.

    The frames pass along the deterministic path, batch by batch, as they will when deployed; up to 2,048 of them, in an
    order that mixes the classes.

    Args:
        network: changed in place, and left in evaluation mode.
        frames: uint8 [N, 1, H, W] of one domain, N ≥ 2.
        pseudo_labels: int64 [N]; batches then have equally many frames of each class, as where a network was trained on
            such batches. None to take the frames as frequent as they are.
    """
    device = next(network.parameters()).device
    number = max(1, len(frames) // BATCH)
    if pseudo_labels is None:
        batches = np.array_split(np.random.default_rng(0).permutation(len(frames)), number)[:MAX_BATCHES]
    else:
        sampler = PseudoBalancedSampler(pseudo_labels, len(frames) // number, seed=0)
        batches = [sampler.batch(step) for step in range(min(number, MAX_BATCHES))]
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
    network.train()
    with torch.no_grad():
        for batch in batches:
            network(torch.from_numpy(frames[np.sort(batch)]).to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()
