"""SonoNet-16, the published fetal plane detector (Baumgartner et al., IEEE TMI 2017), as a bundle like any other."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from metfa.runtime.bundle import CONTRACT, WEIGHTS
from metfa.runtime.contract import (
    SCHEMA,
    DecisionSpec,
    InputSpec,
    ModelContract,
    Normalisation,
    Provenance,
    software,
)
from metfa.runtime.errors import BundleError, ExportError
from metfa.runtime.files import write_text, writing_to
from metfa.training.model import Normalise
from metfa.training.weights import parse_tensors, save_tensors

from .graph import DeployedModel, Model, SmallLinear
from .precision import fold_batch_norms

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from metfa.runtime.backends.choice import Precision
    from metfa.runtime.bundle import Bundle

METHOD = "sononet-16"
"""What the contract's provenance calls it."""

LABELS = (
    "3VV",
    "4CH",
    "Abdominal",
    "Background",
    "Brain (Cb.)",
    "Brain (Tv.)",
    "Femur",
    "Kidneys",
    "Lips",
    "LVOT",
    "Profile",
    "RVOT",
    "Spine (cor.)",
    "Spine (sag.)",
)
_STAGES = ((16, 16), (32, 32), (64, 64, 64), (128, 128, 128), (128, 128, 128))  # max pooling between them
_EMBEDDING = 64
_REMEDY = "fetch SonoNet16.npz of the SonoNet-weights repository again"
_NORMALISATION = Normalisation(kind="per-image", scale=255.0, mean=None)


class SonoNet(nn.Module):
    """The network as it was published; the mean of its last hidden feature map serves as the embedding."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for stage in _STAGES:
            if layers:
                layers.append(nn.MaxPool2d(2))
            for width in stage:
                layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), _norm(width), nn.ReLU()]
                channels = width
        layers += [nn.Conv2d(channels, _EMBEDDING, 1, bias=False), _norm(_EMBEDDING), nn.ReLU()]
        self.normalise = Normalise(_NORMALISATION)
        self.features = nn.Sequential(*layers)
        self.classes = nn.Sequential(nn.Conv2d(_EMBEDDING, len(LABELS), 1, bias=False), _norm(len(LABELS)))

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 [N, 1, 224, 288] → logits [N, 14] and embedding [N, 64]."""
        features = self.features(self.normalise(frames))
        return self.classes(features).mean((2, 3)), features.mean((2, 3))


class MeanOverMap(nn.Module):
    """[N, C, H, W] → float32 [N, C]; summed in float32, since a sum over the map may not fit into half precision."""

    def forward(self, features: Tensor) -> Tensor:
        """Return the mean over height and width."""
        return features.float().mean((2, 3))


def deploy_sononet(network: SonoNet, precision: Precision) -> DeployedModel:
    """Return the network for export; the 1 × 1 convolution to classes commutes with the mean over the map."""
    convolution, _ = fold_batch_norms(network.classes).children()
    return DeployedModel(
        normalise=network.normalise,
        body=nn.Sequential(network.features, MeanOverMap()),
        hidden=nn.Identity(),
        logits=SmallLinear(convolution.get_parameter("weight").flatten(1), convolution.get_parameter("bias")),
        precision=precision,
    )


def sononet_contract() -> ModelContract:
    """Return the contract of the published network."""
    return ModelContract(
        schema=SCHEMA,
        labels=LABELS,
        embedding=_EMBEDDING,
        input=InputSpec(height=224, width=288, resize="halve-linear", normalisation=_NORMALISATION, region=None),
        # It was trained with a class for what is no plane; for calibration, there are no frames to be had.
        decision=DecisionSpec(temperature=1.0, rejection=None, background=("Background",)),
        provenance=Provenance(
            software=software(), method=METHOD, source="GE Voluson E8 (published weights)", target=None
        ),
    )


def sononet_model(network: SonoNet, contract: ModelContract) -> Model:
    """Return the network as something to export."""
    return Model(network, partial(deploy_sononet, network), contract)


def save_sononet(network: SonoNet, directory: Path) -> None:
    """Write weights and contract of a bundle into ``directory``.

    Raises:
        OutputError: a file cannot be written.
    """
    with writing_to(directory):
        save_tensors(network.state_dict(), directory / WEIGHTS)
    write_text(directory / CONTRACT, sononet_contract().to_json())


def load_sononet(bundle: Bundle) -> SonoNet:
    """Rebuild the network of a bundle that :func:`save_sononet` began.

    Raises:
        BundleError: its weights are missing, damaged, or those of another network.
    """
    path = bundle.directory / WEIGHTS
    network = SonoNet()
    try:
        network.load_state_dict(parse_tensors(bundle.read(WEIGHTS), path))
    except RuntimeError as cause:
        raise BundleError(
            expected=f"the weights of SonoNet-16 in {path}",
            received=str(cause).splitlines()[-1],
            remedy="make the bundle again with metfa-export --sononet",
        ) from None
    return network.eval()


def read_published_weights(path: Path) -> SonoNet:
    """Read ``SonoNet16.npz``: per convolution its weights [out, in, h, w], then β, γ, mean and 1/σ of its batch norm.

    Raises:
        ExportError: the file is missing, damaged, or holds other arrays.
    """
    network = SonoNet()
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    arrays = _read_arrays(path)
    expected = [
        tuple(shape)
        for convolution in convolutions
        for shape in (convolution.weight.shape, *[(convolution.out_channels,)] * 4)
    ]
    received = [array.shape for array in arrays]
    if received != expected:
        difference = next((pair for pair in zip(expected, received, strict=False) if pair[0] != pair[1]), None)
        raise ExportError(
            expected=f"the {len(expected)} arrays of SonoNet-16 in {path}",
            received=f"an array {list(difference[1])} in place of {list(difference[0])}"
            if difference
            else f"{len(received)} arrays",
            remedy=_REMEDY,
        )
    tensors = iter(torch.from_numpy(array) for array in arrays)
    with torch.no_grad():
        for convolution, norm in zip(convolutions, norms, strict=True):
            convolution.weight.copy_(next(tensors))
            norm.bias.copy_(next(tensors))
            norm.weight.copy_(next(tensors))
            norm.get_buffer("running_mean").copy_(next(tensors))
            norm.get_buffer("running_var").copy_(next(tensors) ** -2)
    return network.eval()


def _read_arrays(path: Path) -> list[NDArray[np.float32]]:
    """Return ``arr_0``, ``arr_1``, … of an .npz file, in this order."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return [np.asarray(archive[f"arr_{index}"], np.float32) for index in range(len(archive.files))]
    except Exception as cause:  # a damaged archive raises whatever zipfile, zlib and NumPy run into
        raise ExportError(
            expected=f"the arrays arr_0, arr_1, … of SonoNet-16 in {path}",
            received=f"a file that is missing, damaged or holds something else ({cause})",
            remedy=_REMEDY,
        ) from None


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=0)  # ε is inside the published 1/σ
