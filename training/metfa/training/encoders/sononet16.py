"""SonoNet-16, the published fetal plane detector (Baumgartner et al., IEEE TMI 2017), up to its last hidden layer."""

from __future__ import annotations

from torch import Tensor, nn

from .base import Encoder, convolution

STAGES = ((16, 16), (32, 32), (64, 64, 64), (128, 128, 128), (128, 128, 128))
"""Channels of the 3 × 3 convolutions; max pooling between the stages."""

FEATURES = 64
EPSILON = 1e-4
"""ε of the published batch norms."""


class MeanOverMap(nn.Module):
    """[N, C, H, W] → [N, C, 1, 1]; summed in float32, since a sum over the map may not fit into half precision."""

    def forward(self, features: Tensor) -> Tensor:
        """Return the mean over height and width, in the type of ``features``."""
        return features.float().mean((2, 3), keepdim=True).to(features.dtype)


def hidden_layers() -> list[nn.Module]:
    """Return the published layers, without weights: float [N, 1, H, W] → [N, 64, ⌊H / 16⌋, ⌊W / 16⌋]."""
    layers: list[nn.Module] = []
    channels = 1
    for stage in STAGES:
        if layers:
            layers.append(nn.MaxPool2d(2))
        for width in stage:
            layers += convolution(channels, width, 3, 1, nn.ReLU())
            channels = width
    layers += convolution(channels, FEATURES, 1, 1, nn.ReLU())
    for layer in layers:
        if isinstance(layer, nn.BatchNorm2d):
            layer.eps = EPSILON
    return layers


class SonoNet16Encoder(Encoder):
    """The published layers, the mean over the map, and a batch norm without weights that standardises what is left.

    Each domain has its own statistics there. Where the encoder is frozen, they are all that it learns.
    """

    adapting = 2

    def __init__(self) -> None:
        super().__init__(*hidden_layers(), MeanOverMap(), nn.BatchNorm2d(FEATURES, affine=False), nn.Flatten())

    @classmethod
    def features(cls, height: int, width: int) -> int:
        """Return 64, whatever the size of the frames."""
        del height, width
        return FEATURES
