"""Statistics of a domain: those of its frames, whatever the batches."""

import numpy as np
import torch
from torch import nn

from metfa.training.batch_norm import BATCH, adopt_statistics
from metfa.training.model import Network


def test_the_first_batch_norm_gets_the_moments_of_its_inputs(network: Network) -> None:
    frames = np.random.default_rng(1).integers(0, 256, (2 * BATCH, 1, 28, 28), np.uint8)
    adopt_statistics(network, frames)
    stem, unit = network.encoder[0], network.encoder[1]
    with torch.no_grad():
        values = stem(network.normalise(torch.from_numpy(frames)))
    norm = unit.norm1
    assert isinstance(norm, nn.BatchNorm2d)
    torch.testing.assert_close(norm.running_mean, values.mean(dim=(0, 2, 3)), atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(norm.running_var, values.var(dim=(0, 2, 3)), atol=1e-4, rtol=1e-2)


def test_weights_stay_and_the_result_depends_on_the_frames_alone(network: Network) -> None:
    frames = np.random.default_rng(1).integers(0, 256, (30, 1, 28, 28), np.uint8)
    weights = {name: parameter.clone() for name, parameter in network.named_parameters()}
    adopt_statistics(network, frames)
    first = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    adopt_statistics(network, frames // 2)
    adopt_statistics(network, frames)
    assert not network.training
    assert all(torch.equal(tensor, first[name]) for name, tensor in network.state_dict().items())
    assert all(torch.equal(parameter, weights[name]) for name, parameter in network.named_parameters())
