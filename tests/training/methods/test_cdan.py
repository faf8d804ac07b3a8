"""A discriminator that sees what is predicted, too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from metfa.training.methods import CDAN, Batch

from .examples import gradients, make_batch, make_method, move

if TYPE_CHECKING:
    from metfa.training.config import TrainingConfig

ENCODER = ("network.encoder", "network.embedding.mean")


@pytest.fixture
def cdan(config: TrainingConfig) -> CDAN:
    method = make_method(config, "cdan")
    assert isinstance(method, CDAN)
    return method


def unreversed(method: CDAN, batch: Batch) -> Tensor:
    """The mean over domains of each frame's loss, weighted by 1 + e^(-H), frame by frame."""
    domains = []
    for domain, frames in enumerate((batch.source, batch.target)):
        means = method.network.embedding.mean(method.network.encoder(frames))
        losses, weights = [], []
        for mean, p in zip(means, method.network.classifier(means).softmax(dim=1).detach(), strict=True):
            product = torch.stack([each * number for each in p for number in mean])
            losses.append(-method.discriminator(product).softmax(dim=0)[domain].log())
            weights.append(1 + (p * p.log()).sum().exp())
        domains.append((torch.stack(losses) * torch.stack(weights)).sum() / torch.stack(weights).sum())
    return torch.stack(domains).mean()


@pytest.mark.parametrize("strength", [0.25, 1.0])
def test_the_encoders_gradient_is_reversed_and_scaled_and_the_discriminators_is_neither(
    cdan: CDAN, strength: float
) -> None:
    batch = make_batch("cdan")
    domain, plain = cdan.terms(batch, strength)["domain"], unreversed(cdan, batch)
    assert domain.item() == pytest.approx(plain.item())
    reversed_, expected = gradients(domain, cdan), gradients(plain, cdan)
    for name, gradient in expected.items():
        if name.startswith((*ENCODER, "discriminator")):
            factor = 1 if name.startswith("discriminator") else -strength
            assert gradient.norm() > 0, name
            torch.testing.assert_close(reversed_[name], factor * gradient, msg=name)
        else:
            assert not reversed_[name].any(), name


@pytest.mark.parametrize(("part", "rises"), [("discriminator", False), *((part, True) for part in ENCODER)])
def test_the_discriminators_step_lowers_the_domain_loss_and_the_encoders_raises_it(
    cdan: CDAN, part: str, rises: bool
) -> None:
    batch = make_batch("cdan")
    before = cdan.terms(batch, 1.0)["domain"]
    move(cdan, gradients(before, cdan), part, 1e-3)
    assert (cdan.terms(batch, 1.0)["domain"] > before) == rises
