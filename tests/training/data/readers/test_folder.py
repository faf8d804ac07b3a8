"""Folders of images as people keep them."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from metfa.runtime.errors import DataError, ProfileError
from metfa.runtime.imaging.preprocess import to_grey
from metfa.runtime.phantom import BACKGROUND, PLANES, Phantom, load_profile
from metfa.training.data.readers import list_domain
from metfa.training.data.readers.phantom import PHANTOM_IMAGES, TEST_SCANS

from .examples import picture, skipped, write


def summary(folder: Path) -> list[tuple[str, str | None, str | None, str | None]]:
    """Name inside the folder, label, split and group of every entry."""
    return [
        (str(Path(entry.medium.name).relative_to(folder)), entry.class_of(0), entry.split, entry.group)
        for entry in list_domain(str(folder)).entries
    ]


def test_class_folders_give_labels(tmp_path: Path) -> None:
    for name in ("b/2.png", "b/1.JPG", "a/3.tiff"):
        write(tmp_path / name)
    assert summary(tmp_path) == [
        ("a/3.tiff", "a", None, None),
        ("b/1.JPG", "b", None, None),
        ("b/2.png", "b", None, None),
    ]


def test_images_without_class_folders_have_no_labels(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / f"{number}.png", picture(number))
    listing = list_domain(str(tmp_path))
    assert [entry.label for entry in listing.entries] == [None] * 3
    for number, entry in enumerate(listing.entries):
        (image,) = entry.medium.read()
        assert (to_grey(image) == picture(number)).all()


@pytest.mark.parametrize("parts", [("train", "test"), ("train", "test", "val")])
@pytest.mark.parametrize("inside", ["{}.png", "4CH/{}.png"])
def test_a_folder_that_comes_split_stays_split(tmp_path: Path, parts: tuple[str, ...], inside: str) -> None:
    for part in parts:
        for number in range(2):
            write(tmp_path / part / inside.format(number))
    listed = summary(tmp_path)
    assert len(listed) == 2 * len(parts)
    for name, label, split, _ in listed:
        assert (Path(name).parts[0], label) == (split, "4CH" if "4CH" in inside else None)


def test_a_folder_inside_a_class_folder_is_a_patient_who_is_counted_not_named(tmp_path: Path) -> None:
    for name in ("4CH/Smith/1.png", "4CH/Smith/deep/2.png", "4CH/3.png", "Lips/Jones/4.png", "Lips/Smith/5.png"):
        write(tmp_path / name)
    assert {Path(name).stem: group for name, _, _, group in summary(tmp_path)} == {
        "1": "patient 1",
        "2": "patient 1",
        "3": None,
        "4": "patient 2",
        "5": "patient 1",
    }


def test_the_folders_of_an_exported_dicom_medium_are_no_classes(tmp_path: Path) -> None:
    (tmp_path / "DICOMDIR").write_bytes(b"")
    write(tmp_path / "PAT0/STU0/1.png")
    write(tmp_path / "PAT1/STU0/1.png")
    assert [label for _, label, _, _ in summary(tmp_path)] == [None, None]
    assert list_domain(str(tmp_path)).skipped == (), "DICOMDIR is no picture, and none is missing"


def test_what_is_no_image_is_skipped_and_listed(tmp_path: Path) -> None:
    write(tmp_path / "a" / "1.png")
    (tmp_path / "a" / "notes.txt").write_text("no image, recording or DICOM file")
    (tmp_path / "a" / "gone.png").symlink_to("nowhere.png")
    (tmp_path / "a" / "self.png").symlink_to("self.png")
    (tmp_path / "stray.txt").write_text("about these")
    (tmp_path / ".DS_Store").write_bytes(b"")
    os.mkfifo(tmp_path / "a" / "pipe.png")
    listing = list_domain(str(tmp_path))
    assert [entry.medium.name for entry in listing.entries] == [str(tmp_path / "a" / "1.png")]
    assert skipped(listing) == {
        str(tmp_path / "stray.txt"): "beside class folders",
        str(tmp_path / "a" / "notes.txt"): "no image, recording or DICOM file",
        str(tmp_path / "a" / "gone.png"): "No such file or directory",
        str(tmp_path / "a" / "self.png"): "Too many levels of symbolic links",
        str(tmp_path / "a" / "pipe.png"): "no file",
    }


@pytest.mark.parametrize("folder", [".", "a"])
@pytest.mark.parametrize(
    "name",
    [
        "readme.md",
        "README",
        "LICENSE.txt",
        "Licence",
        "CITATION.cff",
        "Thumbs.db",
        "desktop.ini",
        "SHA256SUMS",
        "a.md5",
    ],
)
def test_what_is_known_to_be_beside_the_pictures_is_left_alone(tmp_path: Path, folder: str, name: str) -> None:
    write(tmp_path / "a" / "1.png")
    (tmp_path / folder / name).write_text("no picture")
    assert list_domain(str(tmp_path)).skipped == ()


@pytest.mark.parametrize(
    "folder",
    ["lost+found", "__MACOSX", ".thumbnails", ".ipynb_checkpoints", "System Volume Information", "$RECYCLE.BIN"],
)
@pytest.mark.parametrize("inside", ["", "a", "a/patient"])
def test_the_folders_that_systems_leave_are_left_alone(tmp_path: Path, folder: str, inside: str) -> None:
    write(tmp_path / "a" / "patient" / "1.png")
    write(tmp_path / inside / folder / "2.png")
    assert summary(tmp_path) == [("a/patient/1.png", "a", None, "patient 1")]
    assert list_domain(str(tmp_path)).skipped == ()


def test_a_class_folder_of_which_nothing_can_be_used_tells_why(tmp_path: Path) -> None:
    write(tmp_path / "a" / "1.png")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "notes.txt").write_text("no picture")
    with pytest.raises(DataError, match=r"in .*/b, received none that can be used: .*notes\.txt is skipped .no image"):
        list_domain(str(tmp_path))


@pytest.mark.parametrize("name", ["", "table.csv", "1.png", "clip.avi"])
def test_every_form_can_be_named_without_its_labels(tmp_path: Path, name: str) -> None:
    write(tmp_path / "a" / "1.png")
    write(tmp_path / "1.png")
    (tmp_path / "clip.avi").write_bytes(b"not looked into")
    (tmp_path / "table.csv").write_text("path,label\na/1.png,a\n")
    entries = list_domain(f"{tmp_path / name}?label=none").entries
    assert entries
    assert {entry.label for entry in entries} == {None}


def test_the_phantom_can_be_named_without_its_labels() -> None:
    assert {entry.label for entry in list_domain("phantom:B?label=none").entries} == {None}


def test_a_picture_and_a_class_may_have_such_a_name(tmp_path: Path) -> None:
    write(tmp_path / "readme" / "license.png")
    assert summary(tmp_path) == [("readme/license.png", "readme", None, None)]


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / "1.png")
    data = tmp_path / "data"
    write(data / "a" / "p1" / "2.png")
    (data / "b").symlink_to(tmp_path / "elsewhere")
    (data / "up").symlink_to(data)
    (data / "a" / "p1" / "round").symlink_to(data / "a")
    listing = list_domain(str(data))
    assert [(Path(entry.medium.name).name, entry.label) for entry in listing.entries] == [
        ("2.png", "a"),
        ("1.png", "b"),
    ]
    assert skipped(listing) == {
        str(data / "up"): "a link back to a folder that holds it",
        str(data / "a" / "p1" / "round"): "a link back to a folder that holds it",
    }


def test_two_links_that_lead_to_each_other_end(tmp_path: Path) -> None:
    for one, other in ("ab", "ba"):
        write(tmp_path / one / "1.png")
        (tmp_path / one / "over").symlink_to(tmp_path / other)
    listing = list_domain(str(tmp_path))
    assert len(listing.entries) == 4
    assert len(listing.skipped) == 2


def test_names_of_no_encoding_are_printable(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff.png")
    (tmp_path / name).write_bytes(write(tmp_path / "source" / "1.png").read_bytes())
    (tmp_path / "source" / "1.png").unlink()
    (tmp_path / "source").rmdir()
    (entry,) = list_domain(str(tmp_path)).entries
    entry.medium.name.encode()
    assert entry.medium.identity()
    assert next(entry.medium.read()).shape == (24, 32)


def test_the_identity_changes_with_the_file(tmp_path: Path) -> None:
    write(tmp_path / "1.png", picture(0))
    before = [entry.medium.identity() for entry in list_domain(str(tmp_path)).entries]
    assert before == [entry.medium.identity() for entry in list_domain(str(tmp_path)).entries]
    write(tmp_path / "1.png", picture(1, 30, 40))
    assert before != [entry.medium.identity() for entry in list_domain(str(tmp_path)).entries]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", "expected a folder, a table .* received '.*missing', which is not there; check the path"),
        ("empty", "expected images, recordings or DICOM files in .*empty, received none;"),
        ("hollow", "expected images, .* in .*hollow/b, received none; add some, or remove the class folder"),
        ("texts", r"received none that can be used: .*texts/1.txt is skipped .no image.*, and so are 1 more;"),
        ("empty?ratio=2", "expected rate=… or label=none after .* received 'ratio'; did you mean 'rate'"),
        ("empty?rate=fast", "expected rate=FRAMES_PER_SECOND in .*, a positive number, received 'fast';"),
        ("empty?rate=0", "received '0';"),
        ("empty?rate=1&rate=2", "received '1' and '2';"),
    ],
)
def test_bad_folders_are_refused(tmp_path: Path, name: str, message: str) -> None:
    write(tmp_path / "hollow" / "a" / "1.png")
    for folder in ("empty", "hollow/b", "texts"):
        (tmp_path / folder).mkdir()
    for number in (1, 2):
        (tmp_path / "texts" / f"{number}.txt").write_text("no image, recording or DICOM file")
    with pytest.raises(DataError, match=message):
        list_domain(str(tmp_path / name))


def test_one_image_is_a_domain(tmp_path: Path) -> None:
    (entry,) = list_domain(str(write(tmp_path / "1.png"))).entries
    assert (entry.label, entry.split, entry.group, entry.region) == (None, None, None, None)


def test_a_phantom_has_every_plane_and_background_in_both_splits_with_no_picture_twice() -> None:
    listing = list_domain("phantom:A")
    identities = {entry.medium.identity() for entry in listing.entries}
    assert len(identities) == len(listing.entries) == sum(PHANTOM_IMAGES.values()) * (len(PLANES) + 2)
    for split, count in PHANTOM_IMAGES.items():
        for plane, wanted in {**dict.fromkeys(PLANES, count), BACKGROUND: 2 * count}.items():
            assert sum((entry.split, entry.label) == (split, plane) for entry in listing.entries) == wanted
    (frame,) = listing.entries[0].medium.read()
    assert isinstance(frame, np.ndarray)
    assert frame.dtype == np.uint8
    assert frame.shape == (480, 640)


def test_scans_of_a_phantom_are_unlabelled_but_those_that_are_for_testing() -> None:
    """What is trained on has no truth that could reach training; each scan is a group of its own."""
    listing = list_domain("phantom:B?scans=3")
    assert [entry.label is None for entry in listing.entries] == [entry.split == "train" for entry in listing.entries]
    assert [entry.split for entry in listing.entries] == ["train"] * 3 + ["test"] * TEST_SCANS
    assert listing.classes == {*PLANES, BACKGROUND}
    for each in ({entry.group for entry in listing.entries}, {entry.medium.identity() for entry in listing.entries}):
        assert len(each) == 3 + TEST_SCANS
    assert list_domain("phantom:B?scans=3&label=none").classes == set()


def test_a_scan_knows_what_each_of_its_frames_shows() -> None:
    """Every ninth frame of 45 s, as they come."""
    last = list_domain("phantom:B?scans=2").entries[-1]
    phantom = Phantom(load_profile("B"))
    seed = int(last.medium.name.rpartition(" ")[2])
    assert seed not in {*range(500, 506), *range(600, 606)}, "those are for the benchmarks of decisions"
    assert last.label == tuple(islice(phantom.planes(seed), 0, 45 * 30, 9))
    frames = list(islice(last.medium.read(), 3))
    for frame, (expected, _) in zip(frames, phantom.scan(seed, every=9), strict=False):
        np.testing.assert_array_equal(frame, expected)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("phantom:A?rate=2", "expected scans=… or label=none after"),
        ("phantom:B?scans=1", "expected scans=NUMBER in .*, a whole number from 2 on, received '1'; give for example"),
        ("phantom:B?scans=many", "received 'many';"),
        ("phantom:B?scans=-3", "received '-3';"),
        ("phantom:B?scans=", "received '';"),
        ("phantom:B?scans=1234567", "received '1234567';"),
        ("phantom:B?scans=3&scans=4", "received '3' and '4';"),
    ],
)
def test_bad_options_of_a_phantom_are_refused(name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        list_domain(name)


def test_there_is_no_phantom_z() -> None:
    with pytest.raises(ProfileError, match="Z"):
        list_domain("phantom:Z")
