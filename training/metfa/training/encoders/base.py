"""What every encoder is."""

from __future__ import annotations

from typing import ClassVar

from torch import nn


class Encoder(nn.Sequential):
    """float [N, 1, H, W] → F, float [N, features].

    Attributes:
        channels: of the output of each stage; the last is flattened into F.
        strides: by which each stage divides height and width, rounding up.
        adapting: how many of the last layers still learn, or have statistics of a domain, where the rest is frozen.
    """

    channels: ClassVar[tuple[int, ...]]
    strides: ClassVar[tuple[int, ...]]
    adapting: ClassVar[int] = 0

    @classmethod
    def features(cls, height: int, width: int) -> int:
        """Return the size of F for frames of ``height`` rows and ``width`` columns."""
        for stride in cls.strides:
            height, width = -(-height // stride), -(-width // stride)
        return cls.channels[-1] * height * width


def convolution(
    channels_in: int, channels_out: int, kernel: int, stride: int, activation: nn.Module
) -> list[nn.Module]:
    """Return convolution, batch norm and activation, in the order in which batch norm folds into the convolution."""
    return [
        nn.Conv2d(channels_in, channels_out, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(channels_out),
        activation,
    ]
