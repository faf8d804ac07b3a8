"""SonoNet-16, the published fetal plane detector (Baumgartner et al., IEEE TMI 2017), as a bundle like any other."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor, nn

from metfa.runtime.bundle.contract import (
    SCHEMA,
    DecisionSpec,
    InputSpec,
    ModelContract,
    Normalisation,
    Provenance,
    software,
)
from metfa.runtime.bundle.directory import CONTRACT, WEIGHTS
from metfa.runtime.errors import BundleError
from metfa.runtime.files import reading, write_text, writing_to
from metfa.training.encoders.published import GREY_SCALE, fill, read_published
from metfa.training.encoders.sononet16 import EPSILON, FEATURES, MeanOverMap, hidden_layers
from metfa.training.model import Normalise
from metfa.training.weights import parse_tensors, save_tensors

from .graph import DeployedModel, Model, SmallLinear
from .precision import fold_batch_norms

if TYPE_CHECKING:
    from pathlib import Path

    from metfa.runtime.backends.choice import Precision
    from metfa.runtime.bundle.directory import Bundle

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
_NORMALISATION = Normalisation(kind="per-image", scale=GREY_SCALE, mean=None)


class SonoNet(nn.Module):
    """The network as it was published; the mean of its last hidden feature map serves as the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.normalise = Normalise(_NORMALISATION)
        self.features = nn.Sequential(*hidden_layers())
        self.classes = nn.Sequential(
            nn.Conv2d(FEATURES, len(LABELS), 1, bias=False), nn.BatchNorm2d(len(LABELS), eps=EPSILON)
        )

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 [N, 1, 224, 288] → logits [N, 14] and embedding [N, 64]."""
        features = self.features(self.normalise(frames))
        return self.classes(features).mean((2, 3)), features.mean((2, 3))


def deploy_sononet(network: SonoNet, precision: Precision) -> DeployedModel:
    """Return the network for export; the 1 × 1 convolution to classes commutes with the mean over the map."""
    convolution, _ = fold_batch_norms(network.classes).children()
    return DeployedModel(
        normalise=network.normalise,
        body=nn.Sequential(network.features, MeanOverMap(), nn.Flatten()),
        hidden=nn.Identity(),
        logits=SmallLinear(convolution.get_parameter("weight").flatten(1), convolution.get_parameter("bias")),
        precision=precision,
    )


def sononet_contract() -> ModelContract:
    """Return the contract of the published network."""
    return ModelContract(
        schema=SCHEMA,
        labels=LABELS,
        embedding=FEATURES,
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
    """Return the network with the weights of ``SonoNet16.npz``.

    Raises:
        SourceError: the file is missing, damaged, or holds other arrays.
    """
    with reading(path):
        content = path.read_bytes()
    network = SonoNet()
    fill(network, read_published(content, path))
    return network.eval()
