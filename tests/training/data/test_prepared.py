"""Domains: what is skipped, what belongs together, and that no split divides it."""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.training.data.media import Bad, Held, picture, varied

from metfa.runtime.bundle.contract import Region
from metfa.runtime.errors import DataError
from metfa.training.data.cache import Prepared
from metfa.training.data.decoding import DIGEST_BYTES, Preparation, digest
from metfa.training.data.groups import join
from metfa.training.data.listing import Listing, Skipped
from metfa.training.data.prepared import PreparedDomain, read_domain
from metfa.training.data.readers import list_domain
from metfa.training.data.store import UNLABELLED, Rows

from ..conftest import LABELS, draw
from .domains import SMALL, domain, entry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from metfa.training.data.listing import Split


def test_what_cannot_be_used_is_skipped_and_listed() -> None:
    names = ("damaged", "crash", "wrong", "gone")
    whole = [entry(seed, "a") for seed in range(4)]
    bad = [entry(Bad(name), "b") for name in names]
    usable = domain([*whole[:2], *bad, *whole[2:]], skipped=(Skipped("notes.txt", "no image"),))
    assert usable.labels == ("a",) * 4
    assert {each.name: each.reason for each in usable.skipped} == {
        "notes.txt": "no image",
        "gone": "No such file or directory",
        "damaged": "a truncated file",
        "crash": "its decoder crashed",
        "wrong": "MemoryError while it was decoded",
    }


@pytest.mark.parametrize(
    ("bad", "skipped"), [([Bad("damaged")], ()), ([Bad("gone")], ()), ([], (Skipped("damaged", "no image"),))]
)
def test_a_strict_run_skips_nothing(bad: list[Bad], skipped: tuple[Skipped, ...]) -> None:
    entries = [entry(0), *map(entry, bad)]
    with pytest.raises(DataError, match=r"every file of B to be usable, as --strict asks, received (damaged|gone): "):
        domain(entries, skipped=skipped, strict=True)
    domain([entry(0)], strict=True)


def test_a_domain_of_which_nothing_can_be_used_is_refused() -> None:
    with pytest.raises(DataError, match=r"images in B that can be used, received none \(gone: No such .*, and 1 more"):
        domain([entry(Bad("damaged")), entry(Bad("gone"))])
    with pytest.raises(DataError, match=r"none \(0.png: 50x40 pixels, beyond which the region 0,0,60,40 reaches"):
        domain([entry(0)], preparation=Preparation(28, 30, Region(0, 0, 60, 40)))


def test_pictures_of_one_medium_have_the_classes_that_it_tells_one_after_another() -> None:
    """Whatever their order, by digest; a scan without labels beside it has none, and is fit for a target alone."""
    scans = [Held(f"scan {n}", tuple(picture(10 * n + k) for k in range(6))) for n in range(2)]
    truth = ("a", "b", "c", "b", "a", "c")
    of_scans = domain([entry(scans[0], None, split="train"), entry(scans[1], truth, split="test")])
    expected = dict(zip((digest(image) for image in scans[1].pictures), truth, strict=True))
    labels = dict(zip((row.tobytes() for row in of_scans.pictures.digests), of_scans.labels, strict=True))
    assert labels == dict.fromkeys(map(digest, scans[0].pictures)) | expected
    assert {label for label, part in zip(of_scans.labels, of_scans.splits, strict=True) if part == "train"} == {None}
    with pytest.raises(DataError, match=r"a label for every image of B, or for none, received 6 of 12 without;"):
        of_scans.divide(0, by_class=True)


def parts(of: PreparedDomain, groups: Sequence[int]) -> list[set[Split | None]]:
    found: dict[int, set[Split | None]] = defaultdict(set)
    for group, part in zip(groups, of.splits, strict=True):
        found[group].add(part)
    return list(found.values())


def test_patients_recordings_and_near_duplicates_are_not_divided() -> None:
    recordings = [Held(f"cine {n}", tuple(picture(100 * n + k) for k in range(3))) for n in range(1, 8)]
    entries = [entry(each, label, group=None) for each in recordings for label in ("a",)]
    entries += [entry(1000 + n, "ab"[n % 2], group=f"patient {n // 4}") for n in range(24)]
    alike = [Held(f"{n}.png", (varied(picture(2000 + n // 3), n),)) for n in range(30)]
    entries += [entry(each, "b") for each in alike]
    # One picture of a patient is found again, without his number, in a recording.
    entries.append(entry(Held("found", (varied(picture(1000), 1), picture(3000))), "a"))
    whole = domain(entries)
    assert len(set(whole.groups.tolist())) == 7 + 6 + 10
    for seed in range(5):
        divided = whole.divide(seed, by_class=True)
        assert all(len(each) == 1 for each in parts(divided, whole.groups.tolist()))
        assert set(divided.splits) == {"train", "val", "test"}


def in_memory(
    media: Sequence[int], groups: Sequence[str | None], duplicates: Sequence[int], labels: Sequence[str]
) -> PreparedDomain:
    """A domain without pictures."""
    count = len(media)
    arrays = np.arange(count), np.zeros((count, DIGEST_BYTES), np.uint8), np.array(media), np.arange(count)
    pictures = Prepared(
        Rows(np.zeros((count, 1, 1, 1), np.uint8), arrays[0]),
        arrays[1],
        arrays[2],
        arrays[3],
        np.zeros((count, 4), np.int64),
        np.array(duplicates),
        {},
    )
    return PreparedDomain(
        "B",
        (),
        pictures,
        tuple(labels),
        (None,) * count,
        join(list(groups), list(media), list(duplicates)),
        (),
    )


rows = st.lists(
    st.tuples(
        st.integers(0, 30),
        st.one_of(st.none(), st.sampled_from([f"patient {n}" for n in range(10)])),
        st.integers(0, 30),
        st.sampled_from("ab"),
    ),
    min_size=1,
    max_size=60,
)


@given(rows, st.integers(0, 2**32 - 1), st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_group_crosses_a_split(drawn: list[tuple[int, str | None, int, str]], seed: int, by_class: bool) -> None:
    whole = in_memory(*zip(*drawn, strict=True))
    try:
        divided = whole.divide(seed, by_class=by_class)
    except DataError:
        return
    kinds: list[Sequence[object]] = [whole.pictures.duplicates.tolist()]
    if not divided.divides_recordings:
        kinds += [[media for media, *_ in drawn], [patient for _, patient, *_ in drawn]]
    for keys in kinds:
        found: dict[object, set[Split | None]] = defaultdict(set)
        for key, part in zip(keys, divided.splits, strict=True):
            if key is not None:
                found[key].add(part)
        assert all(len(each) == 1 for each in found.values())
    assert not (divided.divides_recordings and by_class)


def test_a_target_that_is_one_recording_is_divided_and_a_source_is_not() -> None:
    images = [picture(n // 2) if n % 2 else varied(picture(n // 2), n) for n in range(40)]
    recording = domain([entry(Held("cine", tuple(images)), "a")])
    divided = recording.divide(0, by_class=False)
    assert divided.divides_recordings
    assert set(divided.splits) == {"train", "val", "test"}
    assert all(len(each) == 1 for each in parts(divided, recording.pictures.duplicates.tolist()))
    with pytest.raises(DataError, match="at least 2 images, or patients, in B, class a"):
        recording.divide(0, by_class=True)


def test_file_names_and_classes_decide_nothing(tmp_path: Path, source: Path) -> None:
    """The same pictures under other names, in another order, are the same domain to whoever may not see labels."""
    shuffled = np.random.default_rng(0).permutation(24)
    for number, path in zip(shuffled, sorted(source.rglob("*.png")), strict=True):
        folder = tmp_path / "other" / LABELS[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / f"{number}.png")
    one, other = (
        read_domain(list_domain(str(folder)), SMALL).divide(3, by_class=False)
        for folder in (source, tmp_path / "other")
    )
    assert one.splits == other.splits
    assert (one.pictures.digests == other.pictures.digests).all()
    assert (one.pictures.frames[:] == other.pictures.frames[:]).all()
    assert one.labels != other.labels


def test_labels_become_the_indices_of_the_classes_that_are_asked_for(source: Path) -> None:
    whole = read_domain(list_domain(str(source)), SMALL)
    assert whole.classes == tuple(sorted(LABELS))
    divided = whole.divide(0, by_class=True)
    for part, count in (("train", 15), ("val", 3), ("test", 6)):
        store = divided.store(divided.rows(part), LABELS)  # type: ignore[arg-type]
        assert len(store.frames) == count
        for frame, label in zip(store.frames[:], store.labels, strict=True):
            seen = [draw(LABELS[label], seed, 230) for seed in range(8)]
            assert any((frame == prepared_frame(each)).all() for each in seen)
    single = read_domain(list_domain(str(source / LABELS[0])), SMALL)
    assert single.classes == ()
    assert set(single.store(np.arange(8), LABELS).labels) == {UNLABELLED}


def prepared_frame(image: np.ndarray) -> np.ndarray:
    from metfa.runtime.imaging.preprocess import preprocess

    return preprocess(image, height=SMALL.height, width=SMALL.width)


def test_labels_for_some_are_refused_where_they_may_decide() -> None:
    some = domain([entry(0, "a"), entry(1), entry(2, "a")])
    with pytest.raises(DataError, match="a label for every image of B, or for none, received 1 of 3 without"):
        some.divide(0, by_class=True)
    assert set(some.divide(0, by_class=False).splits) == {"train", "val", "test"}


def test_a_domain_may_be_empty_but_for_what_is_skipped() -> None:
    with pytest.raises(DataError, match=r"received none \(a: b\)"):
        read_domain(Listing("B", (), (Skipped("a", "b"),)), SMALL)


@pytest.mark.skipif("METFA_DATA" not in os.environ, reason="METFA_DATA does not name the folder of real data")
def test_a_volunteer_under_several_names_is_one_group() -> None:
    """In the organs, five recordings of one leg are listed as five patients; their pictures betray it."""
    table = Path(os.environ["METFA_DATA"], "ultrasound", "organs", "manifest.csv")
    listing = list_domain(f"{table}?domain=B&label=muscle")
    whole = read_domain(listing, Preparation(64, 64, "auto"))
    known = {entry.group for entry in listing.entries}
    assert len(set(whole.groups.tolist())) < len(known)


@pytest.mark.parametrize("label", ["", "x" * 65, "plane\x1b[2J", "plane\n2"])
def test_a_class_whose_name_cannot_be_shown_is_refused_before_decoding(label: str) -> None:
    with pytest.raises(
        DataError, match="with names of 1 to 64 characters, none of which controls a terminal"
    ) as refusal:
        domain([entry(Bad("never read"), label), entry(1, "x" * 64)])
    assert str(refusal.value).isprintable()
