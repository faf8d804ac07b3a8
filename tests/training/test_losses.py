"""Each term against a loop written from its equation, in float64 and with its gradient."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from metfa.training import losses

CLASSES = 4
DIMENSIONS = 3

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(1, 8)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def draw_labels(seed: int, size: int) -> Tensor:
    return torch.randint(CLASSES, (size,), generator=torch.Generator().manual_seed(seed + 1))


def softmax(logits: list[float], temperature: float = 1.0) -> list[float]:
    exponentials = [math.exp(logit / temperature) for logit in logits]
    return [value / sum(exponentials) for value in exponentials]


def naive_prior(mean: Tensor, log_variance: Tensor) -> float:
    total = 0.0
    for mu_row, log_row in zip(mean.tolist(), log_variance.tolist(), strict=True):
        for mu, log in zip(mu_row, log_row, strict=True):
            total += 0.5 * (mu**2 + math.exp(log) - 1 - log)
    return total / len(mean)


def naive_entropy(logits: Tensor) -> float:
    return sum(-p * math.log(p) for row in logits.tolist() for p in softmax(row)) / len(logits)


def naive_metric(queries: Tensor, pseudo_labels: Tensor, supports: Tensor, labels: Tensor) -> float:
    values = []
    for query, i in zip(queries.tolist(), pseudo_labels.tolist(), strict=True):
        distances: dict[int, list[float]] = {}
        for support, label in zip(supports.tolist(), labels.tolist(), strict=True):
            squared = sum((a - b) ** 2 for a, b in zip(query, support, strict=True)) / len(query)
            distances.setdefault(label, []).append(squared)
        if i not in distances:
            continue
        farthest = max(distances[i])
        values.append(math.log(1 + sum(math.exp(farthest - min(d)) for k, d in distances.items() if k != i)))
    return sum(values) / len(values) if values else 0.0


def naive_alignment(source: Tensor, labels: Tensor, target: Tensor, pseudo_labels: Tensor, temperature: float) -> float:
    total = 0.0
    for i in range(CLASSES):
        of_source = [row for row, label in zip(source.tolist(), labels.tolist(), strict=True) if label == i]
        of_target = [row for row, label in zip(target.tolist(), pseudo_labels.tolist(), strict=True) if label == i]
        if not of_source or not of_target:
            continue
        p, q = (
            softmax([sum(column) / len(rows) for column in zip(*rows, strict=True)], temperature)
            for rows in (of_source, of_target)
        )
        forward = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
        backward = sum(b * math.log(b / a) for a, b in zip(p, q, strict=True))
        total += len(of_target) / len(target) * (forward + backward) / 2
    return total


@given(seeds, sizes)
def test_prior_is_equation_2(seed: int, size: int) -> None:
    mean, log_variance = normal(seed, size, DIMENSIONS), normal(seed + 1, size, DIMENSIONS)
    assert losses.prior(mean, log_variance).item() == pytest.approx(naive_prior(mean, log_variance))


def test_prior_of_the_standard_normal_is_zero() -> None:
    assert losses.prior(torch.zeros(2, 5), torch.zeros(2, 5)).item() == 0


@given(seeds, sizes)
def test_reconstruction_is_equation_3_as_a_mean(seed: int, size: int) -> None:
    features, reconstructed = normal(seed, size, DIMENSIONS), normal(seed + 1, size, DIMENSIONS)
    expected = sum(
        (a - b) ** 2
        for row, other in zip(features.tolist(), reconstructed.tolist(), strict=True)
        for a, b in zip(row, other, strict=True)
    ) / (size * DIMENSIONS)
    assert losses.reconstruction(features, reconstructed).item() == pytest.approx(expected)


@given(seeds, sizes)
def test_entropy_is_equation_4(seed: int, size: int) -> None:
    logits = 5 * normal(seed, size, CLASSES)
    assert losses.entropy(logits).item() == pytest.approx(naive_entropy(logits))


@given(seeds, sizes, sizes)
def test_metric_is_equations_5_and_6(seed: int, queries: int, supports: int) -> None:
    z_t, z_s = normal(seed, queries, DIMENSIONS), normal(seed + 1, supports, DIMENSIONS)
    pseudo_labels, labels = draw_labels(seed, queries), draw_labels(seed + 1, supports)
    actual = losses.metric(z_t, pseudo_labels, z_s, labels, classes=CLASSES)
    assert actual.item() == pytest.approx(naive_metric(z_t, pseudo_labels, z_s, labels))


def test_metric_pulls_a_query_towards_its_class() -> None:
    supports, labels = torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), torch.tensor([0, 1])
    query = torch.zeros(1, 2, requires_grad=True)
    losses.metric(query, torch.tensor([0]), supports, labels, classes=2).backward()  # type: ignore[no-untyped-call]
    assert query.grad is not None
    assert query.grad[0, 0] < 0  # a step against the gradient goes towards the support at +1


@given(seeds, sizes, sizes)
def test_alignment_is_equation_7_with_shares(seed: int, source_size: int, target_size: int) -> None:
    source, target = 3 * normal(seed, source_size, CLASSES), 3 * normal(seed + 1, target_size, CLASSES)
    labels, pseudo_labels = draw_labels(seed, source_size), draw_labels(seed + 1, target_size)
    actual = losses.alignment(source, labels, target, pseudo_labels, classes=CLASSES, temperature=2)
    assert actual.item() == pytest.approx(naive_alignment(source, labels, target, pseudo_labels, 2), abs=1e-12)


def terms_of(z: Tensor, other: Tensor, labels: Tensor, pseudo_labels: Tensor) -> dict[str, Tensor]:
    return {
        "prior": losses.prior(z, other),
        "reconstruction": losses.reconstruction(z, other),
        "entropy": losses.entropy(z),
        "metric": losses.metric(z, pseudo_labels, other, labels, classes=CLASSES),
        "alignment": losses.alignment(other, labels, z, pseudo_labels, classes=CLASSES, temperature=2),
    }


@settings(max_examples=3)
@given(seeds)
def test_gradients_are_those_of_the_value(seed: int) -> None:
    z, other = normal(seed, 4, CLASSES).requires_grad_(), normal(seed + 1, 4, CLASSES).requires_grad_()
    labels, pseudo_labels = draw_labels(seed, 4), draw_labels(seed + 1, 4)
    for name in terms_of(z, other, labels, pseudo_labels):
        assert torch.autograd.gradcheck(
            lambda a, b, name=name: terms_of(a, b, labels, pseudo_labels)[name], (z, other)
        ), name


ALL, ONE_CLASS, OTHER_CLASS = torch.tensor([0, 1, 2, 3]), torch.zeros(4, dtype=torch.int64), torch.full((4,), 2)


@pytest.mark.parametrize(
    ("labels", "pseudo_labels"),
    [(ALL, ONE_CLASS), (ONE_CLASS, ALL), (ONE_CLASS, ONE_CLASS), (ONE_CLASS, OTHER_CLASS)],
    ids=["one pseudo-label", "one support class", "one class", "no class in common"],
)
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4], ids=["identical", "usual", "huge"])
def test_extreme_batches_stay_finite(labels: Tensor, pseudo_labels: Tensor, scale: float) -> None:
    z = (scale * normal(0, 4, CLASSES)).float().requires_grad_()
    other = (scale * normal(1, 4, CLASSES)).float().clamp(max=50).requires_grad_()
    for name, term in terms_of(z, other, labels, pseudo_labels).items():
        gradients = torch.autograd.grad(term, (z, other), allow_unused=True)
        assert torch.isfinite(term), name
        assert all(gradient is None or torch.isfinite(gradient).all() for gradient in gradients), name


def test_without_a_common_class_metric_and_alignment_are_zero() -> None:
    z, other = normal(0, 4, CLASSES), normal(1, 4, CLASSES)
    terms = terms_of(z, other, ONE_CLASS, OTHER_CLASS)
    assert terms["metric"] == 0
    assert terms["alignment"] == 0
