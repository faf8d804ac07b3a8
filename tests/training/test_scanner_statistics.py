"""What is kept of the training pictures of each scanner."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metfa.runtime.bundle import records
from metfa.runtime.decisions.scanner_check import FALSE_ALARMS, ScannerSpace
from metfa.runtime.imaging.appearance import FEATURES, appearance
from metfa.training.data.pair import read_pair
from metfa.training.scanner_statistics import POINTS, conformal_limit, describe_scanner, scanner_statistics, whiten

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from metfa.training.config import TrainingConfig


def pictures(count: int, seed: int, spread: float = 1.0) -> NDArray[np.uint8]:
    """Random pictures whose contrast and brightness vary, uint8 [count, 1, 28, 32]."""
    generator = np.random.default_rng(seed)
    contrast, brightness = generator.uniform(20, 20 + 10 * spread, (2, count, 1, 1, 1))
    return np.asarray(np.clip(brightness + contrast * generator.normal(size=(count, 1, 28, 32)), 0, 255), np.uint8)


@given(count=st.integers(FEATURES + 2, 80), seed=st.integers(0, 99))
def test_what_is_whitened_has_unit_covariance_but_for_the_shrinkage(count: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(count, 5)) @ generator.normal(size=(5, 5)) + 7
    centre, whitening = whiten(features)
    white = (features - centre) @ whitening
    assert white.mean(axis=0) == pytest.approx(np.zeros(5), abs=1e-6)
    # Shrinkage moves the variances towards their mean: the smallest are whitened to less than 1, the largest to more.
    variances = np.linalg.eigvalsh(np.cov(white.T, bias=True))
    assert 0 < variances.min() < 1.001
    assert 0.999 < variances.max() < 2


@given(st.lists(st.floats(0, 100), min_size=1, max_size=200))
def test_the_limit_is_the_smallest_that_keeps_its_promise(distances: list[float]) -> None:
    limit = conformal_limit(distances, 0.05)
    assert limit in distances
    promised = math.ceil((len(distances) + 1) * 0.95)
    if promised <= len(distances):
        assert sum(distance <= limit for distance in distances) >= promised
        assert sum(distance < limit for distance in distances) < promised
    else:
        assert limit == max(distances)


def test_new_pictures_of_the_scanner_are_beyond_the_limit_as_rarely_as_promised() -> None:
    reference = describe_scanner("scanner", pictures(300, seed=0), pictures(200, seed=1))
    space = ScannerSpace(reference.centre, reference.whitening, reference.points)
    beyond = np.mean([space.distance(appearance(frame)) > reference.limit for (frame,) in pictures(400, seed=2)])
    assert 0 < beyond < 2 * FALSE_ALARMS
    others = np.mean([space.distance(appearance(frame)) > reference.limit for (frame,) in pictures(50, 3, spread=9)])
    assert others > 0.5


def test_the_description_is_compact() -> None:
    reference = describe_scanner("scanner", pictures(POINTS + 50, seed=0), pictures(20, seed=1))
    assert len(reference.points) == POINTS
    assert len(records.to_json(reference, indent=None)) < 100_000


@pytest.mark.parametrize("count", [2, 5])
def test_few_or_equal_pictures_suffice(count: int) -> None:
    frames = np.repeat(pictures(1, seed=0), count, axis=0)
    assert describe_scanner("scanner", frames, frames[:1]).limit > 0


def test_labels_take_no_part(config: TrainingConfig, source: Path, target: Path) -> None:
    run = replace(config, source=str(source), target=str(target))
    statistics = scanner_statistics(read_pair(run), adapted=True)
    assert statistics.target is not None
    assert statistics.target.name == str(target)
    unlabelled = target.with_name("unlabelled")
    unlabelled.mkdir()
    for path in sorted(target.rglob("*.png")):
        path.rename(unlabelled / f"{path.parent.name}-{path.name}")
    without = scanner_statistics(read_pair(replace(run, target=str(unlabelled))), adapted=True)
    assert without.target == replace(statistics.target, name=str(unlabelled))


def test_a_model_that_was_not_adapted_knows_one_scanner(config: TrainingConfig, source: Path, target: Path) -> None:
    run = replace(config, source=str(source), target=str(target))
    assert scanner_statistics(read_pair(run), adapted=False).target is None
