"""Training and its convolutions under each instruction set that this CPU has, each in a process that may crash."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from .instruction_sets import instruction_sets, run_under

if TYPE_CHECKING:
    from tests.processes import Interpreter

CONVOLUTIONS = """
import sys
import torch
import torch.nn.functional as F
from torch import nn
from metfa.training.encoders import ENCODERS

for name, encoder in ENCODERS.items():
    seen = set()
    handles = []

    def look(layer, inputs, output):
        seen.add((layer, tuple(inputs[0].shape)))

    built = encoder()
    for layer in built.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(look)
    with torch.no_grad():
        built(torch.zeros(4 if name == "sononet16" else 12, 1, 56, 72))  # the published layers are many
    for layer, shape in sorted(seen, key=str):
        layer._forward_hooks.clear()
        for format in (torch.contiguous_format, torch.channels_last):
            print(name, layer, shape, format, flush=True)
            layer.to(memory_format=format)
            x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(memory_format=format)
            for _ in range(3):  # a heap that is damaged shows when it is used again
                x = x.detach().requires_grad_()
                layer.weight.grad = None
                layer(x).square().sum().backward()
            with torch.no_grad():  # as it is exported
                output = layer(x)
            wide, weight = x.detach().double().requires_grad_(), layer.weight.detach().double().requires_grad_()
            expected = F.conv2d(wide, weight, None, layer.stride, layer.padding)
            expected.square().sum().backward()
            for got, exact in ((output, expected), (x.grad, wide.grad), (layer.weight.grad, weight.grad)):
                tolerance = 1e-3 * exact.abs().max().item()
                torch.testing.assert_close(got.double(), exact.detach(), rtol=1e-3, atol=tolerance)
"""

STEPS = """
import json
from dataclasses import replace
import torch
from metfa.training.names import DEFAULTS
from metfa.training.encoders import ENCODERS
from metfa.training.methods import METHODS, Batch, build_method
from metfa.training.model import Network, NetworkConfig
from metfa.runtime.bundle.contract import Normalisation
from tests.training.conftest import make_config

terms = {}
for name, kind in METHODS.items():
    for encoder in ENCODERS if name in ("source-only", "metfa-v") else ("residual",):
        print(name, encoder, flush=True)
        torch.manual_seed(0)
        normalisation = Normalisation(kind="per-image", scale=1.0, mean=None)
        network = Network(NetworkConfig(28, 36, 3, encoder, 16, 0.05, normalisation))
        config = replace(make_config(), method=name, encoder=encoder, height=28, width=36, steps=2)
        config = replace(config, learning_rate=DEFAULTS[name].learning_rate)
        method = build_method(config, network)
        labels = torch.arange(15) % 3
        for step in range(2):
            generator = torch.Generator().manual_seed(step)
            source, target = torch.randn(2, 15, 1, 28, 36, generator=generator) + labels[:, None, None, None]
            supervised = labels if "target" in kind.supervision else None
            batch = Batch(source, labels, target, supervised, target.roll(3, 2), labels.roll(1))
            values = method.step(batch, generator, step)
            terms[f"{name} {encoder} {step}"] = {key: float(value) for key, value in values.items()}
print(json.dumps(terms))
"""


@pytest.mark.parametrize("instruction_set", instruction_sets())
def test_every_convolution_of_every_encoder_is_right_forwards_and_backwards(
    interpreter: Interpreter, instruction_set: str
) -> None:
    run_under(instruction_set, interpreter, CONVOLUTIONS)


def test_a_step_of_every_method_is_the_same_under_each(interpreter: Interpreter) -> None:
    printed = {name: run_under(name, interpreter, STEPS) for name in instruction_sets()}
    steps = {name: json.loads(lines.splitlines()[-1]) for name, lines in printed.items()}
    expected = steps.pop("DEFAULT")
    assert expected
    for instruction_set, terms in steps.items():
        for step, values in terms.items():
            assert values == pytest.approx(expected[step], rel=0.05, abs=0.02), (instruction_set, step)
