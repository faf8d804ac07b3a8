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


def test_frames_are_drawn_evenly_over_pseudo_labels(network: Network) -> None:
    rare = np.broadcast_to(np.arange(0, 252, 9, dtype=np.uint8), (2, 1, 28, 28))  # smooth, where the others are noise
    frequent = np.random.default_rng(1).integers(0, 256, (126, 1, 28, 28), np.uint8)
    adopt_statistics(network, np.concatenate([rare, frequent]), pseudo_labels=np.repeat([4, 7], [2, 126]))
    first, unit = network.encoder[0], network.encoder[1]
    with torch.no_grad():
        evenly = first(network.normalise(torch.from_numpy(np.concatenate([np.repeat(rare, 63, axis=0), frequent]))))
    assert isinstance(unit.norm1, nn.BatchNorm2d)
    torch.testing.assert_close(unit.norm1.running_var, evenly.var(dim=(0, 2, 3)), atol=0, rtol=0.02)
