"""LAME against its definition, and a scan that is adjusted frame by frame."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest
from benchmarks.decisions.scans import Scan
from benchmarks.studies.online import (
    Variant,
    adjust,
    adjust_scan,
    average,
    cosines,
    lame,
    nearest,
    radial,
    sharpen,
    table,
)

from metfa.runtime import Prediction

if TYPE_CHECKING:
    from benchmarks.studies.online import Affinity
    from numpy.typing import NDArray

FRAMES, LABELS, SIZE = 12, 4, 5

AFFINITIES = [partial(nearest, neighbours=5), partial(nearest, neighbours=3), partial(radial, neighbours=5), cosines]
every_affinity = pytest.mark.parametrize(
    "affinity", AFFINITIES, ids=["5 neighbours", "3 neighbours", "radial", "cosine"]
)


def draw_window(seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return probabilities and embeddings of frames that have nothing to do with each other."""
    generator = np.random.default_rng(seed)
    return generator.dirichlet(np.ones(LABELS), FRAMES), generator.normal(size=(FRAMES, SIZE))


def adjust_by_loops(probabilities: NDArray[np.float64], embeddings: NDArray[np.float64], k: int) -> list[list[float]]:
    """Return what equation and text of the paper say, number by number, after many iterations."""
    lengths = [math.sqrt(sum(x * x for x in row)) for row in embeddings]
    directions = [[x / length for x in row] for row, length in zip(embeddings, lengths, strict=True)]
    neighbours = []
    for i, one in enumerate(directions):
        others = [(math.dist(one, other), j) for j, other in enumerate(directions) if j != i]
        neighbours.append([j for _, j in sorted(others)[:k]])
    assigned = [list(row) for row in probabilities]
    for _ in range(300):
        products = [
            [
                probabilities[i][label] * math.exp(sum(assigned[j][label] for j in neighbours[i]))
                for label in range(LABELS)
            ]
            for i in range(FRAMES)
        ]
        assigned = [[product / sum(row) for product in row] for row in products]
    return assigned


@pytest.mark.parametrize("neighbours", [1, 3, 5])
def test_it_is_what_the_paper_defines(neighbours: int) -> None:
    probabilities, embeddings = draw_window()
    adjusted = adjust(probabilities, nearest(embeddings, neighbours=neighbours))
    np.testing.assert_allclose(adjusted, adjust_by_loops(probabilities, embeddings, neighbours), atol=1e-5)
    assert np.abs(adjusted - probabilities).max() > 0.1  # or else nothing was tested


@every_affinity
def test_rows_sum_to_one(affinity: Affinity) -> None:
    probabilities, embeddings = draw_window()
    probabilities[0] = [1.0, 0.0, 0.0, 0.0]
    adjusted = adjust(probabilities, affinity(embeddings))
    assert np.all(adjusted >= 0)
    np.testing.assert_allclose(adjusted.sum(axis=1), 1)


def test_without_similar_frames_nothing_changes() -> None:
    probabilities, embeddings = draw_window()
    np.testing.assert_allclose(adjust(probabilities, np.zeros((FRAMES, FRAMES))), probabilities)
    alone = lame(probabilities[:1], embeddings[:1], partial(nearest, neighbours=5))
    np.testing.assert_allclose(alone, probabilities[0])


@every_affinity
def test_the_order_of_the_frames_does_not_matter(affinity: Affinity) -> None:
    probabilities, embeddings = draw_window()
    order = np.random.default_rng(1).permutation(FRAMES)
    adjusted = adjust(probabilities, affinity(embeddings))
    permuted = adjust(probabilities[order], affinity(embeddings[order]))
    np.testing.assert_allclose(permuted, adjusted[order], atol=1e-9)


@every_affinity
def test_lengths_of_embeddings_do_not_matter(affinity: Affinity) -> None:
    _, embeddings = draw_window()
    lengths = np.random.default_rng(1).uniform(0.1, 10, (FRAMES, 1))
    np.testing.assert_allclose(affinity(lengths * embeddings), affinity(embeddings), atol=1e-9)


def test_it_minimises_the_objective_of_the_paper() -> None:
    """No assignment near the one found has a smaller objective, where the affinity is positive semi-definite."""
    probabilities, embeddings = draw_window()
    affinity = radial(embeddings, neighbours=5)

    def objective(assigned: NDArray[np.float64]) -> float:
        divergence = (assigned * np.log(assigned / probabilities)).sum()
        return float(divergence - 0.5 * np.einsum("ij,im,jm->", affinity, assigned, assigned))

    found = adjust(probabilities, affinity)
    generator = np.random.default_rng(2)
    others = [0.99 * found + 0.01 * generator.dirichlet(np.ones(LABELS), FRAMES) for _ in range(50)]
    assert objective(found) < objective(probabilities)
    assert all(objective(found) < objective(other) for other in others)


def test_a_frame_follows_those_it_resembles() -> None:
    """The last frame hesitates; it looks like the frames of the second label, which are not the last ones."""
    embeddings = np.array([[0, 1], [0.1, 1], [1, 0], [1, 0.1], [0.05, 1]], np.float64)
    probabilities = np.array([[0.1, 0.9], [0.1, 0.9], [0.9, 0.1], [0.9, 0.1], [0.5, 0.5]])
    assert lame(probabilities, embeddings, partial(nearest, neighbours=2))[1] > 0.8


def test_radial_affinity_of_two_directions() -> None:
    """At right angles, the distance is √2, which is as well the width of the Gaussian for the farther of two frames."""
    expected = np.exp(-0.5)
    affinity = radial(np.array([[3.0, 0.0], [0.0, 2.0]]), neighbours=2)
    np.testing.assert_allclose(affinity, [[1, expected], [expected, 1]])


def test_equal_frames_have_an_affinity() -> None:
    np.testing.assert_allclose(radial(np.ones((3, 2)), neighbours=2), np.ones((3, 3)), atol=1e-3)
    np.testing.assert_array_equal(nearest(np.ones((3, 2)), neighbours=5), 1 - np.eye(3))


def test_a_frame_is_adjusted_by_the_frames_before_it_alone() -> None:
    certain = np.eye(3, dtype=np.float32)[[0, 0, 1, 1, 2]]
    nothing = np.zeros(0, np.float32)
    predictions = [Prediction("a", 1.0, row, row, nothing, nothing.astype(np.uint8)) for row in certain]
    truth: list[str | None] = ["a", "a", "b", None, "c"]
    adjusted, microseconds = adjust_scan(Scan(predictions, truth), ("a", "b", "c"), Variant(3, average))
    expected = np.array([[3, 0, 0], [3, 0, 0], [2, 1, 0], [1, 2, 0], [0, 2, 1]]) / 3
    np.testing.assert_allclose(np.stack([each.probabilities for each in adjusted.predictions]), expected, rtol=1e-6)
    assert [each.label for each in adjusted.predictions] == ["a", "a", "a", "b", "b"]
    assert adjusted.predictions[2].confidence == pytest.approx(2 / 3)
    assert adjusted.truth == truth
    assert microseconds > 0


def test_a_quarter_of_the_temperature_sharpens_the_last_frame() -> None:
    logits = np.array([[9.0, 0.0, 0.0], [2.0, 0.0, -1.0]])
    powers = np.exp(logits)
    sharp = np.exp(4 * logits[-1])
    np.testing.assert_allclose(
        sharpen(powers / powers.sum(axis=1, keepdims=True), np.zeros((2, 0))), sharp / sharp.sum(), rtol=1e-9
    )


def test_the_table_has_means_and_spreads_of_what_is_known() -> None:
    scores = {"accuracy": 0.5, "precision": 1.0, "recall": 0.0, "false_per_minute": 0.0, "microseconds": 7.0}
    delays = (0.25, 0.75, None)
    rows = [
        {"variant": "nothing", "f1": f1, "seconds_to_detection": delay, **scores}
        for f1, delay in zip((0.1, 0.2, 0.3), delays, strict=True)
    ]
    line = next(line for line in table(rows).splitlines() if line.startswith("nothing"))
    assert "0.200 ± 0.100" in line
    assert "0.500 ± 0.354" in line
