"""How many threads of the CPU compute in a run."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

import torch

from metfa.runtime.cores import available_cores

from .encoders import build_encoder

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from .config import TrainingConfig

_TURNS = 3
_GAIN = 0.9
"""Of the time that fewer threads take: what more threads must beat, as they cost other programs their cores."""


def choose_threads(config: TrainingConfig, classes: int, fabric: Fabric) -> int:
    """Return with how many threads a run is trained fastest, on this machine as busy as it is.

    On a CPU one, two, four and so on are tried, up to the cores that this process may use. PyTorch's own choice is all
    cores of the machine: small networks, busy neighbours and quotas make that slower than one thread.

    Args:
        config: the run.
        classes: M.
        fabric: where to compute, launched.
    """
    cores = available_cores() // fabric.world_size
    if fabric.device.type != "cpu" or cores <= 1 or fabric.world_size > 1:
        return max(1, cores)
    encoder = build_encoder(config.encoder)
    images = config.images_of_each_class(classes) * classes
    encoder.requires_grad_(not config.freeze_encoder)
    frames = torch.linspace(-1, 1, images * config.height * config.width).view(images, 1, config.height, config.width)

    def seconds() -> float:
        began = time.perf_counter()
        loss = encoder(frames).square().mean()
        if loss.requires_grad:
            loss.backward()
        return time.perf_counter() - began

    best, shortest, threads = 1, float("inf"), 1
    while threads <= cores:
        torch.set_num_threads(threads)
        seconds()  # the first turn prepares kernels and memory
        needed = statistics.median(seconds() for _ in range(_TURNS))
        if needed < _GAIN * shortest:
            best, shortest = threads, needed
        threads *= 2
    return best
