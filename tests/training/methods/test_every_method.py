"""What all methods promise: a finite step, which parts it moves, what it looks at, how fast it learns."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch

from metfa.training.methods import METHODS, TERMS
from metfa.training.methods.base import sigmoid_ramp
from metfa.training.names import DEFAULTS, MethodName

from .examples import make_batch, make_method, noise, state

if TYPE_CHECKING:
    from collections.abc import Callable

    from metfa.training.config import TrainingConfig

DETERMINISTIC = {"network.encoder", "network.embedding.mean", "network.classifier"}
GAUSSIAN = DETERMINISTIC | {"network.embedding.log_variance"}
RECONSTRUCTING = GAUSSIAN | {"decoders"}

MOVED: dict[tuple[MethodName, int], set[str]] = {
    **{(name, 0): DETERMINISTIC for name in ("source-only", "adabn", "mme", "fine-tuned", "fully-supervised")},
    ("fine-tuned", 11): DETERMINISTIC,
    ("dann", 0): DETERMINISTIC | {"discriminator"},
    ("adda", 5): {"source_network.encoder", "source_network.embedding.mean", "source_network.classifier"},
    ("adda", 11): {"network.encoder", "network.embedding.mean", "discriminator"},
    **{(name, 0): GAUSSIAN for name in ("metfa-i", "metfa-ii", "metfa-iii")},
    **{(name, 0): RECONSTRUCTING for name in ("metfa-iv", "metfa-v")},
    ("metfa-vi", 6): RECONSTRUCTING | {"teacher"},
    ("cdan", 0): DETERMINISTIC | {"discriminator"},
    ("mcc", 0): DETERMINISTIC,
    ("shot", 5): DETERMINISTIC,
    ("shot", 6): {"network.encoder", "network.embedding.mean", "network.classifier.hidden"},
}


def test_every_name_is_a_method_with_its_optimisation() -> None:
    assert METHODS.keys() == DEFAULTS.keys() == {name for name, _ in MOVED}


@pytest.mark.parametrize(("name", "step"), MOVED, ids=str)
def test_a_step_has_finite_terms_and_moves_what_it_should(config: TrainingConfig, name: MethodName, step: int) -> None:
    method = make_method(config, name)
    before = {key: parameter.clone() for key, parameter in method.named_parameters()}
    if name == "adda" and step > 5:
        before = {key: before[key.replace("source_network", "network")] for key in before}  # it begins as the source's
    terms = method.step(make_batch(name), noise(), step)
    assert terms
    assert all(torch.isfinite(term) and not term.requires_grad for term in terms.values())
    moved = {key for key, parameter in method.named_parameters() if not torch.equal(parameter, before[key])}
    assert moved == {key for key in before if key.startswith(tuple(MOVED[name, step]))}
    assert all(torch.isfinite(parameter).all() for parameter in method.parameters())


@pytest.mark.parametrize(
    ("name", "step", "unseen"),
    [
        ("source-only", 0, "target"),
        ("adabn", 11, "target"),
        ("adda", 0, "target"),
        ("shot", 5, "target"),
        ("shot", 6, "source"),
        ("fine-tuned", 0, "target"),
        ("fine-tuned", 5, "target"),
        ("fine-tuned", 6, "source"),
        ("fine-tuned", 11, "source"),
        ("fully-supervised", 0, "source"),
        ("fully-supervised", 11, "source"),
    ],
)
def test_frames_that_a_stage_is_not_for_change_no_bit(
    config: TrainingConfig, name: MethodName, step: int, unseen: str
) -> None:
    batch = make_batch(name)
    labels = {"source": "labels", "target": "target_labels"}
    nothing = batch._replace(**{unseen: torch.full_like(batch.source, math.nan)})
    if getattr(batch, labels[unseen]) is not None:
        nothing = nothing._replace(**{labels[unseen]: torch.full_like(batch.labels, -1)})
    seen = "source" if unseen == "target" else "target"
    other = batch._replace(**{seen: batch.source.flip(3)})
    states = []
    for each in (batch, nothing, other):
        method = make_method(config, name)
        method.step(each, noise(), step)
        states.append(state(method))
    assert all(torch.equal(tensor, states[1][key]) for key, tensor in states[0].items())
    assert any(not torch.equal(tensor, states[2][key]) for key, tensor in states[0].items())


def cosine(rate: float, step: int) -> float:
    return rate * (1 + math.cos(math.pi * step / 12)) / 2


SCHEDULES: dict[MethodName, Callable[[float, int], float]] = {
    **{name: cosine for name in METHODS if name in TERMS or "supervised" in name},
    "source-only": cosine,
    "adabn": cosine,
    "fine-tuned": cosine,
    "dann": lambda rate, step: rate / (1 + 10 * step / 12) ** 0.75,
    "mme": lambda rate, step: rate * (1 + 1e-4 * step) ** -0.75,
    "cdan": lambda rate, step: rate / (1 + 10 * step / 12) ** 0.75,
    "mcc": lambda rate, step: rate / (1 + 10 * step / 12) ** 0.75,
    "adda": lambda rate, step: rate if step < 6 else rate / 5,
    "shot": lambda rate, step: cosine(rate, 2 * step % 12),
}


@pytest.mark.parametrize("name", METHODS)
def test_the_learning_rate_follows_the_methods_schedule(config: TrainingConfig, name: MethodName) -> None:
    method = make_method(config, name, learning_rate=0.004)
    for step in (0, 5, 11):
        method.step(make_batch(name), noise(), step)
        of_stage = method.optimisers
        if name in {"adda", "shot"}:
            of_stage = method.optimisers[:1] if step < 6 else method.optimisers[1:]
        rates = [group["lr"] for optimiser in of_stage for group in optimiser.param_groups]
        assert rates == pytest.approx([SCHEDULES[name](0.004, step)] * len(rates))


@pytest.mark.parametrize("name", METHODS)
def test_the_optimiser_is_the_references(config: TrainingConfig, name: MethodName) -> None:
    for optimiser in make_method(config, name, momentum=0.8, weight_decay=0.01).optimisers:
        if name == "adda":
            assert isinstance(optimiser, torch.optim.Adam)
        elif name == "metfa-vi":
            assert isinstance(optimiser, torch.optim.AdamW)
            assert optimiser.defaults["weight_decay"] == 0.01
        else:
            assert isinstance(optimiser, torch.optim.SGD)
            assert (optimiser.defaults["momentum"], optimiser.defaults["weight_decay"]) == (0.8, 0.01)
            assert optimiser.defaults["nesterov"] == (name in {"mme", "mcc"})


def test_the_ramp_is_the_one_of_ganin_and_lempitsky() -> None:
    assert sigmoid_ramp(0) == 0
    assert sigmoid_ramp(0.1) == pytest.approx(math.tanh(0.5))
    assert sigmoid_ramp(1) == pytest.approx(0.99990920)
