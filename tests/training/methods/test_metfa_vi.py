"""MetFA-V, and a mean teacher beside it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from metfa.training import losses
from metfa.training.ancestry import InitialWeights
from metfa.training.config import TrainingConfig, Weights
from metfa.training.equal_shares import logit_offsets
from metfa.training.methods import MetFA, MetFAVI
from metfa.training.temperature import fit_temperature

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


def test_before_the_target_comes_in_it_has_the_terms_of_the_source_alone(config: TrainingConfig) -> None:
    method, batch = make_metfa_vi(replace(config, steps=13, source_first=0.25)), make_batch("metfa-vi")
    assert (method.target_from, method.two_views_from, method.relabels_from) == (3, 4, 4)
    alone = batch._replace(target=batch.target[:0], target_strong=None, pseudo_labels=None)
    terms = method.terms(alone, noise(), reverse_prototype_gradient=True)
    features = method.network.encoder(batch.source)
    gaussian = method.network.embedding(features)
    z = gaussian.sample(noise())
    expected = {
        "ce": torch.nn.functional.cross_entropy(method.network.classifier(z), batch.labels),
        "prior": losses.prior(*gaussian),
        "reconstruction": losses.reconstruction(features, method.decoders[0](z)),
    }
    assert terms.keys() == expected.keys()
    for name, term in expected.items():
        torch.testing.assert_close(terms[name], term, msg=name)
    before = state(method)
    method.step(alone, noise(), 0)
    changed = {name for name, tensor in state(method).items() if not torch.equal(tensor, before[name])}
    assert {name for name in before if name.startswith("decoders.1.")}.isdisjoint(changed)
    assert {"network.classifier.prototypes.weight", "decoders.0.weight"} <= changed


@pytest.mark.parametrize(("step", "progress"), [(0, 0.0), (3, 0.0), (4, 0.0), (7, 0.5), (10, 1.0)])
def test_what_rests_on_pseudo_labels_grows_once_the_target_comes_in(
    config: TrainingConfig, step: int, progress: float
) -> None:
    method = make_metfa_vi(replace(config, source_first=0.4))
    weights = method.weights(step / 10)
    ramp = 2 / (1 + math.exp(-10 * progress)) - 1
    assert weights["consistency"] == pytest.approx(config.weights.consistency * ramp)
    assert weights["ce"] == config.weights.ce


def test_without_what_it_adds_it_is_metfa_v(config: TrainingConfig) -> None:
    """Bit by bit, with the same optimiser."""
    config = replace(config, weights=Weights(consistency=0, confusion=0), balance=False, source_first=0.0)
    states = []
    for name in ("metfa-v", "metfa-vi"):
        torch.manual_seed(3)
        method = make_method(config, "metfa-v" if name == "metfa-v" else "metfa-vi")
        method.optimisers = (method.sgd(p for p in method.parameters() if p.requires_grad),)
        for step in range(2):
            method.step(make_batch("metfa-v"), noise(), step)
        states.append({key: value for key, value in state(method).items() if not key.startswith("teacher")})
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def test_a_frozen_encoder_keeps_sgd_without_equal_shares_or_the_source_first(
    config: TrainingConfig,
) -> None:
    weights = InitialWeights("SonoNet16.npz", "0", "SonoNet", None)
    frozen = TrainingConfig(method="metfa-vi", freeze_encoder=True, initial_weights=weights)
    assert (frozen.learning_rate, frozen.weight_decay) == (1e-3, 1e-5)
    assert TrainingConfig(method="metfa-vi").weight_decay == 1e-2
    assert (frozen.equal_shares, TrainingConfig(method="metfa-vi").equal_shares) == (0, 0.5)
    assert (frozen.source_first, TrainingConfig(method="metfa-vi").source_first) == (0, 0.2)
    (optimiser,) = make_metfa_vi(replace(config, freeze_encoder=True, initial_weights=weights)).optimisers
    assert isinstance(optimiser, torch.optim.SGD)


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_the_teachers_labels_are_shifted_towards_equally_many_of_each_plane(
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
    labels = method.relabel(iter(torch.split(frames, 3)), len(frames))
    probabilities = torch.cat([method.label(part) for part in torch.split(frames, 3)])
    assert torch.equal(labels, probabilities.argmax(dim=1))
    expected = logit_offsets(logits, strength, background=(1,)) if strength else 0
    torch.testing.assert_close(probabilities, (logits + expected).softmax(dim=1))


@pytest.mark.parametrize("right", [False, True])
def test_the_teacher_is_as_confident_as_it_is_right_of_held_out_frames(config: TrainingConfig, right: bool) -> None:
    """It is never made surer than it was, and its labels stay."""
    method, frames = make_metfa_vi(config), make_batch("metfa-vi").source
    before = method.label(frames)
    labels = before.argmax(dim=1) if right else make_batch("metfa-vi").labels
    number = 100  # as they are, they are too few to tell that it is always right
    method.calibrate([*[frames] * number, frames[:2]], labels.repeat(number))  # the last two only fill up the devices
    temperature = fit_temperature(before.log().repeat(number, 1).numpy(), labels.repeat(number).numpy())
    assert (temperature < 1) == right
    torch.testing.assert_close(method.label(frames), (before.log() / max(1, temperature)).softmax(dim=1))
    assert torch.equal(method.label(frames).argmax(dim=1), before.argmax(dim=1))


def test_what_the_teacher_knows_of_its_labels_is_part_of_its_state(config: TrainingConfig) -> None:
    method, again = make_metfa_vi(config), make_metfa_vi(config)
    frames = make_batch("metfa-vi").target
    method.relabel([frames], len(frames))
    method.calibrate([frames], make_batch("metfa-vi").labels)
    assert method.teacher_temperature > 1
    assert not torch.equal(method.label(frames), again.label(frames))
    again.load_state_dict(method.state_dict())
    assert torch.equal(method.label(frames), again.label(frames))


def test_frames_that_only_fill_up_the_devices_do_not_count(config: TrainingConfig) -> None:
    method, alone = make_metfa_vi(config), make_metfa_vi(config)
    frames = make_batch("metfa-vi").target
    labels = method.relabel([frames, frames[:5]], len(frames))
    assert torch.equal(labels, alone.relabel([frames], len(frames)))
    assert torch.equal(method.teacher_offset, alone.teacher_offset)


@pytest.mark.parametrize(
    ("balance", "equal_shares", "consistency", "relabels"),
    [(True, 0.0, 5.0, True), (False, 0.5, 5.0, True), (False, 0.5, 0.0, False), (False, 0.0, 5.0, True)],
)
def test_all_frames_are_labelled_only_where_that_is_of_use(
    config: TrainingConfig, balance: bool, equal_shares: float, consistency: float, relabels: bool
) -> None:
    weights = replace(config.weights, consistency=consistency)
    method = make_metfa_vi(replace(config, balance=balance, equal_shares=equal_shares, weights=weights))
    assert (method.relabels_from is not None) == relabels
