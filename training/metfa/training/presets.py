"""Sizes of a model, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .names import EncoderName


class Preset(NamedTuple):
    """What decides the size of a model.

    Attributes:
        encoder: E.
        embedding: D.
        height: rows of the input.
        width: columns of the input.
    """

    encoder: EncoderName
    embedding: int
    height: int
    width: int


PRESETS: Mapping[str, Preset] = {
    "small": Preset("strided", 128, 56, 72),
    "edge": Preset("edge", 128, 112, 144),
    "sononet16": Preset("sononet16", 128, 224, 288),
    "compact": Preset("residual", 128, 224, 288),
    "paper": Preset("residual", 4096, 224, 288),
}
"""For small inputs; for an edge device; an encoder that has seen ultrasound, with ``--init``; the released code's, with
a small embedding and with its own."""
