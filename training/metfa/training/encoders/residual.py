"""The encoder of the code that the paper's authors released."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import Encoder

NEGATIVE_SLOPE = 0.01


class Shortcut(nn.Conv2d):
    """1 × 1 convolution that changes the number of channels and, with a stride, the size; no bias.

    While it is differentiated it picks the pixels first and convolves them with stride 1, which is the same function:
    in oneDNN 3.12 (PyTorch 2.13), on CPUs with AVX-512, the gradient of a strided one of 8 channels that lie side by
    side in memory writes beyond its end.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__(channels_in, channels_out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C_in, H, W] → [N, C_out, ⌈H / stride⌉, ⌈W / stride⌉]."""
        if torch.is_grad_enabled() and (x.requires_grad or self.weight.requires_grad):
            rows, columns = self.stride
            return F.conv2d(x[..., ::rows, ::columns], self.weight)
        return super().forward(x)


class ResidualUnit(nn.Module):
    """Pre-activation residual unit (He et al. 2016): batch norm, leaky ReLU, 3 × 3 convolution, twice."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        same_shape = stride == 1 and channels_in == channels_out
        self.shortcut = None if same_shape else Shortcut(channels_in, channels_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C_in, H, W] → [N, C_out, ⌈H / stride⌉, ⌈W / stride⌉]."""
        activated = F.leaky_relu(self.norm1(x), NEGATIVE_SLOPE)
        shortcut = x if self.shortcut is None else self.shortcut(activated)
        residual = self.conv1(activated)
        residual = self.conv2(F.leaky_relu(self.norm2(residual), NEGATIVE_SLOPE))
        return torch.add(shortcut, residual)


class ResidualEncoder(Encoder):
    """The released code's: float [N, 1, H, W] → F [N, features]. A 3 × 3 stem, then one residual unit per stage."""

    channels = (8, 16, 32, 64, 8)
    strides = (1, 2, 2, 2, 1)

    def __init__(self) -> None:
        inputs = (self.channels[0], *self.channels)
        super().__init__(
            nn.Conv2d(1, self.channels[0], 3, padding=1, bias=False),
            *(
                ResidualUnit(channels_in, channels_out, stride)
                for channels_in, channels_out, stride in zip(inputs, self.channels, self.strides, strict=False)
            ),
            nn.BatchNorm2d(self.channels[-1]),
            nn.LeakyReLU(NEGATIVE_SLOPE),
            nn.Flatten(),
        )
