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
    """A leaf of the graph."""
    numbers = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return numbers.requires_grad_()


def draw_labels(seed: int, size: int) -> Tensor:
    return torch.randint(CLASSES, (size,), generator=torch.Generator().manual_seed(seed + 1))


def total(values: list[Tensor]) -> Tensor:
    return torch.stack(values).sum() if values else torch.zeros((), dtype=torch.float64)


def softmax(logits: Tensor, temperature: float = 1.0) -> list[Tensor]:
    exponentials = [(logit / temperature).exp() for logit in logits]
    return [value / total(exponentials) for value in exponentials]


def naive_prior(mean: Tensor, log_variance: Tensor) -> Tensor:
    values = []
    for mu_row, log_row in zip(mean, log_variance, strict=True):
        for mu, log in zip(mu_row, log_row, strict=True):
            values.append(0.5 * (mu**2 + log.exp() - 1 - log))
    return total(values) / len(mean)


def naive_reconstruction(features: Tensor, reconstructed: Tensor) -> Tensor:
    values = [
        (a - b) ** 2
        for row, other in zip(features, reconstructed, strict=True)
        for a, b in zip(row, other, strict=True)
    ]
    return total(values) / len(values)


def naive_entropy(logits: Tensor) -> Tensor:
    return total([-p * p.log() for row in logits for p in softmax(row)]) / len(logits)


def naive_metric(queries: Tensor, pseudo_labels: Tensor, supports: Tensor, labels: Tensor) -> Tensor:
    values = []
    for query, i in zip(queries, pseudo_labels.tolist(), strict=True):
        distances: dict[int, list[Tensor]] = {}
        for support, label in zip(supports, labels.tolist(), strict=True):
            squared = total([(a - b) ** 2 for a, b in zip(query, support, strict=True)]) / len(query)
            distances.setdefault(label, []).append(squared)
        if i not in distances:
            continue
        farthest = max(distances[i])
        exponentials = [(farthest - min(d)).exp() for k, d in distances.items() if k != i]
        values.append((1 + total(exponentials)).log())
    return total(values) / max(1, len(values))


def naive_alignment(
    source: Tensor, labels: Tensor, target: Tensor, pseudo_labels: Tensor, temperature: float
) -> Tensor:
    values = []
    for i in range(CLASSES):
        of_source = [row for row, label in zip(source, labels.tolist(), strict=True) if label == i]
        of_target = [row for row, label in zip(target, pseudo_labels.tolist(), strict=True) if label == i]
        if not of_source or not of_target:
            continue
        p, q = (softmax(torch.stack(rows).mean(dim=0), temperature) for rows in (of_source, of_target))
        forward = total([a * (a / b).log() for a, b in zip(p, q, strict=True)])
        backward = total([b * (b / a).log() for a, b in zip(p, q, strict=True)])
        values.append(len(of_target) / len(target) * (forward + backward) / 2)
    return total(values)


def naive_confusion(logits: Tensor, temperature: float) -> Tensor:
    rows = [softmax(row, temperature) for row in logits]
    certainty = [(1 + total([p * p.log() for p in row]).exp()).detach() for row in rows]
    weights = [len(rows) * each / total(certainty) for each in certainty]
    confused = []
    for a in range(CLASSES):
        row = [total([w * p[a] * p[b] for w, p in zip(weights, rows, strict=True)]) for b in range(CLASSES)]
        confused.append(total(row[:a] + row[a + 1 :]) / total(row))
    return total(confused) / CLASSES


def naive_consistency(logits: Tensor, teacher: Tensor, confidence: float) -> Tensor:
    values = []
    for row, probabilities in zip(logits, teacher.tolist(), strict=True):
        highest = max(probabilities)
        if highest >= confidence:
            values.append(-softmax(row)[probabilities.index(highest)].log())
    return total(values) / len(logits)


def assert_same(actual: Tensor, expected: Tensor, *inputs: Tensor) -> None:
    """The value and its gradient with respect to each input, by whichever way the graph came about."""
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12)
    by_term, by_loop = (
        torch.autograd.grad(each, inputs, materialize_grads=True, allow_unused=True)
        if each.requires_grad
        else [torch.zeros_like(one) for one in inputs]
        for each in (actual, expected)
    )
    for one, other in zip(by_term, by_loop, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-12)


@given(seeds, sizes)
def test_prior_is_equation_2(seed: int, size: int) -> None:
    mean, log_variance = normal(seed, size, DIMENSIONS), normal(seed + 1, size, DIMENSIONS)
    assert_same(losses.prior(mean, log_variance), naive_prior(mean, log_variance), mean, log_variance)


def test_prior_of_the_standard_normal_is_zero() -> None:
    assert losses.prior(torch.zeros(2, 5), torch.zeros(2, 5)).item() == 0


@given(seeds, sizes)
def test_reconstruction_is_equation_3_as_a_mean(seed: int, size: int) -> None:
    features, reconstructed = normal(seed, size, DIMENSIONS), normal(seed + 1, size, DIMENSIONS)
    actual, expected = losses.reconstruction(features, reconstructed), naive_reconstruction(features, reconstructed)
    assert_same(actual, expected, features, reconstructed)


@given(seeds, sizes)
def test_entropy_is_equation_4(seed: int, size: int) -> None:
    logits = normal(seed, size, CLASSES)
    assert_same(losses.entropy(5 * logits), naive_entropy(5 * logits), logits)


@given(seeds, sizes)
def test_diversity_is_the_entropy_of_the_mean_prediction(seed: int, size: int) -> None:
    logits = normal(seed, size, CLASSES)
    mean = torch.stack([torch.stack(softmax(row)) for row in logits]).mean(dim=0)
    assert_same(losses.diversity(logits), total([-p * p.log() for p in mean]), logits)


@given(seeds, sizes, st.floats(0.5, 5))
def test_confusion_is_that_of_jin_et_al(seed: int, size: int, temperature: float) -> None:
    logits = normal(seed, size, CLASSES)
    actual = losses.confusion(3 * logits, temperature)
    assert_same(actual, naive_confusion(3 * logits, temperature), logits)


def test_classes_that_are_told_apart_are_not_confused() -> None:
    assert losses.confusion(1000 * torch.eye(CLASSES), 2.5).item() == pytest.approx(0)
    assert losses.confusion(torch.zeros(5, CLASSES), 2.5).item() == pytest.approx(1 - 1 / CLASSES)


@given(seeds, sizes, st.sampled_from([0.0, 0.4, 0.8]))
def test_consistency_is_the_cross_entropy_with_a_confident_teacher(seed: int, size: int, confidence: float) -> None:
    logits, teacher = normal(seed, size, CLASSES), (3 * normal(seed + 1, size, CLASSES)).softmax(dim=1).detach()
    actual = losses.consistency(logits, teacher, confidence)
    assert_same(actual, naive_consistency(logits, teacher, confidence), logits)


@given(seeds, sizes, sizes)
def test_metric_is_equations_5_and_6(seed: int, queries: int, supports: int) -> None:
    z_t, z_s = normal(seed, queries, DIMENSIONS), normal(seed + 1, supports, DIMENSIONS)
    pseudo_labels, labels = draw_labels(seed, queries), draw_labels(seed + 1, supports)
    actual = losses.metric(z_t, pseudo_labels, z_s, labels, classes=CLASSES)
    assert_same(actual, naive_metric(z_t, pseudo_labels, z_s, labels), z_t, z_s)


@given(seeds, sizes)
def test_metric_is_the_cross_entropy_of_negative_distances(seed: int, queries: int) -> None:
    """To the hardest positive of a query's own class and the hardest negative of each other."""
    z_t, z_s = normal(seed, queries, DIMENSIONS), normal(seed + 1, 2 * CLASSES, DIMENSIONS)
    pseudo_labels, labels = draw_labels(seed, queries), torch.arange(2 * CLASSES) % CLASSES
    distances = torch.cdist(z_t, z_s).square().view(queries, 2, CLASSES) / DIMENSIONS
    own = torch.nn.functional.one_hot(pseudo_labels, CLASSES).bool()
    hardest = torch.where(own, distances.amax(dim=1), distances.amin(dim=1))
    actual = losses.metric(z_t, pseudo_labels, z_s, labels, classes=CLASSES)
    assert actual.item() == pytest.approx(torch.nn.functional.cross_entropy(-hardest, pseudo_labels).item())


def test_metric_pulls_a_query_towards_its_class() -> None:
    supports, labels = torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), torch.tensor([0, 1])
    query = torch.zeros(1, 2, requires_grad=True)
    losses.metric(query, torch.tensor([0]), supports, labels, classes=2).backward()  # type: ignore[no-untyped-call]
    assert query.grad is not None
    assert query.grad[0, 0] < 0  # a step against the gradient goes towards the support at +1


@given(seeds, sizes, sizes)
def test_alignment_is_equation_7_with_shares(seed: int, source_size: int, target_size: int) -> None:
    source, target = normal(seed, source_size, CLASSES), normal(seed + 1, target_size, CLASSES)
    labels, pseudo_labels = draw_labels(seed, source_size), draw_labels(seed + 1, target_size)
    actual = losses.alignment(3 * source, labels, 3 * target, pseudo_labels, classes=CLASSES, temperature=2)
    assert_same(actual, naive_alignment(3 * source, labels, 3 * target, pseudo_labels, 2), source, target)


@given(seeds)
def test_alignment_does_not_grow_with_the_batch(seed: int) -> None:
    logits, other = normal(seed, 6, CLASSES), normal(seed + 1, 6, CLASSES)
    labels, pseudo_labels = draw_labels(seed, 6), draw_labels(seed + 1, 6)
    once, thrice = (
        losses.alignment(
            logits, labels, other.repeat(n, 1), pseudo_labels.repeat(n), classes=CLASSES, temperature=2
        ).item()
        for n in (1, 3)
    )
    assert once == pytest.approx(thrice)


def terms_of(z: Tensor, other: Tensor, labels: Tensor, pseudo_labels: Tensor) -> dict[str, Tensor]:
    return {
        "prior": losses.prior(z, other),
        "reconstruction": losses.reconstruction(z, other),
        "entropy": losses.entropy(z),
        "metric": losses.metric(z, pseudo_labels, other, labels, classes=CLASSES),
        "alignment": losses.alignment(other, labels, z, pseudo_labels, classes=CLASSES, temperature=2),
        "diversity": losses.diversity(z),
        "consistency": losses.consistency(z, other.detach().softmax(dim=1), 0.3),
    }


@settings(max_examples=3)
@given(seeds)
def test_gradients_are_those_of_the_value(seed: int) -> None:
    z, other = normal(seed, 4, CLASSES), normal(seed + 1, 4, CLASSES)
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
    z = (scale * normal(0, 4, CLASSES)).detach().float().requires_grad_()
    other = (scale * normal(1, 4, CLASSES)).detach().float().clamp(max=50).requires_grad_()
    for name, term in terms_of(z, other, labels, pseudo_labels).items():
        gradients = torch.autograd.grad(term, (z, other), allow_unused=True)
        assert torch.isfinite(term), name
        assert all(gradient is None or torch.isfinite(gradient).all() for gradient in gradients), name


def test_without_a_common_class_metric_and_alignment_are_zero() -> None:
    z, other = normal(0, 4, CLASSES), normal(1, 4, CLASSES)
    terms = terms_of(z, other, ONE_CLASS, OTHER_CLASS)
    assert terms["metric"] == 0
    assert terms["alignment"] == 0


def of_two(scale: float) -> tuple[Tensor, Tensor]:
    """Two supports of class 0 and one of class 1, on a line; float32 as in training."""
    return torch.tensor([[0.0], [scale], [-scale]]), torch.tensor([0, 0, 1])


@pytest.mark.parametrize("scale", [0.5, 10.0, 1e4, 1e9])
@pytest.mark.parametrize(
    ("place", "pseudo_label", "exponent"),
    [(0.0, 0, 0.0), (1.0, 0, -3.0), (-1.0, 0, 4.0), (-1.0, 1, -1.0), (1.0, 1, 4.0), (0.0, 1, 1.0)],
)
def test_metric_is_right_however_far_apart_embeddings_are(
    scale: float, place: float, pseudo_label: int, exponent: float
) -> None:
    """One query at ``place`` times the scale: log(1 + exp(d_i − d_k)) with d in squares of the scale."""
    supports, labels = of_two(scale)
    query = torch.tensor([[scale * place]], requires_grad=True)
    actual = losses.metric(query, torch.tensor([pseudo_label]), supports, labels, classes=2)
    exact = exponent * scale**2
    assert actual.item() == pytest.approx(max(exact, 0) + math.log1p(math.exp(-abs(exact))), rel=1e-6, abs=1e-30)
    (gradient,) = torch.autograd.grad(actual, query)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize(("classes_present", "expected"), [(1, 0.0), (2, math.log(2)), (4, math.log(4))])
def test_metric_of_identical_embeddings_is_that_of_a_guess(classes_present: int, expected: float) -> None:
    z = torch.ones(8, DIMENSIONS, requires_grad=True)
    labels = torch.arange(8) % classes_present
    actual = losses.metric(z, torch.zeros(8, dtype=torch.int64), z, labels, classes=CLASSES)
    assert actual.item() == pytest.approx(expected)
    (gradient,) = torch.autograd.grad(actual, z)
    assert not gradient.any()


def test_pseudo_labels_without_supports_leave_the_metric_of_the_others_as_it_is() -> None:
    supports, labels = of_two(1.0)
    queries = torch.tensor([[0.3], [100.0], [-0.7]], requires_grad=True)
    both = losses.metric(queries, torch.tensor([0, 2, 1]), supports, labels, classes=3)
    without = losses.metric(queries[[0, 2]], torch.tensor([0, 1]), supports, labels, classes=3)
    assert both.item() == pytest.approx(without.item())
    (gradient,) = torch.autograd.grad(both, queries)
    assert gradient[1] == 0


@pytest.mark.parametrize("gap", [0.5, 20.0, 1e3, 1e8])
def test_entropy_of_two_classes_is_right_however_sure_they_are(gap: float) -> None:
    logits = torch.tensor([[0.0, gap]], requires_grad=True)
    actual = losses.entropy(logits)
    rest = math.exp(-gap) / (1 + math.exp(-gap))
    expected = -rest * math.log(rest) - (1 - rest) * math.log1p(-rest) if rest > 0 else 0.0
    assert actual.item() == pytest.approx(expected, rel=1e-4, abs=1e-7)
    (gradient,) = torch.autograd.grad(actual, logits)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("level", [0.0, 1e8])
def test_entropy_of_equal_logits_is_the_greatest(level: float) -> None:
    assert losses.entropy(torch.full((3, CLASSES), level)).item() == pytest.approx(math.log(CLASSES))


@pytest.mark.parametrize("length", [10.0, 1e3, 1e8])
def test_alignment_of_opposite_certainties_is_their_distance(length: float) -> None:
    """p is certain of class 0 and q of class 1: both directions of the KL are near length / τ₁."""
    source = torch.tensor([[length, 0.0]] * 3, requires_grad=True)
    target = torch.tensor([[0.0, length]] * 2, requires_grad=True)
    zeros = torch.zeros(3, dtype=torch.int64)
    actual = losses.alignment(source, zeros, target, zeros[:2], classes=2, temperature=2)
    probability = 1 / (1 + math.exp(-length / 2))
    assert actual.item() == pytest.approx((2 * probability - 1) * length / 2, rel=1e-5)
    assert all(torch.isfinite(each).all() for each in torch.autograd.grad(actual, (source, target)))


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e8])
def test_alignment_of_identical_logits_is_zero(scale: float) -> None:
    logits = (scale * normal(0, 6, CLASSES)).detach().float().requires_grad_()
    labels = torch.arange(6) % CLASSES
    actual = losses.alignment(logits, labels, logits.detach(), labels, classes=CLASSES, temperature=2)
    assert actual.item() == 0
    assert not torch.autograd.grad(actual, logits)[0].any()


def test_alignment_skips_what_is_absent_from_either_side() -> None:
    """Class 0 is common to both; 1 is the source's alone, 2 the target's alone, 3 nobody's."""
    source, target = normal(0, 4, CLASSES), normal(1, 4, CLASSES)
    labels, pseudo_labels = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 2, 2, 2])
    actual = losses.alignment(source, labels, target, pseudo_labels, classes=CLASSES, temperature=2)
    p, q = (logits.div(2).softmax(0) for logits in (source[:2].mean(0), target[0]))
    expected = ((p - q) * (p / q).log()).sum() / 2 / 4  # a quarter of the target is predicted as class 0
    assert actual.item() == pytest.approx(expected.item())
    gradients = torch.autograd.grad(actual, (source, target))
    assert not gradients[0][2:].any()
    assert not gradients[1][1:].any()


@pytest.mark.parametrize(
    ("mean", "log_variance", "expected"),
    [(3.0, 0.0, 4.5), (1e6, 0.0, 5e11), (0.0, -100.0, 49.5), (0.0, 50.0, (math.exp(50) - 51) / 2)],
)
def test_prior_is_right_for_extreme_gaussians(mean: float, log_variance: float, expected: float) -> None:
    """A sum over dimensions and a mean over the batch."""
    actual = losses.prior(torch.full((2, 5), mean), torch.full((2, 5), log_variance))
    assert actual.item() == pytest.approx(5 * expected, rel=1e-5)


@pytest.mark.parametrize("distance", [0.0, 1.0, 1e6])
def test_reconstruction_is_the_square_of_a_distance_in_every_dimension(distance: float) -> None:
    features = torch.zeros(3, 7, requires_grad=True)
    reconstructed = torch.full((3, 7), distance, requires_grad=True)
    actual = losses.reconstruction(features, reconstructed)
    assert actual.item() == pytest.approx(distance**2)
    gradients = torch.autograd.grad(actual, (features, reconstructed))
    torch.testing.assert_close(gradients[0], -gradients[1])  # the gradient flows into the features, too
