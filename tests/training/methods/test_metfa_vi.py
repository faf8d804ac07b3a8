"""MetFA-V, and a mean teacher beside it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from metfa.training import losses
from metfa.training.config import InitialWeights, TrainingConfig, Weights
from metfa.training.methods import MetFA, MetFAVI

from .examples import make_batch, make_method, noise, state


def make_metfa_vi(config: TrainingConfig) -> MetFAVI:
    method = make_method(config, "metfa-vi")
    assert isinstance(method, MetFAVI)
    return method


def test_the_teacher_is_a_moving_average_of_the_network(config: TrainingConfig) -> None:
    method = make_metfa_vi(config)
    expected = {name: parameter.clone() for name, parameter in method.network.named_parameters()}
    for step in range(3):
        method.step(make_batch("metfa-vi"), noise(), step)
        decay = min(0.99, (step + 1) / (step + 10))
        for name, parameter in method.network.named_parameters():
            expected[name] = decay * expected[name] + (1 - decay) * parameter
    for name, parameter in method.teacher.named_parameters():
        torch.testing.assert_close(parameter, expected[name], msg=name)


def test_the_teacher_labels_the_weak_view_and_the_network_learns_from_the_strong_one(config: TrainingConfig) -> None:
    method, batch = make_metfa_vi(replace(config, confidence=0.4)), make_batch("metfa-vi")
    with torch.no_grad():
        for parameter in method.teacher.parameters():
            parameter.mul_(1.1)  # so that it is not the network
    generator = noise()
    MetFA.terms(method, batch, generator, reverse_prototype_gradient=True)
    assert batch.target_strong is not None
    student = method.network.classifier(
        method.network.embedding(method.network.encoder(batch.target_strong)).sample(generator)
    )
    teacher = method.teacher.classifier(method.teacher.embedding.mean(method.teacher.encoder(batch.target)))
    expected = losses.consistency(student, teacher.softmax(dim=1), 0.4)
    terms = method.terms(batch, noise(), reverse_prototype_gradient=True)
    assert terms["consistency"].item() == pytest.approx(expected.item())
    assert expected.item() > 0
    assert not any(parameter.requires_grad for parameter in method.teacher.parameters())


@pytest.mark.parametrize(("step", "heeded"), [(0, False), (1, False), (2, True), (11, True)])
def test_the_teacher_is_not_heeded_before_a_tenth_of_the_run(config: TrainingConfig, step: int, heeded: bool) -> None:
    method = make_metfa_vi(config)
    assert (method.weights(step / config.steps)["consistency"] > 0) == heeded


def test_without_what_it_adds_it_is_metfa_v(config: TrainingConfig) -> None:
    """Bit by bit, with the same optimiser."""
    config = replace(config, weights=Weights(consistency=0, confusion=0), balance=False)
    states = []
    for name in ("metfa-v", "metfa-vi"):
        torch.manual_seed(3)
        method = make_method(config, "metfa-v" if name == "metfa-v" else "metfa-vi")
        method.optimisers = (method.sgd(p for p in method.parameters() if p.requires_grad),)
        for step in range(2):
            method.step(make_batch("metfa-vi"), noise(), step)
        states.append({key: value for key, value in state(method).items() if not key.startswith("teacher")})
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def test_where_the_encoder_is_frozen_it_keeps_sgd(config: TrainingConfig) -> None:
    weights = InitialWeights("SonoNet16.npz", "0", "SonoNet", None)
    frozen = TrainingConfig(method="metfa-vi", freeze_encoder=True, initial_weights=weights)
    assert (frozen.learning_rate, frozen.weight_decay) == (1e-3, 1e-5)
    assert TrainingConfig(method="metfa-vi").weight_decay == 1e-2
    (optimiser,) = make_metfa_vi(replace(config, freeze_encoder=True, initial_weights=weights)).optimisers
    assert isinstance(optimiser, torch.optim.SGD)


def test_frames_are_labelled_by_the_teacher_batch_by_batch(config: TrainingConfig) -> None:
    method = make_metfa_vi(config)
    frames = make_batch("metfa-vi").target
    labels = method.relabel(iter(torch.split(frames, 3)))
    with torch.no_grad():
        expected = [
            method.teacher.classifier(method.teacher.embedding.mean(method.teacher.encoder(part))).argmax(dim=1)
            for part in torch.split(frames, 3)
        ]
    assert torch.equal(labels, torch.cat(expected))
    assert make_metfa_vi(replace(config, balance=False)).relabels_from is None
