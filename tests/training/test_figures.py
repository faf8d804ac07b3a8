from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure

from metfa.runtime.errors import OutputError
from metfa.training.evaluation.figures import (
    class_colours,
    draw_confusion,
    draw_embedding,
    draw_rejection,
    draw_reliability,
    save_figure,
    tsne,
)
from metfa.training.evaluation.scores import calibration, rejection_curve

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

NAMES = ("4CH", "$x", "_private", "脊柱")
"""Names that Matplotlib would take for a formula, leave out of a legend or warn of."""


@pytest.fixture
def axes() -> Axes:
    return Figure(layout="constrained").subplots()


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_a_confusion_matrix_shows_counts_above_zero_by_true_class(axes: Axes) -> None:
    draw_confusion(axes, [[3, 1], [0, 5]], ["a", "b"], "title")
    assert [(text.get_position(), text.get_text()) for text in axes.texts] == [
        ((0, 0), "3"),
        ((1, 0), "1"),
        ((1, 1), "5"),
    ]
    assert np.array_equal(axes.images[0].get_array(), [[0.75, 0.25], [0, 1]])  # type: ignore[arg-type]
    assert axes.get_title(loc="left") == "title"


def test_a_class_without_frames_is_a_blank_row(axes: Axes) -> None:
    draw_confusion(axes, [[0, 0], [0, 2]], ["a", "b"], "")
    assert texts(axes) == ["2"]


def test_every_name_is_drawn_as_it_is(axes: Axes, tmp_path: Path) -> None:
    draw_confusion(axes, np.eye(4, dtype=int).tolist(), NAMES, "costs $5 or $x")
    beside = Figure(layout="constrained").subplots()
    draw_embedding(beside, np.eye(4)[:, :2], np.arange(4), ["$S$", "$S$", "T", "T"], NAMES, "$")
    legend = beside.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [*NAMES, "", "$S$", "T"]
    for number, drawn in enumerate((axes, beside)):
        save_figure(drawn.get_figure(root=True), tmp_path / str(number))  # type: ignore[arg-type]


def test_an_embedding_of_one_domain_names_the_classes_it_shows(axes: Axes) -> None:
    draw_embedding(axes, np.zeros((3, 2)), np.array([2, 0, 2]), ["T"] * 3, NAMES, "")
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [NAMES[0], NAMES[2]]


def test_bars_are_accuracies_and_numbers_are_frames(axes: Axes) -> None:
    confidence, correct = np.array([0.95, 0.96, 0.97, 0.5]), np.array([True, True, False, False])
    draw_reliability(axes, calibration(confidence, correct), "")
    assert [bar.get_height() for bar in axes.patches] == pytest.approx([0, 2 / 3])  # type: ignore[attr-defined]
    assert texts(axes) == ["1", "3"]


def test_the_rejection_curve_begins_with_the_accuracy_of_all(axes: Axes) -> None:
    draw_rejection(axes, rejection_curve(np.array([0.2, 0.6, 0.9, 0.99]), np.array([False, True, True, True])), "")
    assert axes.lines[0].get_xydata() == pytest.approx(np.array([[0, 0.75], [0.25, 1], [0.5, 1], [0.75, 1]]))
    assert texts(axes) == ["75% with every image answered"]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 40])
@pytest.mark.parametrize("dimensions", [1, 2, 16])
@pytest.mark.parametrize("kind", ["different", "all the same", "all the same but one"])
def test_any_number_of_embeddings_is_laid_out(count: int, dimensions: int, kind: str) -> None:
    embeddings = np.ones((count, dimensions), np.float32)
    if kind == "different":
        embeddings = np.random.default_rng(0).normal(size=(count, dimensions)).astype(np.float32)
    elif kind == "all the same but one":
        embeddings[0] = 0
    points = tsne(embeddings, seed=0)
    assert points.shape == (count, 2)
    assert np.isfinite(points).all()


def test_near_embeddings_stay_near_and_the_seed_decides() -> None:
    generator = np.random.default_rng(0)
    embeddings = np.concatenate([generator.normal(centre, 0.1, (20, 8)) for centre in (0, 5)]).astype(np.float32)
    points = tsne(embeddings, seed=0)
    assert np.array_equal(points, tsne(embeddings, seed=0))
    first, second = points[:20], points[20:]
    assert np.linalg.norm(first.mean(0) - second.mean(0)) > 2 * max(first.std(), second.std())


def test_no_two_classes_share_a_colour_up_to_fourteen() -> None:
    assert len(set(class_colours(14))) == 14
    assert len(class_colours(30)) == 30


def test_a_figure_is_saved_to_the_same_bytes(axes: Axes, tmp_path: Path) -> None:
    draw_confusion(axes, [[3, 1], [0, 5]], ["a", "b"], "title")
    figure = axes.get_figure(root=True)
    assert figure is not None
    saved = [save_figure(figure, tmp_path / name / "picture 1.0") for name in ("one", "two")]
    for one, two in zip(*saved, strict=True):
        assert one.read_bytes() == two.read_bytes()
    png, svg = saved[0]
    assert (png.name, svg.name) == ("picture 1.0.png", "picture 1.0.svg")
    assert cv2.imread(str(png)) is not None
    assert ET.parse(svg).getroot().tag.endswith("svg")
    assert sorted(path.name for path in png.parent.iterdir()) == [png.name, svg.name]


def test_a_place_that_cannot_be_written_is_refused(axes: Axes, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    figure = axes.get_figure(root=True)
    assert figure is not None
    with pytest.raises(OutputError, match="expected to be able to write"):
        save_figure(figure, tmp_path / "file" / "picture")
