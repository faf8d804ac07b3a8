"""Small untrained networks, and bundles of them such as training writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from metfa.runtime.bundle.contract import (
    SCHEMA,
    DecisionSpec,
    InputSpec,
    ModelContract,
    Normalisation,
    Provenance,
    Rejection,
    software,
)
from metfa.runtime.bundle.directory import CONTRACT, updating
from metfa.training.model import Network, NetworkConfig
from metfa.training.weights import Reference, save_network, save_reference

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from metfa.training.names import EncoderName

HEIGHT, WIDTH = 32, 40
LABELS = ("4CH", "Abdominal", "Femur", "Lips", "Background")
EMBEDDING = 16
NORMALISATIONS = {"fixed": Normalisation("fixed", 1 / 50, 100.0), "per-image": Normalisation("per-image", 1.0, None)}


def make_network(
    kind: Literal["fixed", "per-image"] = "per-image", seed: int = 0, encoder: EncoderName = "residual"
) -> Network:
    """Return a network whose batch norms have statistics, so that ignoring or misplacing one is noticed."""
    torch.manual_seed(seed)
    network = Network(NetworkConfig(HEIGHT, WIDTH, len(LABELS), encoder, EMBEDDING, 0.05, NORMALISATIONS[kind]))
    for part in network.modules():
        if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)):
            part.get_buffer("running_mean").normal_(0, 0.3)
            part.get_buffer("running_var").uniform_(0.5, 2)
            if part.affine:
                nn.init.uniform_(part.weight, 0.5, 1.5)
                nn.init.normal_(part.bias, 0, 0.3)
    return network.eval()


def make_frames(count: int, seed: int = 0) -> Tensor:
    """Return uint8 [count, 1, HEIGHT, WIDTH]: noise on ramps, ever brighter and of more contrast."""
    generator = torch.Generator().manual_seed(seed)
    ramp = torch.linspace(0, 1, WIDTH) * torch.linspace(0, 1, count).reshape(count, 1, 1, 1)
    noise = torch.rand(count, 1, HEIGHT, WIDTH, generator=generator)
    return (255 * ramp * noise).byte()


def make_reference() -> Reference:
    """Return 12 frames of the target, 10 labelled ones of the source and 12 to calibrate on, all of them different."""
    return Reference(
        target=make_frames(12),
        source=make_frames(10, seed=1),
        source_labels=torch.arange(10) % len(LABELS),
        calibration=make_frames(12, seed=2),
    )


def make_contract(network: Network) -> ModelContract:
    config = network.config
    return ModelContract(
        schema=SCHEMA,
        labels=LABELS,
        embedding=config.embedding,
        input=InputSpec(config.height, config.width, "halve-linear", config.normalisation, None),
        decision=DecisionSpec(temperature=1.5, rejection=Rejection("energy", 3.0), background=("Background",)),
        provenance=Provenance(software(), "metfa-v", "device A", "device B"),
    )


def make_bundle(directory: Path, network: Network) -> Path:
    with updating(directory, keep=lambda _: False) as stage:
        save_network(network, stage)
        save_reference(make_reference(), stage)
        (stage / CONTRACT).write_text(make_contract(network).to_json(), encoding="utf-8")
    return directory
