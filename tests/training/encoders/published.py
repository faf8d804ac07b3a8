"""Weights in the layout of ``SonoNet16.npz``, and an independent reading of that layout."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

WIDTHS = (16, 16, 32, 32, 64, 64, 64, 128, 128, 128, 128, 128, 128, 64, 14)
POOLED_BEFORE = (2, 4, 7, 10)  # the convolutions that a max pooling comes before


def make_arrays() -> list[np.ndarray]:
    """Return arrays in the published layout, with random numbers."""
    rng = np.random.default_rng(0)
    arrays = []
    for index, (inputs, outputs) in enumerate(zip((1, *WIDTHS), WIDTHS, strict=False)):
        kernel = 3 if index < 13 else 1
        weight = rng.normal(0, (2 / (inputs * kernel**2)) ** 0.5, (outputs, inputs, kernel, kernel))
        beta, mean = rng.normal(0, 0.2, (2, outputs))
        gamma, inverse = rng.uniform(0.8, 1.2, (2, outputs))
        # What the first convolution makes of grey levels times 255 has a deviation of that size.
        arrays += [weight, beta, gamma, mean, inverse / 255 if index == 0 else inverse]
    return [array.astype(np.float32) for array in arrays]


def write_weights(path: Path) -> Path:
    np.savez(path, *make_arrays())
    return path


def published_features(arrays: list[np.ndarray], frames: Tensor) -> Tensor:
    """Compute the published network's last hidden layer from its arrays, step by step; uint8 [N, 1, H, W] → [N, 64]."""
    grey = frames.double()
    deviation, mean = torch.std_mean(grey, dim=(1, 2, 3), keepdim=True, unbiased=False)
    x = (grey - mean) / deviation * 255
    for index in range(14):
        weight, beta, gamma, mean, inverse = (torch.from_numpy(each).double() for each in arrays[5 * index :][:5])
        x = F.max_pool2d(x, 2) if index in POOLED_BEFORE else x
        x = F.conv2d(x, weight, padding=weight.shape[2] // 2)
        x = F.relu(x.sub(mean[:, None, None]).mul((gamma * inverse)[:, None, None]).add(beta[:, None, None]))
    return x.mean((2, 3))
