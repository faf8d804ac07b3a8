"""Labels that are shifted towards equally many of each class, against naive sums."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from metfa.training.equal_shares import logit_offsets, target_shares, transport_offsets

strengths = st.floats(0, 1)
seeds = st.integers(0, 2**32 - 1)
counts = st.lists(st.integers(0, 50), min_size=2, max_size=8).filter(any)


def make_shares(numbers: list[int]) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float64) / sum(numbers)


def make_logits(classes: int, seed: int, count: int = 40) -> torch.Tensor:
    return 3 * torch.randn(count, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def count_labels(logits: torch.Tensor) -> torch.Tensor:
    return logits.argmax(dim=1).bincount(minlength=logits.shape[1]) / float(len(logits))


@given(counts, strengths, st.data())
def test_planes_share_their_part_by_a_power_of_what_they_had(
    numbers: list[int], strength: float, data: st.DataObject
) -> None:
    shares = make_shares(numbers)
    background = data.draw(st.sets(st.integers(0, len(numbers) - 1), max_size=len(numbers) - 1))
    wanted = target_shares(shares, strength, background).tolist()
    part = sum(share for label, share in enumerate(shares.tolist()) if label not in background)
    powers = [share ** (1 - strength) for share in shares.tolist()]
    whole = sum(power for label, power in enumerate(powers) if label not in background)
    for label, share in enumerate(shares.tolist()):
        expected = share if label in background else powers[label] / max(whole, 1e-8) * part
        assert wanted[label] == pytest.approx(expected, abs=1e-6)


@given(counts)
def test_no_strength_leaves_the_shares_and_all_of_it_makes_them_equal(numbers: list[int]) -> None:
    shares = make_shares(numbers)
    torch.testing.assert_close(target_shares(shares, 0.0), shares)
    torch.testing.assert_close(target_shares(shares, 1.0), torch.full_like(shares, 1 / len(numbers)))


@given(counts, st.floats(0, 0.99))
def test_a_class_without_a_frame_gets_none(numbers: list[int], strength: float) -> None:
    shares = make_shares(numbers)
    assert (target_shares(shares, strength)[shares == 0] == 0).all()


@given(counts, seeds)
def test_with_the_offsets_the_mean_probability_of_a_class_is_its_share(numbers: list[int], seed: int) -> None:
    shares, logits = make_shares(numbers), make_logits(len(numbers), seed)
    mean = F.softmax(logits + transport_offsets(logits, shares), dim=1).mean(dim=0)
    torch.testing.assert_close(mean, shares, atol=1e-3, rtol=0)


@given(st.integers(2, 8), seeds)
def test_no_strength_changes_no_logit(classes: int, seed: int) -> None:
    offset = logit_offsets(make_logits(classes, seed), 0.0)
    torch.testing.assert_close(offset, torch.zeros_like(offset), atol=1e-9, rtol=0)


@given(st.integers(2, 5), seeds, strengths)
def test_the_labels_have_about_the_shares_that_they_are_to_have(classes: int, seed: int, strength: float) -> None:
    logits = make_logits(classes, seed, count=400)
    shares = count_labels(logits)
    after = count_labels(logits + logit_offsets(logits, strength))
    torch.testing.assert_close(after, target_shares(shares, strength), atol=0.05, rtol=0)


def test_being_unsure_changes_nothing_where_the_labels_are_in_balance() -> None:
    logits = torch.tensor([[0.2, 0.0, 0.1], [0.0, 0.9, 0.0], [0.0, 3.0, 9.0]])
    torch.testing.assert_close(logit_offsets(10 * logits, 1.0), torch.zeros(3), atol=0.1, rtol=0)


def test_who_is_least_sure_of_a_class_that_is_said_too_often_is_given_another() -> None:
    logits = torch.tensor([[9.0, 0.0], [7.0, 0.0], [5.0, 0.0], [3.0, 0.0]])
    assert (logits + logit_offsets(logits, 1.0)).argmax(dim=1).tolist() == [0, 0, 1, 1]
