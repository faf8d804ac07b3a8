"""Frames are prepared once, as the edge would prepare them, and found again."""

from pathlib import Path

import numpy as np
import pytest

from metfa.runtime.contract import Region
from metfa.runtime.errors import SourceError
from metfa.runtime.images import read_image
from metfa.runtime.preprocess import preprocess
from metfa.training.data import domain as domains
from metfa.training.data import store as stores
from metfa.training.data.domain import FilePicture, read_domain
from metfa.training.data.store import UNLABELLED, load_store

from .conftest import LABELS


def test_the_store_holds_what_the_edge_would_see(source: Path) -> None:
    domain = read_domain(str(source), seed=0, by_class=True)
    region = Region(4, 4, 50, 40)
    store = load_store(domain, "test", domain.labels, height=28, width=30, region=region)
    items = [item for item in domain.items if item.split == "test"]
    for item, frame, label in zip(items, store.frames, store.labels, strict=True):
        assert isinstance(item.picture, FilePicture)
        expected = preprocess(read_image(item.picture.path), height=28, width=30, region=region)
        assert (frame == expected).all()
        assert domain.labels[label] == item.label


def test_the_second_run_decodes_nothing(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    domain = read_domain(str(source), seed=0, by_class=True)
    first = load_store(domain, "train", domain.labels, height=28, width=28, region=None)

    def refuse(path: Path) -> None:
        raise AssertionError(path)

    monkeypatch.setattr(domains, "read_image", refuse)
    second = load_store(domain, "train", domain.labels, height=28, width=28, region=None)
    assert (first.frames == second.frames).all()


def test_a_changed_picture_or_size_is_prepared_anew(source: Path, cache: Path) -> None:
    domain = read_domain(str(source), seed=0, by_class=True)

    def prepare(size: int) -> int:
        load_store(domain, "train", domain.labels, height=size, width=size, region=None)
        return len(list(cache.iterdir()))

    assert prepare(28) == 1
    assert prepare(29) == 2
    picture = next(item.picture for item in domain.items if item.split == "train")
    assert isinstance(picture, FilePicture)
    picture.path.write_bytes(next((source / LABELS[0]).iterdir()).read_bytes() + b"\0")
    assert prepare(28) == 3


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY"], ids=["empty", "truncated"])
def test_a_damaged_cache_is_filled_again(source: Path, cache: Path, content: bytes) -> None:
    domain = read_domain(str(source), seed=0, by_class=True)
    first = load_store(domain, "train", domain.labels, height=28, width=28, region=None)
    next(cache.iterdir()).write_bytes(content)
    second = load_store(domain, "train", domain.labels, height=28, width=28, region=None)
    assert (first.frames == second.frames).all()


def test_large_stores_stay_on_disk(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "IN_MEMORY_BYTES", 0)
    domain = read_domain(str(source), seed=0, by_class=True)
    store = load_store(domain, "train", domain.labels, height=28, width=28, region=None)
    assert isinstance(store.frames, np.memmap)


def test_an_unlabelled_domain_has_no_labels(source: Path) -> None:
    domain = read_domain(str(source / LABELS[0]), seed=0, by_class=True)
    store = load_store(domain, "train", LABELS, height=28, width=28, region=None)
    assert set(store.labels) == {UNLABELLED}


@pytest.mark.parametrize("content", [b"", b"no image", None], ids=["empty", "text", "truncated"])
def test_a_bad_picture_is_named_and_leaves_nothing_in_the_cache(
    source: Path, cache: Path, content: bytes | None
) -> None:
    bad = source / LABELS[0] / "000.png"
    bad.write_bytes(bad.read_bytes()[:200] if content is None else content)
    domain = read_domain(str(source), seed=0, by_class=True)
    split = next(item.split for item in domain.items if item.picture == FilePicture(bad))
    assert split is not None
    with pytest.raises(SourceError, match=r"000\.png"):
        load_store(domain, split, domain.labels, height=28, width=28, region=None)
    assert list(cache.iterdir()) == []
