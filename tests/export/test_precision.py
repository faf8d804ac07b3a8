from __future__ import annotations

import copy

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from metfa.export.graph import deploy, half_arithmetic
from metfa.export.precision import fold_batch_norms
from metfa.runtime.bundle.contract import Normalisation
from metfa.training.model import Normalise

from .networks import make_frames, make_network


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), variance=st.floats(1e-4, 1e3))
@torch.inference_mode()
def test_folding_changes_no_result(seed: int, variance: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    layers = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.BatchNorm2d(3)).eval()
    for norm in (layers[1], layers[3]):
        norm.get_buffer("running_mean").normal_(generator=generator)
        norm.get_buffer("running_var").fill_(variance)
    x = torch.randn(2, 2, 6, 6, generator=generator)
    folded = fold_batch_norms(layers)
    torch.testing.assert_close(folded(x), layers(x), rtol=1e-4, atol=1e-4)
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in folded.modules()) == 1


@torch.inference_mode()
def test_half_arithmetic_is_what_the_half_module_computes() -> None:
    deployed, frames = deploy(make_network(), "fp16"), make_frames(6)
    for expected, received in zip(deployed(frames), half_arithmetic(deployed)(frames), strict=True):
        torch.testing.assert_close(received, expected, rtol=0, atol=5e-3)


@torch.inference_mode()
def test_half_arithmetic_shows_an_overflow() -> None:
    network = make_network("fixed")
    network.normalise = Normalise(Normalisation("fixed", 3e3, 100.0))
    deployed, frames = deploy(network, "fp16"), make_frames(6)
    assert torch.cat(deploy(network, "fp32")(frames), 1).isfinite().all()
    assert not torch.cat(half_arithmetic(deployed)(frames), 1).isfinite().all()


def test_half_arithmetic_leaves_the_module_as_it_was() -> None:
    deployed = deploy(make_network(), "fp16")
    before = copy.deepcopy(deployed.state_dict())
    half_arithmetic(deployed)
    assert {name: tensor.dtype for name, tensor in deployed.state_dict().items()} == {
        name: tensor.dtype for name, tensor in before.items()
    }
