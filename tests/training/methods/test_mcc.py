"""Minimum class confusion beside the cross-entropy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from metfa.training import losses
from metfa.training.methods import MCC

from .examples import gradients, make_batch, make_method, noise

if TYPE_CHECKING:
    from metfa.training.config import TrainingConfig


@pytest.mark.usefixtures("unclipped")
def test_a_step_is_one_of_nesterovs_down_both_terms(config: TrainingConfig) -> None:
    method, batch, step = make_method(config, "mcc"), make_batch("mcc"), 3
    assert isinstance(method, MCC)
    logits = [
        method.network.classifier(method.network.embedding.mean(method.network.encoder(frames)))
        for frames in (batch.source, batch.target)
    ]
    expected = torch.nn.functional.cross_entropy(logits[0], batch.labels) + losses.confusion(logits[1], 2.5)
    gradient = gradients(expected, method)
    before = {name: parameter.clone() for name, parameter in method.named_parameters()}
    terms = method.step(batch, noise(), step)
    assert (terms["ce"] + terms["confusion"]).item() == pytest.approx(expected.item())
    rate = config.learning_rate * (1 + 10 * step / config.steps) ** -0.75 * (1 + config.momentum)
    for name, parameter in method.named_parameters():
        if "log_variance" in name:
            assert torch.equal(parameter, before[name])
        else:
            change = gradient[name] + config.weight_decay * before[name]
            torch.testing.assert_close(parameter, before[name] - rate * change, msg=name)
