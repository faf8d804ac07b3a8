"""Batches: balanced, complete, and the same wherever a run is taken up."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from metfa.training.data.sampling import BalancedSampler, Cycle, PseudoBalancedSampler, ShuffledSampler


@given(st.integers(1, 30), st.integers(0, 100), st.integers(1, 40))
def test_a_cycle_is_the_same_however_it_is_cut(size: int, start: int, count: int) -> None:
    whole = Cycle(size, 7).take(0, start + count)
    assert (Cycle(size, 7).take(start, count) == whole[start:]).all()


@given(st.integers(1, 30), st.integers(0, 5))
def test_every_pass_of_a_cycle_holds_every_number_once(size: int, number: int) -> None:
    assert sorted(Cycle(size, 7).take(number * size, size)) == list(range(size))


@given(st.lists(st.integers(1, 20), min_size=2, max_size=5), st.integers(1, 6), st.integers(0, 50))
def test_balanced_batches_hold_every_class_alike(sizes: list[int], per_class: int, step: int) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    batch = labels[BalancedSampler(labels, per_class, seed=0).batch(step)]
    assert (np.bincount(batch) == per_class).all()


@given(st.lists(st.integers(0, 20), min_size=2, max_size=5).filter(any), st.integers(1, 30), st.integers(0, 20))
def test_pseudo_balanced_batches_hold_every_class_that_occurs_alike(sizes: list[int], size: int, step: int) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    sampler = PseudoBalancedSampler(labels, size, seed=0)
    counts = np.bincount(labels[sampler.batch(step)], minlength=len(sizes))
    assert counts.sum() == size
    present = counts[[bool(each) for each in sizes]]
    assert present.max() - present.min() <= 1


@given(st.lists(st.integers(1, 9), min_size=2, max_size=4))
def test_pseudo_balanced_batches_pass_over_all_frames_of_a_class(sizes: list[int]) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    sampler = PseudoBalancedSampler(labels, len(sizes), seed=0)  # one frame of each class
    seen = np.concatenate([sampler.batch(step) for step in range(max(sizes))])
    assert set(seen) == set(range(len(labels)))


def test_the_seed_changes_the_order() -> None:
    first, second = (ShuffledSampler(100, 50, seed).batch(0) for seed in (0, 1))
    assert (first != second).any()
