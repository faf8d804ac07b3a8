"""The rows of the ablation and the two players of Eq. 8."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import pytest
import torch
from torch import Tensor

from metfa.training import losses
from metfa.training.config import TrainingConfig, Weights
from metfa.training.methods import TERMS, Batch, MetFA

from .examples import gradients, make_batch, make_method, move, noise

if TYPE_CHECKING:
    from metfa.training.names import MethodName

PROTOTYPES = "network.classifier.prototypes.weight"
EVERY_TERM = Weights(confusion=2)


def make_metfa(config: TrainingConfig, name: MethodName = "metfa-v") -> MetFA:
    method = make_method(config, name)
    assert isinstance(method, MetFA)
    return method


def objective(terms: dict[str, Tensor], weights: dict[str, float], sign: float) -> Tensor:
    """L + sign · λ₆ L_H."""
    return torch.stack([weights[name] * (sign if name == "entropy" else 1) * terms[name] for name in terms]).sum()


@pytest.mark.parametrize("name", TERMS)
def test_every_row_computes_and_weighs_the_same_terms(config: TrainingConfig, name: MethodName) -> None:
    method = make_metfa(replace(config, weights=EVERY_TERM), name)
    terms = method.step(make_batch(name), noise(), 6)
    assert terms.keys() == method.weights(0.5).keys() == set(TERMS[name])


def test_a_term_without_weight_is_not_computed(config: TrainingConfig) -> None:
    config = replace(config, weights=Weights(metric=0, entropy=0))
    terms = make_metfa(config).step(make_batch(), noise(), 6)
    assert terms.keys() == {"ce", "prior", "reconstruction", "alignment"}


def test_the_rows_are_the_papers() -> None:
    first, second, third, fourth, fifth, _ = (set(TERMS[name]) for name in TERMS)
    assert first == {"ce", "prior", "entropy"}
    assert second - first == {"metric"}
    assert third - second == {"alignment"}
    assert fourth - second == {"reconstruction"}
    assert fifth == third | fourth


def test_the_terms_are_those_of_the_equations_for_each_domain(config: TrainingConfig) -> None:
    method, batch = make_metfa(config), make_batch()
    network, classes = method.network, method.network.config.classes
    features = [network.encoder(frames) for frames in (batch.source, batch.target)]
    gaussian = network.embedding(torch.cat(features))
    z = gaussian.sample(noise()).tensor_split([len(batch.labels)])
    logits = [network.classifier(part) for part in z]
    pseudo_labels = logits[1].argmax(dim=1)
    reconstruct = list(method.decoders)
    expected = {
        "ce": torch.nn.functional.cross_entropy(logits[0], batch.labels),
        "prior": 2 * losses.prior(gaussian.mean, gaussian.log_variance),  # of halves of the same size
        "entropy": losses.entropy(logits[1]),
        "metric": losses.metric(z[1], pseudo_labels, z[0], batch.labels, classes=classes),
        "reconstruction": torch.stack(
            [losses.reconstruction(f, layer(part)) for f, layer, part in zip(features, reconstruct, z, strict=True)]
        ).sum(),
        "alignment": losses.alignment(
            logits[0], batch.labels, logits[1], pseudo_labels, classes=classes, temperature=2.0
        ),
    }
    for reverse in (False, True):
        terms = method.terms(batch, noise(), reverse_prototype_gradient=reverse)
        assert {name: term.item() for name, term in terms.items()} == pytest.approx(
            {name: term.item() for name, term in expected.items()}
        )


def test_only_the_prototypes_gradient_of_the_entropy_is_reversed(config: TrainingConfig) -> None:
    method, batch = make_metfa(config), make_batch()
    plain = method.terms(batch, noise(), reverse_prototype_gradient=False)
    contested = method.terms(batch, noise(), reverse_prototype_gradient=True)
    for term in plain:
        expected, actual = gradients(plain[term], method), gradients(contested[term], method)
        for name in expected:
            sign = -1 if term == "entropy" and name == PROTOTYPES else 1
            torch.testing.assert_close(actual[name], sign * expected[name], msg=f"{term} {name}")
        if term == "entropy":
            assert expected[PROTOTYPES].any()


@pytest.mark.parametrize("name", TERMS)
def test_one_pass_gives_the_gradients_of_the_alternating_game(config: TrainingConfig, name: MethodName) -> None:
    """For the same weights and noise: W's are those of L − λ₆ L_H, everything else's those of L + λ₆ L_H."""
    method, batch = make_metfa(replace(config, weights=EVERY_TERM), name), make_batch(name)
    weights = method.weights(0.5)
    one_pass = gradients(objective(method.terms(batch, noise(), reverse_prototype_gradient=True), weights, 1), method)
    passes = {
        sign: gradients(
            objective(method.terms(batch, noise(), reverse_prototype_gradient=False), weights, sign), method
        )
        for sign in (1, -1)
    }
    for parameter in one_pass:
        expected = passes[-1 if parameter == PROTOTYPES else 1][parameter]
        torch.testing.assert_close(one_pass[parameter], expected, rtol=1e-9, atol=1e-9, msg=parameter)


def hand_made_step(method: MetFA, batch: Batch, step: int, players: list[tuple[float, set[str]]]) -> None:
    """One step of plain SGD of one player after the other, each against what the one before left behind."""
    config, generator = method.config, noise()
    rate = config.learning_rate * (1 + math.cos(math.pi * step / config.steps)) / 2
    for sign, names in players:
        terms = method.terms(batch, generator, reverse_prototype_gradient=False)
        gradient = gradients(objective(terms, method.weights(step / config.steps), sign), method)
        with torch.no_grad():
            for name in names:
                parameter = method.get_parameter(name)
                parameter.sub_(rate * (gradient[name] + config.weight_decay * parameter))


@pytest.mark.usefixtures("unclipped")
def test_alternating_players_take_one_step_each_on_their_own_objective(config: TrainingConfig) -> None:
    method, batch = make_metfa(replace(config, game="alternating", weight_decay=0.01)), make_batch()
    expected = copy.deepcopy(method)
    others = {name for name, _ in method.named_parameters()} - {PROTOTYPES}
    hand_made_step(expected, batch, 6, [(-1, {PROTOTYPES}), (1, others)])
    method.step(batch, noise(), 6)
    for name, parameter in method.named_parameters():
        torch.testing.assert_close(parameter, expected.get_parameter(name), msg=name)


@pytest.mark.usefixtures("unclipped")
def test_one_pass_moves_both_players_by_the_steps_of_the_game(config: TrainingConfig) -> None:
    method, batch = make_metfa(replace(config, weight_decay=0.01)), make_batch()
    others = {name for name, _ in method.named_parameters()} - {PROTOTYPES}
    expected = {}
    for sign, names in ((-1.0, {PROTOTYPES}), (1.0, others)):
        player = copy.deepcopy(method)
        hand_made_step(player, batch, 6, [(sign, names)])
        expected.update({name: player.get_parameter(name) for name in names})
    method.step(batch, noise(), 6)
    for name, parameter in method.named_parameters():
        torch.testing.assert_close(parameter, expected[name], msg=name)


@pytest.mark.parametrize(
    ("part", "rises"),
    [
        (PROTOTYPES, True),
        ("network.classifier.hidden", False),
        ("network.embedding", False),
        ("network.encoder", False),
    ],
)
def test_the_prototypes_raise_the_entropy_and_the_rest_lowers_it(
    config: TrainingConfig, part: str, rises: bool
) -> None:
    method, batch = make_metfa(config), make_batch()

    def entropy() -> Tensor:
        return method.terms(batch, noise(), reverse_prototype_gradient=True)["entropy"]

    before = entropy()
    move(method, gradients(before, method), part, 1e-3)
    assert (entropy() > before) == rises


def test_the_ramp_grows_only_what_rests_on_pseudo_labels(config: TrainingConfig) -> None:
    lambdas = Weights(ce=1, prior=2, metric=3, reconstruction=4, alignment=5, entropy=6)
    method = make_metfa(replace(config, weights=lambdas))
    assert method.weights(0.0) == {
        "ce": 1, "prior": 2, "metric": 0, "reconstruction": 4, "alignment": 0, "entropy": 0
    }  # fmt: skip
    ramp = 2 / (1 + math.exp(-3)) - 1
    assert method.weights(0.3) == pytest.approx(
        {"ce": 1, "prior": 2, "metric": 3 * ramp, "reconstruction": 4, "alignment": 5 * ramp, "entropy": 6 * ramp}
    )
    constant = make_metfa(replace(config, weights=lambdas, ramp=False))
    assert constant.weights(0.0) == constant.weights(1.0) == pytest.approx(method.weights(1.0), rel=1e-3)


def test_pseudo_labels_pass_no_gradient(config: TrainingConfig) -> None:
    """The metric term sees the classifier through the pseudo-labels alone, so that none of its gradient gets there."""
    method = make_metfa(config)
    gradient = gradients(method.terms(make_batch(), noise(), reverse_prototype_gradient=True)["metric"], method)
    assert not any(gradient[name].any() for name in gradient if name.startswith("network.classifier"))
    assert gradient["network.embedding.mean.weight"].any()


@pytest.mark.parametrize("game", ["one-pass", "alternating"])
def test_without_the_minimax_entropy_the_players_agree(
    config: TrainingConfig, game: Literal["one-pass", "alternating"]
) -> None:
    method = make_metfa(replace(config, game=game, weights=replace(config.weights, entropy=0)))
    assert "entropy" not in method.step(make_batch(), noise(), 6)
