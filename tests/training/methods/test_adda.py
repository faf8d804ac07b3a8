"""Two stages and two encoders: the second is to pass for the first."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from metfa.training.methods import ADDA
from metfa.training.methods.discriminator import SOURCE, TARGET

from .examples import gradients, make_batch, make_method, move, noise, state

if TYPE_CHECKING:
    from metfa.training.config import TrainingConfig

SECOND_STAGE = 6
PLAYER = ("network.encoder", "network.embedding.mean")


def make_adda(config: TrainingConfig, learning_rate: float = 1e-3) -> ADDA:
    method = make_method(config, "adda", learning_rate=learning_rate)
    assert isinstance(method, ADDA)
    return method


@pytest.fixture
def adda(config: TrainingConfig) -> ADDA:
    """In its second stage, with a target encoder that has begun to differ."""
    method = make_adda(config)
    for step in (0, 1, SECOND_STAGE):
        method.step(make_batch("adda"), noise(), step)
    return method


def embed_target(method: ADDA) -> Tensor:
    mean: Tensor = method.network.embedding.mean(method.network.encoder(make_batch("adda").target))
    return mean


def test_the_target_network_starts_as_the_sources(config: TrainingConfig) -> None:
    adda = make_adda(config, learning_rate=1e-30)
    with torch.no_grad():
        for parameter in adda.source_network.parameters():
            parameter.add_(torch.randn(parameter.shape, dtype=torch.float64, generator=noise()))
    assert adda.network_for("target") is adda.network_for("source") is adda.source_network
    adda.step(make_batch("adda"), noise(), SECOND_STAGE)
    assert adda.network_for("target") is adda.network
    assert adda.network_for("source") is adda.source_network
    source = dict(adda.source_network.named_parameters())
    assert all(torch.equal(parameter, source[name]) for name, parameter in adda.network.named_parameters())


def test_it_starts_so_once(adda: ADDA) -> None:
    before = state(adda.network)
    adda.step(make_batch("adda"), noise(), SECOND_STAGE + 1)
    source, encoder = adda.source_network.state_dict(), adda.network.state_dict()
    for part in ("encoder.0.weight", "embedding.mean.weight"):
        assert not torch.equal(before[part], source[part])
        assert not torch.equal(encoder[part], before[part])
        assert (encoder[part] - before[part]).abs().max() < (encoder[part] - source[part]).abs().max()


def test_in_the_second_stage_the_source_network_and_the_classifier_stay_bit_identical(adda: ADDA) -> None:
    frozen = {
        name: parameter.clone()
        for name, parameter in adda.named_parameters()
        if not name.startswith((*PLAYER, "discriminator"))
    }
    assert {name.partition(".")[0] for name in frozen} == {"source_network", "network"}
    for step in range(SECOND_STAGE + 1, 12):
        adda.step(make_batch("adda"), noise(), step)
    assert all(torch.equal(adda.get_parameter(name), parameter) for name, parameter in frozen.items())
    source = adda.source_network.classifier.named_parameters()
    assert all(torch.equal(adda.network.classifier.get_parameter(name), parameter) for name, parameter in source)


def test_the_discriminators_loss_reaches_no_encoder(adda: ADDA) -> None:
    gradient = gradients(adda.terms(make_batch("adda"))["domain"], adda)
    for name in gradient:
        assert gradient[name].any() == name.startswith("discriminator"), name


def test_the_discriminators_loss_is_the_cross_entropy_of_the_true_domains(adda: ADDA) -> None:
    batch = make_batch("adda")
    with torch.no_grad():
        embedded = adda.source_network.embedding.mean(adda.source_network.encoder(batch.source))
        of_source = adda.discriminator(embedded).softmax(1)[:, SOURCE]
        of_target = adda.discriminator(embed_target(adda)).softmax(1)[:, TARGET]
    expected = -(of_source.log().mean() + of_target.log().mean()) / 2
    assert adda.terms(batch)["domain"].item() == pytest.approx(expected.item())


def test_the_encoders_loss_reaches_no_parameter_of_the_discriminator(adda: ADDA) -> None:
    """After a step, each player holds the gradient of its own loss alone."""
    batch = make_batch("adda")
    adda.zero_grad()
    discriminators = gradients(adda.terms(batch)["domain"], adda)
    before = copy.deepcopy(adda)
    adda.step(batch, noise(), 8)
    before.discriminator.load_state_dict(adda.discriminator.state_dict())  # which moves first
    inverted = gradients(before.discriminator.loss(embed_target(before), SOURCE), before)
    for name, parameter in adda.named_parameters():
        if name.startswith((*PLAYER, "discriminator")):
            expected = discriminators if name.startswith("discriminator") else inverted
            assert parameter.grad is not None
            assert parameter.grad.any(), name
            torch.testing.assert_close(parameter.grad, expected[name], msg=name)
        else:
            assert parameter.grad is None, name


def test_the_labels_are_inverted(config: TrainingConfig) -> None:
    adda = make_adda(config, learning_rate=1e-30)
    terms = adda.step(make_batch("adda"), noise(), SECOND_STAGE)
    said_to_be_source = adda.discriminator(embed_target(adda)).softmax(1)[:, SOURCE]
    assert terms["inverted"].item() == pytest.approx(-said_to_be_source.log().mean().item())


@pytest.mark.parametrize(("part", "rises"), [("discriminator", False), *((part, True) for part in PLAYER)])
def test_the_players_move_the_discriminators_loss_on_the_target_in_opposite_directions(
    adda: ADDA, part: str, rises: bool
) -> None:
    def loss() -> Tensor:
        return adda.discriminator.loss(embed_target(adda), TARGET)

    before = loss()
    own = loss() if part == "discriminator" else adda.discriminator.loss(embed_target(adda), SOURCE)
    move(adda, gradients(own, adda), part, 1e-3)
    assert (loss() > before) == rises
