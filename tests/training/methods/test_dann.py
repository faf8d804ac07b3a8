"""Two players that pull apart: the discriminator tells domains, the encoder, through reversal, hides them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from metfa.training.methods import DANN, Batch
from metfa.training.methods.base import sigmoid_ramp

from .examples import gradients, make_batch, make_method, move, noise

if TYPE_CHECKING:
    from metfa.training.config import TrainingConfig

ENCODER = ("network.encoder", "network.embedding.mean")


@pytest.fixture
def dann(config: TrainingConfig) -> DANN:
    method = make_method(config, "dann")
    assert isinstance(method, DANN)
    return method


def embed(method: DANN, frames: Tensor) -> Tensor:
    mean: Tensor = method.network.embedding.mean(method.network.encoder(frames))
    return mean


def unreversed(method: DANN, batch: Batch) -> Tensor:
    """−log of the probability that each frame's own domain gets, with no reversal anywhere."""
    of_source = method.discriminator(embed(method, batch.source)).softmax(1)[:, 0]
    of_target = method.discriminator(embed(method, batch.target)).softmax(1)[:, 1]
    loss: Tensor = -(of_source.log().mean() + of_target.log().mean()) / 2
    return loss


@pytest.mark.parametrize("strength", [0.25, 1.0])
def test_the_encoders_gradient_is_reversed_and_scaled_and_the_discriminators_is_neither(
    dann: DANN, strength: float
) -> None:
    batch = make_batch("dann")
    domain = dann.terms(batch, strength)["domain"]
    assert domain.item() == pytest.approx(unreversed(dann, batch).item())
    reversed_, plain = gradients(domain, dann), gradients(unreversed(dann, batch), dann)
    for name, gradient in plain.items():
        if name.startswith(ENCODER):
            assert gradient.norm() > 0, name
            torch.testing.assert_close(reversed_[name], -strength * gradient, msg=name)
        elif name.startswith("discriminator"):
            assert gradient.norm() > 0, name
            torch.testing.assert_close(reversed_[name], gradient, msg=name)
        else:
            assert not reversed_[name].any(), name


@pytest.mark.parametrize(("part", "rises"), [("discriminator", False), *((part, True) for part in ENCODER)])
def test_the_discriminators_step_lowers_the_domain_loss_and_the_encoders_raises_it(
    dann: DANN, part: str, rises: bool
) -> None:
    batch = make_batch("dann")
    before = dann.terms(batch, 1.0)["domain"]
    move(dann, gradients(before, dann), part, 1e-3)
    assert (dann.terms(batch, 1.0)["domain"] > before) == rises


def test_without_strength_the_encoder_learns_from_labels_alone(dann: DANN) -> None:
    gradient = gradients(dann.terms(make_batch("dann"), 0.0)["domain"], dann)
    assert not any(gradient[name].any() for name in gradient if name.startswith("network"))
    assert any(gradient[name].any() for name in gradient if name.startswith("discriminator"))


@pytest.mark.usefixtures("unclipped")
def test_a_step_is_one_of_sgd_with_the_strength_of_its_progress(config: TrainingConfig, dann: DANN) -> None:
    batch, step = make_batch("dann"), 3
    progress = step / config.steps
    rate = config.learning_rate / (1 + 10 * progress) ** 0.75
    classifier = dann.network.classifier(embed(dann, batch.source))
    ce = gradients(torch.nn.functional.cross_entropy(classifier, batch.labels), dann)
    domain = gradients(unreversed(dann, batch), dann)
    before = {name: parameter.clone() for name, parameter in dann.named_parameters()}
    dann.step(batch, noise(), step)
    for name, parameter in dann.named_parameters():
        if "log_variance" in name:
            assert torch.equal(parameter, before[name])
            continue
        sign = -sigmoid_ramp(progress) if name.startswith("network") else 1
        gradient = ce[name] + sign * domain[name] + config.weight_decay * before[name]
        torch.testing.assert_close(parameter, before[name] - rate * gradient, msg=name)
