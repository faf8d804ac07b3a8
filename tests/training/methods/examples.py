"""A method around a small network in float64, a batch that fits it, and gradients by name."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from metfa.training.methods import METHODS, Batch, Method, build_method

from ..conftest import LABELS, make_network

if TYPE_CHECKING:
    from collections.abc import Mapping

    from metfa.training.config import TrainingConfig
    from metfa.training.names import MethodName

CLASSES = len(LABELS)


def make_method(config: TrainingConfig, name: MethodName, **changes: Any) -> Method:
    network = make_network()
    return build_method(replace(config, method=name, **changes), network).double()


def make_batch(name: MethodName = "metfa-v") -> Batch:
    """Noise; the target's has a gradient across, so that the domains can be told apart."""
    generator = torch.Generator().manual_seed(1)
    source, target = torch.randn(2, 2 * CLASSES, 1, 28, 28, generator=generator, dtype=torch.float64)
    labels = torch.arange(2 * CLASSES) % CLASSES
    target = target / 2 + torch.linspace(-1, 1, 28, dtype=torch.float64)
    return Batch(
        source,
        labels,
        target,
        target_labels=labels.flip(0) if "target" in METHODS[name].supervision else None,
        target_strong=target.roll(3, 2) if name == "metfa-vi" else None,
        pseudo_labels=labels.roll(1),
    )


def noise() -> torch.Generator:
    return torch.Generator().manual_seed(2)


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def gradients(objective: Tensor, module: nn.Module) -> dict[str, Tensor]:
    """The gradient of every parameter, zero where the objective does not depend on it."""
    parameters = {name: each for name, each in module.named_parameters() if each.requires_grad}
    computed = torch.autograd.grad(
        objective, list(parameters.values()), retain_graph=True, materialize_grads=True, allow_unused=True
    )
    return dict(zip(parameters, computed, strict=True))


def move(module: nn.Module, gradient: Mapping[str, Tensor], part: str, length: float) -> None:
    """Take a step of ``length`` down the gradient with the parameters whose name begins with ``part``."""
    names = [name for name, _ in module.named_parameters() if name.startswith(part)]
    norm = torch.stack([gradient[name].norm() for name in names]).norm()
    assert norm > 0
    with torch.no_grad():
        for name in names:
            module.get_parameter(name).sub_(length / norm * gradient[name])
