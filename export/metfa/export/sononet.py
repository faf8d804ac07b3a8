"""SonoNet-16, the published fetal plane detector (Baumgartner et al., IEEE TMI 2017), as a bundle like any other."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from torch import nn

from metfa.runtime.bundle.contract import (
    SCHEMA,
    DecisionSpec,
    InputSpec,
    ModelContract,
    Provenance,
    software,
)
from metfa.runtime.bundle.directory import CONTRACT, WEIGHTS
from metfa.runtime.files import reading, write_text, writing_to
from metfa.training.encoders.published import fill, read_published
from metfa.training.encoders.sononet16 import FEATURES, MeanOverMap
from metfa.training.names import SONONET
from metfa.training.sononet import PUBLISHED_NORMALISATION, SonoNet
from metfa.training.weights import save_tensors

from .graph import DeployedModel, Model, SmallLinear
from .precision import fold_batch_norms

if TYPE_CHECKING:
    from pathlib import Path

    from metfa.runtime.backends.choice import Precision

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
        input=InputSpec(
            height=224, width=288, resize="halve-linear", normalisation=PUBLISHED_NORMALISATION, region=None
        ),
        # It was trained with a class for what is no plane; for calibration, there are no frames to be had.
        decision=DecisionSpec(temperature=1.0, rejection=None, background=("Background",)),
        provenance=Provenance(
            software=software(), method=SONONET, source="GE Voluson E8 (published weights)", target=None
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
