"""The encoder computes what the published network computes, on frames that are standardised and not multiplied."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from metfa.runtime.bundle.contract import Region
from metfa.runtime.imaging.images import read_image
from metfa.runtime.imaging.preprocess import preprocess
from metfa.training.encoders.sononet16 import SonoNet16Encoder
from metfa.training.initial_weights import identify, load_initial
from metfa.training.model import Network

from ..conftest import make_network, make_store
from .published import make_arrays, published_features, write_weights

REGION = Region(81, 115, 793, 619)  # of the published frames: the scanner's screen without its margins


def initialised(weights: Path) -> Network:
    network = make_network("sononet16")
    load_initial(network.encoder, identify(str(weights), "sononet16"))
    return network.eval()


@torch.inference_mode()
def features_of(network: Network, frames: Tensor) -> Tensor:
    """Return what the encoder makes of frames before it standardises them, float [N, 64]."""
    layers = nn.Sequential(*list(network.encoder)[: -SonoNet16Encoder.adapting], nn.Flatten())
    features: Tensor = layers(network.normalise(frames))
    return features


def test_the_layers_are_the_published_ones(tmp_path: Path) -> None:
    network = initialised(write_weights(tmp_path / "SonoNet16.npz"))
    frames = torch.from_numpy(make_store(3, 230).frames[:])
    expected = published_features(make_arrays(), frames)
    assert expected.std(dim=0).median() > 0.005
    torch.testing.assert_close(features_of(network, frames), expected.float(), rtol=1e-4, atol=1e-5)


def test_real_frames_have_the_published_features() -> None:
    data = os.environ.get("METFA_DATA")
    if data is None:
        pytest.skip("METFA_DATA does not name the folder with the published weights and frames")
    weights = Path(data) / "sononet" / "SonoNet16.npz"
    images = [read_image(path) for path in sorted((Path(data) / "sononet" / "frames").iterdir())]
    frames = torch.from_numpy(np.stack([preprocess(each, height=224, width=288, region=REGION) for each in images]))
    with np.load(weights) as archive:
        expected = published_features([archive[f"arr_{index}"] for index in range(75)], frames)
    assert len(expected) == 6
    assert expected.max() > 1
    torch.testing.assert_close(features_of(initialised(weights), frames), expected.float(), rtol=1e-4, atol=1e-4)
