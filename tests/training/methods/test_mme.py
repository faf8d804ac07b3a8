"""Minimax entropy: prototypes raise the target's entropy, everything else lowers it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from metfa.training import losses
from metfa.training.methods import MME, Batch

from .examples import gradients, make_batch, make_method, move, noise

if TYPE_CHECKING:
    from metfa.training.config import TrainingConfig

PROTOTYPES = "network.classifier.prototypes"


@pytest.fixture
def mme(config: TrainingConfig) -> MME:
    method = make_method(config, "mme")
    assert isinstance(method, MME)
    return method


def logits(method: MME, frames: Tensor) -> Tensor:
    predicted: Tensor = method.network.classifier(method.network.embedding.mean(method.network.encoder(frames)))
    return predicted


def plain_terms(method: MME, batch: Batch) -> dict[str, Tensor]:
    """With no reversal anywhere."""
    return {
        "ce": torch.nn.functional.cross_entropy(logits(method, batch.source), batch.labels),
        "entropy": losses.entropy(logits(method, batch.target)),
    }


def test_the_entropys_gradient_is_reversed_at_the_prototypes_and_nowhere_else(mme: MME) -> None:
    batch = make_batch("mme")
    terms, plain = mme.terms(batch), plain_terms(mme, batch)
    for term in terms:
        assert terms[term].item() == pytest.approx(plain[term].item())
        actual, expected = gradients(terms[term], mme), gradients(plain[term], mme)
        for name in expected:
            sign = -1 if term == "entropy" and name.startswith(PROTOTYPES) else 1
            torch.testing.assert_close(actual[name], sign * expected[name], msg=f"{term} {name}")


@pytest.mark.parametrize(
    ("part", "rises"),
    [
        (PROTOTYPES, True),
        ("network.classifier.hidden", False),
        ("network.embedding.mean", False),
        ("network.encoder", False),
    ],
)
def test_the_prototypes_raise_the_entropy_and_the_rest_lowers_it(mme: MME, part: str, rises: bool) -> None:
    batch = make_batch("mme")
    before = mme.terms(batch)["entropy"]
    move(mme, gradients(before, mme), part, 1e-3)
    assert (mme.terms(batch)["entropy"] > before) == rises


@pytest.mark.usefixtures("unclipped")
def test_a_step_is_one_of_nesterovs_with_a_tenth_of_the_entropy(config: TrainingConfig, mme: MME) -> None:
    batch, step = make_batch("mme"), 3
    plain = plain_terms(mme, batch)
    ce, entropy = gradients(plain["ce"], mme), gradients(plain["entropy"], mme)
    before = {name: parameter.clone() for name, parameter in mme.named_parameters()}
    mme.step(batch, noise(), step)
    rate = config.learning_rate * (1 + 1e-4 * step) ** -0.75 * (1 + config.momentum)  # Nesterov's first step
    for name, parameter in mme.named_parameters():
        if "log_variance" in name:
            assert torch.equal(parameter, before[name])
            continue
        sign = -0.1 if name.startswith(PROTOTYPES) else 0.1
        gradient = ce[name] + sign * entropy[name] + config.weight_decay * before[name]
        torch.testing.assert_close(parameter, before[name] - rate * gradient, msg=name)
