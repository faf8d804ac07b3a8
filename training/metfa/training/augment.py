"""What is done to training images, of both domains and whatever the method."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from .config import Augmentation

ROTATION = math.radians(10)
SHEAR = 0.15  # columns a row
SCALE = 1.25  # of rows and columns, each by itself
SHIFT = 0.08  # of the image's size
GAMMA = 1.4
GAIN = 1.25
CUT = 1 / 3  # of the image's height


def augment(
    frames: Tensor,
    normalise: Callable[[Tensor], Tensor],
    augmentation: Augmentation,
    noise: torch.Generator,
    *,
    strongly: bool = False,
) -> Tensor:
    """Return normalised training images.

    Args:
        frames: uint8 [N, 1, H, W].
        normalise: grey levels 0–255 → what the encoder sees.
        augmentation: what to do.
        noise: draws everything; on the device of ``frames``.
        strongly: whether to vary the images once more, and to cut a square out of each.

    Returns:
        float32 [N, 1, H, W].
    """
    grey = frames.float()
    for _ in range(augmentation.extended + strongly):
        grey = _vary(grey, noise)
    if strongly:
        grey = _cut_out(grey, noise)
    images = normalise(grey)
    if augmentation.noise:
        images = images + augmentation.noise * torch.randn(images.shape, generator=noise, device=images.device)
    if augmentation.flip:
        mirrored = torch.rand(len(images), 1, 1, 1, generator=noise, device=images.device) < 0.5
        images = torch.where(mirrored, images.flip(3), images)
    return images


def _vary(grey: Tensor, noise: torch.Generator) -> Tensor:
    """Turn, shear, stretch, shift, blur and brighten each image a little, differently; grey levels stay in 0–255."""
    count, device = len(grey), grey.device

    def draw(limit: float) -> Tensor:
        return (2 * torch.rand(count, generator=noise, device=device) - 1) * limit

    angle, shear = draw(ROTATION), draw(SHEAR)
    across, down = draw(math.log(SCALE)).exp(), draw(math.log(SCALE)).exp()
    cosine, sine = angle.cos(), angle.sin()
    aspect = grey.shape[3] / grey.shape[2]  # angles are those of pixels, coordinates run from −1 to 1 either way
    rows = [
        cosine * across,
        (shear * cosine - sine) * down / aspect,
        draw(2 * SHIFT),
        sine * across * aspect,
        (shear * sine + cosine) * down,
        draw(2 * SHIFT),
    ]
    places = affine_grid(torch.stack(rows, dim=1).view(count, 2, 3), *grey.shape[2:])
    grey = F.grid_sample(grey, places, mode="bilinear", padding_mode="zeros", align_corners=False)

    gamma, gain = draw(math.log(GAMMA)).exp(), draw(math.log(GAIN)).exp()
    grey = 255 * (gain[:, None, None, None] * (grey / 255) ** gamma[:, None, None, None]).clamp(max=1)

    return torch.lerp(grey, _blur(grey), torch.rand(count, 1, 1, 1, generator=noise, device=device))


def affine_grid(transforms: Tensor, height: int, width: int) -> Tensor:
    """Return where each pixel of each image comes from: PyTorch's function of this name, in a third of its time.

    Args:
        transforms: of (x, y, 1), each from −1 to 1 over the image, float [N, 2, 3].
        height: of the images.
        width: of the images.

    Returns:
        float [N, H, W, 2].
    """
    x, y = ((2 * torch.arange(size, device=transforms.device) + 1) / size - 1 for size in (width, height))
    across = x[:, None] * transforms[:, None, :, 0]  # [N, W, 2]
    down = y[:, None] * transforms[:, None, :, 1] + transforms[:, None, :, 2]  # [N, H, 2]
    return across[:, None] + down[:, :, None]


def _blur(images: Tensor) -> Tensor:
    """Convolve with the binomial filter [1 2 1] across and down, as four sums of neighbours: PyTorch's own are slow."""
    images = F.pad(images, (1, 1, 1, 1), mode="replicate")
    for dimension in (2, 2, 3, 3):
        size = images.shape[dimension] - 1
        images = images.narrow(dimension, 0, size) + images.narrow(dimension, 1, size)
    return images / 16


def _cut_out(grey: Tensor, noise: torch.Generator) -> Tensor:
    """Blacken a square of each image, whose centre lies anywhere in it (DeVries and Taylor 2017)."""
    count, _, height, width = grey.shape
    device = grey.device

    def near_centre(size: int) -> Tensor:
        centre = torch.rand(count, 1, generator=noise, device=device) * size
        return (torch.arange(size, device=device) + 0.5 - centre).abs() < CUT * height / 2

    inside = near_centre(height)[:, :, None] & near_centre(width)[:, None, :]
    return grey.masked_fill(inside[:, None], 0)
