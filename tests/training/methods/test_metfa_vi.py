"""MetFA-V, and a mean teacher beside it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from metfa.training import losses
from metfa.training.config import InitialWeights, TrainingConfig, Weights
from metfa.training.equal_shares import drawn_to_equal, offsets
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


def test_where_the_encoder_is_frozen_it_keeps_sgd_and_has_no_equal_shares(config: TrainingConfig) -> None:
    weights = InitialWeights("SonoNet16.npz", "0", "SonoNet", None)
    frozen = TrainingConfig(method="metfa-vi", freeze_encoder=True, initial_weights=weights)
    assert (frozen.learning_rate, frozen.weight_decay) == (1e-3, 1e-5)
    assert TrainingConfig(method="metfa-vi").weight_decay == 1e-2
    assert (frozen.equal_shares, TrainingConfig(method="metfa-vi").equal_shares) == (0, 0.5)
    (optimiser,) = make_metfa_vi(replace(config, freeze_encoder=True, initial_weights=weights)).optimisers
    assert isinstance(optimiser, torch.optim.SGD)


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_the_teachers_labels_are_drawn_towards_equally_many_of_each_plane(
    config: TrainingConfig, strength: float
) -> None:
    method, frames = make_metfa_vi(replace(config, equal_shares=strength)), make_batch("metfa-vi").target
    method.background = (1,)
    with torch.no_grad():
        logits = torch.cat(
            [
                method.teacher.classifier(method.teacher.embedding.mean(method.teacher.encoder(part)))
                for part in torch.split(frames, 3)
            ]
        )
    said = logits.argmax(dim=1).bincount(minlength=logits.shape[1]).to(logits.dtype) / len(frames)
    labels = method.relabel(iter(torch.split(frames, 3)))
    probabilities = torch.cat([method.label(part) for part in torch.split(frames, 3)])
    assert torch.equal(labels, probabilities.argmax(dim=1))
    expected = offsets(logits, drawn_to_equal(said, strength, background=(1,))) if strength else 0
    torch.testing.assert_close(probabilities, (logits + expected).softmax(dim=1))


def test_how_often_the_teacher_says_each_class_is_part_of_its_state(config: TrainingConfig) -> None:
    method, again = make_metfa_vi(config), make_metfa_vi(config)
    frames = make_batch("metfa-vi").target
    method.relabel([frames])
    assert not torch.equal(method.label(frames), again.label(frames))
    again.load_state_dict(method.state_dict())
    assert torch.equal(method.label(frames), again.label(frames))


@pytest.mark.parametrize(
    ("balance", "equal_shares", "consistency", "relabels"),
    [(True, 0.0, 5.0, True), (False, 0.5, 5.0, True), (False, 0.5, 0.0, False), (False, 0.0, 5.0, False)],
)
def test_all_frames_are_labelled_only_where_that_is_of_use(
    config: TrainingConfig, balance: bool, equal_shares: float, consistency: float, relabels: bool
) -> None:
    weights = replace(config.weights, consistency=consistency)
    method = make_metfa_vi(replace(config, balance=balance, equal_shares=equal_shares, weights=weights))
    assert (method.relabels_from is not None) == relabels
