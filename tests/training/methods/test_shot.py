"""The target's stage of SHOT, and the centroids that label its frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metfa.training import losses
from metfa.training.methods import SHOT
from metfa.training.methods.shot import nearest_centroids

from .examples import gradients, make_batch, make_method, noise

if TYPE_CHECKING:
    from metfa.training.config import TrainingConfig


@pytest.mark.usefixtures("unclipped")
def test_a_step_on_the_target_lowers_entropy_and_raises_diversity(config: TrainingConfig) -> None:
    """The prototypes stay, and the encoder takes a tenth of a step."""
    method, batch, step = make_method(config, "shot"), make_batch("shot"), 8
    assert isinstance(method, SHOT)
    assert batch.pseudo_labels is not None
    logits = method.network.classifier(method.network.embedding.mean(method.network.encoder(batch.target)))
    objective = losses.entropy(logits) - losses.diversity(logits)
    objective = objective + 0.3 * torch.nn.functional.cross_entropy(logits, batch.pseudo_labels)
    gradient = gradients(objective, method)
    before = {name: parameter.clone() for name, parameter in method.named_parameters()}
    method.step(batch, noise(), step)
    rate = config.learning_rate * 0.75  # at a third of the stage, along the cosine
    for name, parameter in method.named_parameters():
        if "log_variance" in name or "prototypes" in name:
            assert torch.equal(parameter, before[name]), name
        else:
            factor = 0.1 if name.startswith("network.encoder") else 1
            change = factor * gradient[name] + config.weight_decay * before[name]
            torch.testing.assert_close(parameter, before[name] - rate * change, msg=name)


def naive_centroids(features: torch.Tensor, weights: torch.Tensor, classes: list[int]) -> list[int]:
    """The class of the centroid with the greatest cosine for each frame, of those that are asked for."""
    labels = []
    for feature in features:
        cosines = []
        for k in classes:
            centroid = torch.stack([w[k] * f for w, f in zip(weights, features, strict=True)]).sum(dim=0)
            cosines.append(float(feature @ centroid / centroid.norm()))
        labels.append(classes[cosines.index(max(cosines))])
    return labels


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 12), classes=st.integers(2, 5))
def test_centroids_are_found_twice_the_second_time_from_labels(seed: int, count: int, classes: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    features = torch.nn.functional.normalize(torch.randn(count, 4, generator=generator, dtype=torch.float64))
    probabilities = torch.randn(count, classes, generator=generator, dtype=torch.float64).softmax(dim=1)
    present = sorted(set(probabilities.argmax(dim=1).tolist()))
    first = naive_centroids(features, probabilities, present)
    hard = torch.nn.functional.one_hot(torch.tensor(first), classes).double()
    second = naive_centroids(features, hard, sorted(set(first)))
    assert nearest_centroids(features, probabilities).tolist() == second


def test_frames_that_only_fill_up_the_devices_do_not_count(config: TrainingConfig) -> None:
    method, frames = make_method(config, "shot"), make_batch("shot").target
    hidden = torch.nn.functional.normalize(method.network.classifier.hidden(method.embed(frames)))
    probabilities = method.network.classifier(method.embed(frames)).softmax(dim=1)
    labels = method.relabel([frames, frames[:5]], len(frames))
    assert torch.equal(labels, nearest_centroids(hidden, probabilities))


def test_a_frame_among_others_takes_their_class() -> None:
    features = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, 0.05], [0.0, 1.0], [0.1, 1]]))
    unsure = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.45, 0.55], [0.1, 0.9], [0.1, 0.9]])
    assert nearest_centroids(features, unsure).tolist() == [0, 0, 0, 1, 1]
