"""``SonoNet16.npz`` of the SonoNet-weights repository: what is in it, and into which layers it goes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import nn

from metfa.runtime.errors import SourceError

from .sononet16 import FEATURES, STAGES, SonoNet16Encoder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

CLASSES = 14
GREY_SCALE = 255.0
"""By which the published network multiplies a standardised frame."""

_REMEDY = "fetch SonoNet16.npz of the SonoNet-weights repository again"


class Layer(NamedTuple):
    """A convolution and its batch norm: weights [out, in, h, w], then β, γ, mean and 1/σ, float32 [out] each."""

    weight: NDArray[np.float32]
    beta: NDArray[np.float32]
    gamma: NDArray[np.float32]
    mean: NDArray[np.float32]
    inverse_deviation: NDArray[np.float32]


def read_published(content: bytes, origin: Path) -> list[Layer]:
    """Return the layers of the network, in order, from the bytes of its file.

    Raises:
        SourceError: it is damaged, or holds other arrays.
    """
    arrays = _read_arrays(content, origin)
    widths = [*(width for stage in STAGES for width in stage), FEATURES, CLASSES]
    kernels = [3] * (len(widths) - 2) + [1, 1]
    expected = [
        shape
        for inputs, outputs, kernel in zip([1, *widths], widths, kernels, strict=False)
        for shape in ((outputs, inputs, kernel, kernel), *[(outputs,)] * 4)
    ]
    received = [array.shape for array in arrays]
    if received != expected:
        difference = next((pair for pair in zip(expected, received, strict=False) if pair[0] != pair[1]), None)
        raise SourceError(
            expected=f"the {len(expected)} arrays of SonoNet-16 in {origin}",
            received=f"an array {list(difference[1])} in place of {list(difference[0])}"
            if difference
            else f"{len(received)} arrays",
            remedy=_REMEDY,
        )
    return [Layer(*arrays[start : start + 5]) for start in range(0, len(arrays), 5)]


def fill(network: nn.Module, layers: Sequence[Layer]) -> None:
    """Copy as many layers as ``network`` has convolutions into them and their batch norms, in their order."""
    convolutions = [each for each in network.modules() if isinstance(each, nn.Conv2d)]
    norms = [each for each in network.modules() if isinstance(each, nn.BatchNorm2d) and each.affine]
    with torch.no_grad():
        for convolution, norm, layer in zip(convolutions, norms, layers, strict=False):
            convolution.weight.copy_(torch.from_numpy(layer.weight))
            norm.bias.copy_(torch.from_numpy(layer.beta))
            norm.weight.copy_(torch.from_numpy(layer.gamma))
            norm.get_buffer("running_mean").copy_(torch.from_numpy(layer.mean))
            variance = layer.inverse_deviation.astype(np.float64) ** -2 - norm.eps  # ε is inside the published 1/σ
            norm.get_buffer("running_var").copy_(torch.from_numpy(variance.clip(min=0)))


def fill_encoder(encoder: SonoNet16Encoder, layers: Sequence[Layer]) -> None:
    """Give an encoder the published weights, for frames that are standardised and not multiplied.

    The first batch norm takes the factor, so that the first convolution's weights are of the size of the others'.
    """
    first, *others = layers
    scale = np.float32(GREY_SCALE)
    fill(encoder, [first._replace(mean=first.mean / scale, inverse_deviation=first.inverse_deviation * scale), *others])


def _read_arrays(content: bytes, origin: Path) -> list[NDArray[np.float32]]:
    """Return ``arr_0``, ``arr_1``, … of an .npz file, in this order."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            return [np.asarray(archive[f"arr_{index}"], np.float32) for index in range(len(archive.files))]
    except Exception as cause:  # a damaged archive raises whatever zipfile, zlib and NumPy run into
        raise SourceError(
            expected=f"the arrays arr_0, arr_1, … of SonoNet-16 in {origin}",
            received=f"a file that is damaged or holds something else ({cause})",
            remedy=_REMEDY,
        ) from None
