"""From what users name to pictures, labels and splits."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from metfa.runtime.errors import MetfaError
from metfa.runtime.phantom import PLANES
from metfa.training.data.domain import PHANTOM_IMAGES, FilePicture, read_domain

from .conftest import LABELS, write_classes


def test_class_folders_are_labelled_and_split_by_class(source: Path) -> None:
    domain = read_domain(str(source), seed=0, by_class=True)
    assert domain.labels == tuple(sorted(LABELS))
    for label in LABELS:
        splits = [item.split for item in domain.items if item.label == label]
        assert (splits.count("train"), splits.count("val"), splits.count("test")) == (5, 1, 2)


def test_the_split_depends_on_the_seed_alone(source: Path) -> None:
    assert read_domain(str(source), seed=1, by_class=True) == read_domain(str(source), seed=1, by_class=True)
    assert read_domain(str(source), seed=1, by_class=True) != read_domain(str(source), seed=2, by_class=True)


def test_a_folder_of_images_is_unlabelled(source: Path) -> None:
    domain = read_domain(str(source / LABELS[0]), seed=0, by_class=True)
    assert domain.labels == ()
    assert {item.split for item in domain.items} == {"train", "val", "test"}


def test_a_folder_that_comes_split_keeps_its_split(tmp_path: Path) -> None:
    for split, count in (("train", 4), ("test", 3), ("val", 2)):
        write_classes(tmp_path / "digits" / split, count, 200)
    items = read_domain(str(tmp_path / "digits"), seed=0, by_class=True).items
    for item in items:
        assert isinstance(item.picture, FilePicture)
        assert item.picture.path.parents[1].name == item.split
    assert len(items) == 9 * len(LABELS)


def test_a_phantom_has_every_plane_in_both_splits_with_no_picture_twice() -> None:
    items = read_domain("phantom:A", seed=0, by_class=True).items
    assert len({item.picture for item in items}) == len(items) == sum(PHANTOM_IMAGES.values()) * len(PLANES)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", "expected a folder of images, a manifest .* received 'missing', which is not there"),
        ("file.png", "which is a file"),
        ("empty", "expected images"),
        ("hollow", "hollow/b, received none"),
        ("single", "at least 2 images"),
        ("phantom:Z", "Z"),
    ],
)
def test_bad_domains_are_refused(tmp_path: Path, name: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pixel = np.zeros((30, 30), np.uint8)
    for path in ("file.png", "hollow/a/1.png", "single/a/1.png"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(path, pixel)
    for path in ("empty", "hollow/b"):
        (tmp_path / path).mkdir()
    with pytest.raises(MetfaError, match=message):
        read_domain(name, seed=0, by_class=True)
