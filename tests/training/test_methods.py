"""What a step minimises: the rows of the ablation, and the two players of Eq. 8."""

import copy
from dataclasses import replace

import pytest
import torch

from metfa.training import losses
from metfa.training.config import MethodName, TrainingConfig
from metfa.training.methods import TERMS, Batch, MetFA, build_method, term_weights
from metfa.training.model import Network


@pytest.fixture
def batch(network: Network) -> Batch:
    generator = torch.Generator().manual_seed(1)
    shape = (6, 1, network.config.height, network.config.width)
    return Batch(
        torch.randn(shape, generator=generator),
        torch.arange(6) % network.config.classes,
        torch.randn(shape, generator=generator),
    )


def noise() -> torch.Generator:
    return torch.Generator().manual_seed(2)


@pytest.mark.parametrize("method", TERMS)
def test_every_row_computes_and_weighs_the_same_terms(
    network: Network, config: TrainingConfig, batch: Batch, method: MethodName
) -> None:
    config = replace(config, method=method)
    terms = build_method(config, network)(batch, noise())
    assert terms.keys() == term_weights(config, 0.5).keys() == set(TERMS[config.method])
    assert all(torch.isfinite(term) for term in terms.values())


def test_source_only_does_not_look_at_the_target(network: Network, config: TrainingConfig, batch: Batch) -> None:
    method = build_method(replace(config, method="source-only"), network)
    changed = batch._replace(target=torch.full_like(batch.target, torch.nan))
    assert method(batch, noise())["ce"] == method(changed, noise())["ce"]


def plain_entropy(network: Network, batch: Batch) -> torch.Tensor:
    """L_H as Eq. 4 has it, with no reversal anywhere."""
    gaussian = network.embedding(torch.cat([network.encoder(batch.source), network.encoder(batch.target)]))
    return losses.entropy(network.classifier(gaussian.sample(noise())[len(batch.labels) :]))


def test_one_pass_gives_the_gradients_of_the_alternating_game(network: Network, batch: Batch) -> None:
    """Eq. 8 as two passes: W descends L − λ₆ L_H, everything else L + λ₆ L_H."""
    weight = 5.0
    method = MetFA(network, TERMS["metfa-v"], temperature=2.0)
    parameters = dict(method.named_parameters())

    def gradients(objective: torch.Tensor) -> dict[str, torch.Tensor]:
        computed = torch.autograd.grad(objective, list(parameters.values()), materialize_grads=True, allow_unused=True)
        return dict(zip(parameters, computed, strict=True))

    terms = method(batch, noise())
    one_pass = gradients(torch.stack([weight * t if name == "entropy" else t for name, t in terms.items()]).sum())
    for player, sign in ((False, 1.0), (True, -1.0)):
        others = torch.stack([t for name, t in method(batch, noise()).items() if name != "entropy"]).sum()
        alternating = gradients(others + sign * weight * plain_entropy(network, batch))
        for name in parameters:
            if ("prototypes" in name) == player:
                torch.testing.assert_close(one_pass[name], alternating[name], rtol=1e-4, atol=1e-4, msg=name)


def test_the_entropy_is_maximised_by_the_prototypes_and_minimised_by_the_encoder(
    network: Network, batch: Batch
) -> None:
    """A small step along the negative gradient of the reversed term moves each player's way."""
    method = MetFA(network, ("ce", "prior", "entropy"), temperature=2.0)
    for names, raises in ((("prototypes",), True), (("encoder", "embedding.mean", "hidden"), False)):
        player = copy.deepcopy(method)
        before = player(batch, noise())["entropy"]
        before.backward()
        with torch.no_grad():
            for name, parameter in player.named_parameters():
                if parameter.grad is not None and any(part in name for part in names):
                    parameter.sub_(1e-3 * parameter.grad / parameter.grad.norm())
        after = player(batch, noise())["entropy"]
        assert (after > before) == raises


def test_the_ramp_grows_only_what_rests_on_pseudo_labels(config: TrainingConfig) -> None:
    config = replace(config, ramp=True)
    first, last = term_weights(config, 0.0), term_weights(config, 1.0)
    constant = {"ce", "prior", "reconstruction"}
    assert {name for name in first if first[name] == last[name]} == constant
    assert all(first[name] == 0 for name in first.keys() - constant)
    assert term_weights(replace(config, ramp=False), 0.0) == pytest.approx(last, rel=1e-3)
