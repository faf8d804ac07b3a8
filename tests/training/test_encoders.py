"""What every encoder promises, and what the one for edge devices does beyond."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from metfa.export.precision import fold_batch_norms
from metfa.training.encoders import ENCODERS, build_encoder
from metfa.training.names import ENCODER_NAMES, EncoderName


def test_every_name_is_an_encoder() -> None:
    assert ENCODERS.keys() == set(ENCODER_NAMES)


@settings(max_examples=20)
@given(name=st.sampled_from(list(ENCODERS)), height=st.integers(28, 70), width=st.integers(28, 70))
def test_the_size_of_the_features_is_known_beforehand(name: EncoderName, height: int, width: int) -> None:
    encoder = build_encoder(name).eval()
    with torch.no_grad():
        features = encoder(torch.zeros(2, 1, height, width))
    assert features.shape == (2, ENCODERS[name].features(height, width))


@pytest.mark.parametrize("name", ["edge", "strided"])
def test_batch_norms_fold_away(name: EncoderName) -> None:
    encoder = build_encoder(name)
    frames = torch.randn(4, 1, 40, 56, generator=torch.Generator().manual_seed(0))
    encoder.train()(frames)  # statistics that are not the initial ones
    encoder.eval()
    folded = fold_batch_norms(encoder)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in folded.modules())
    with torch.no_grad():
        torch.testing.assert_close(folded(frames), encoder(frames), rtol=1e-4, atol=1e-4)


def test_the_edge_encoder_multiplies_less_than_a_third_as_often_as_the_residual_one() -> None:
    assert products("edge") == pytest.approx(75e6, rel=0.02)
    assert products("residual") == pytest.approx(258e6, rel=0.02)


def products(name: EncoderName) -> int:
    """Multiplications of the convolutions for one frame of 224 × 288."""
    encoder = build_encoder(name).eval()
    counted: list[int] = []

    def count(layer: nn.Module, _: object, output: torch.Tensor) -> None:
        assert isinstance(layer, nn.Conv2d)
        counted.append(layer.weight[0].numel() * output[0].numel())

    for layer in encoder.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(count)
    with torch.no_grad():
        encoder(torch.zeros(1, 1, 224, 288))
    return sum(counted)
