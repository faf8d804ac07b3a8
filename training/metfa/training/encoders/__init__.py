"""E, the part of the network that looks at frames: one file an encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from metfa.runtime.plugins import Registry

from .base import Encoder
from .edge import EdgeEncoder
from .residual import ResidualEncoder
from .sononet16 import SonoNet16Encoder
from .strided import StridedEncoder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..names import EncoderName

__all__ = ["ENCODERS", "Encoder", "build_encoder"]

ENCODERS: Mapping[EncoderName, type[Encoder]] = Registry(
    "metfa.encoders",
    {
        "edge": EdgeEncoder,
        "residual": ResidualEncoder,
        "sononet16": SonoNet16Encoder,
        "strided": StridedEncoder,
    },
)


def build_encoder(name: EncoderName) -> Encoder:
    """Return a new encoder, with channels side by side in memory; docs/benchmarks.md says what that gains."""
    encoder = ENCODERS[name]()
    encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # PyTorch's stubs lack it
    return encoder
