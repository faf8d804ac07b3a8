"""Manifests: tables as people and their programs write them."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from metfa.runtime.bundle import Bundle
from metfa.runtime.errors import DataError, MetfaError
from metfa.training.cli.train import main
from metfa.training.data.domain import Domain, FilePicture, read_domain, read_items
from metfa.training.data.manifest import is_manifest, read_manifest
from metfa.training.evaluation.held_out import read_held_out
from metfa.training.train import EVALUATION

from .conftest import LABELS, write_classes

if TYPE_CHECKING:
    from pathlib import Path

TABLE = """path,label,device,patient,split
a/1.png,blob,EPIQ,p1,train
a/2.png,ring,EPIQ,p2,test
b/1.png,blob,Voluson,p1,train
"""
PATHS = ("a/1.png", "a/2.png", "b/1.png")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with pictures beside the manifest, which is not the current directory."""
    pictures = write_classes(tmp_path / "pictures", 1, 200) / "blob" / "000.png"
    folder = tmp_path / "data"
    for path in PATHS:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(pictures, folder / path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    return folder


def write(folder: Path, content: str | bytes, name: str = "manifest.csv") -> str:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def test_every_row_is_a_picture_beside_the_manifest(folder: Path) -> None:
    items = read_items(write(folder, TABLE))
    assert [item.picture for item in items] == [FilePicture(folder / path) for path in PATHS]
    assert [item.label for item in items] == ["blob", "ring", "blob"]
    assert [item.group for item in items] == ["p1", "p2", "p1"]
    assert [item.split for item in items] == ["train", "test", "train"]


@pytest.mark.parametrize(
    ("query", "paths"),
    [
        ("?device=EPIQ", PATHS[:2]),
        ("?device=EPIQ&split=train", PATHS[:1]),
        ("?patient=p1", (PATHS[0], PATHS[2])),
        ("?", PATHS),
        ("?path=a%2F1.png", PATHS[:1]),
    ],
)
def test_a_filter_keeps_the_rows_that_match(folder: Path, query: str, paths: tuple[str, ...]) -> None:
    assert [row["path"] for row in read_manifest(write(folder, TABLE) + query)] == list(paths)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("manifest.csv", TABLE),
        ("MANIFEST.CSV", TABLE),
        ("manifest.csv", "\ufeff" + TABLE),
        ("manifest.csv", TABLE.replace("\n", "\r\n")),
        ("manifest.csv", ("\ufeff" + TABLE).replace("\n", "\r\n")),
        ("manifest.csv", TABLE.rstrip("\n")),
        ("manifest.csv", TABLE.replace("\n", "\n\n")),
        ("manifest.csv", TABLE.replace(",", " , ")),
        ("manifest.csv", '"' + TABLE.rstrip("\n").replace(",", '","').replace("\n", '"\n"') + '"\n'),
        ("manifest.tsv", TABLE.replace(",", "\t")),
        ("manifest.tsv", ("\ufeff" + TABLE).replace(",", "\t").replace("\n", "\r\n")),
    ],
    ids=[
        "plain",
        "capitals",
        "BOM",
        "Windows line ends",
        "as Excel saves it",
        "no last line end",
        "blank lines",
        "blanks around cells",
        "quoted",
        "TSV",
        "TSV from Windows",
    ],
)
def test_tables_of_many_hands_are_the_same(folder: Path, name: str, content: str) -> None:
    expected = read_items(write(folder, TABLE, "plain.csv") + "?device=EPIQ")
    assert read_items(write(folder, content, name) + "?device=EPIQ") == expected


def test_quoted_cells_hold_separators_quotes_and_letters_of_any_alphabet(folder: Path) -> None:
    (folder / 'a, "b".png').write_bytes(b"")
    items = read_items(write(folder, 'path,label\n"a, ""b"".png","4CH, Blick von unten — 四腔"\n'))
    assert [(item.picture, item.label) for item in items] == [
        (FilePicture(folder / 'a, "b".png'), "4CH, Blick von unten — 四腔")
    ]


def test_absolute_paths_are_taken_as_they_are(folder: Path, tmp_path: Path) -> None:
    picture = tmp_path / "pictures" / "blob" / "000.png"
    assert [item.picture for item in read_items(write(folder, f"path\n{picture}\n"))] == [FilePicture(picture)]


@pytest.mark.parametrize(
    "content",
    ["path\na/1.png\na/2.png\n", "path,label,split,patient\na/1.png,,,\na/2.png\n"],
    ids=["no columns", "empty cells, and a row cut short"],
)
def test_what_a_table_does_not_say_is_not_known(folder: Path, content: str) -> None:
    items = read_items(write(folder, content))
    assert [(item.label, item.split, item.group) for item in items] == [(None, None, None)] * 2
    domain = read_domain(write(folder, content), seed=0, by_class=False)
    assert domain.labels == ()
    assert {item.split for item in domain.items} == {"train", "test"}


def test_patients_are_not_divided(folder: Path) -> None:
    rows = [f"a/1.png,{label},p{patient}" for patient in range(6) for label in ("x", "y") for _ in range(3)]
    domain = read_domain(write(folder, "\n".join(["path,label,patient", *rows])), seed=0, by_class=True)
    assert len({(item.group, item.split) for item in domain.items}) == 6
    assert {(item.label, item.split) for item in domain.items} >= {(a, b) for a in "xy" for b in ("train", "test")}


@pytest.mark.parametrize(
    ("content", "query", "message"),
    [
        ("", "", "expected a column 'path' in .*manifest.csv, received the columns of an empty file;"),
        ("file,label\na/1.png,x\n", "", "expected a column 'path' in .*, received the columns file, label;"),
        ("path;label\na/1.png;x\n", "", "expected a column 'path' in .*, received the columns path;label;"),
        (TABLE, "?vendor=GE", "expected a column 'vendor' in .*, received the columns path, label, device"),
        (TABLE, "?device=GE", "expected rows in .*manifest.csv.device=GE, received none;"),
        ("path,label\n", "", "expected rows in .*, received none;"),
        ("path,split\na/1.png,training\n", "", "expected one of train, val, test in .*, received 'training';"),
        ("path\na/3.png\n", "", "expected the image 'a/3.png' that .* names, received nothing at"),
        ("path\na\n", "", "expected the image 'a' that .* names, received nothing at"),
        ("path,label\n,x\n", "", "expected the image '' that .* names, received nothing at"),
        ("path\nä.png\n".encode("latin-1"), "", "expected a table in UTF-8 in .*manifest.csv, received"),
        (b"\xff\xfep\x00a\x00t\x00h\x00", "", "expected a table in UTF-8 in .*manifest.csv, received"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "", "expected a table in UTF-8 in .*manifest.csv, received"),
    ],
    ids=[
        "empty file",
        "missing column",
        "other separator",
        "filter of no column",
        "filter of no row",
        "no rows",
        "unknown split",
        "missing image",
        "a folder",
        "empty path",
        "Latin-1",
        "UTF-16",
        "a picture",
    ],
)
def test_bad_manifests_are_refused(folder: Path, content: str | bytes, query: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_items(write(folder, content) + query)


@pytest.mark.parametrize("name", ["nowhere.csv", "a.csv"], ids=["missing", "a folder"])
def test_a_manifest_that_cannot_be_read_is_named(folder: Path, name: str) -> None:
    (folder / "a.csv").mkdir()
    with pytest.raises(MetfaError, match=name):
        read_items(str(folder / name))


@pytest.mark.parametrize(
    ("specification", "expected"),
    [
        ("m.csv", True),
        ("M.TSV", True),
        ("m.csv?a=b.c", True),
        ("folder", False),
        ("a.csv/b", False),
        ("x?y.csv", False),
    ],
)
def test_what_is_a_manifest(specification: str, expected: bool) -> None:
    assert is_manifest(specification) == expected


@pytest.fixture
def mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two devices in one table."""
    rows = ["path,label,device"]
    for device, brightness in (("A", 230), ("B", 120)):
        write_classes(tmp_path / device, 8, brightness)
        rows += [
            f"{device}/{label}/{number:03}.png,{label},{device}" for label in sorted(LABELS) for number in range(8)
        ]
    (tmp_path / "manifest.csv").write_text("\n".join(rows))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(*arguments: str) -> str:
    small = [
        "--input-size",
        "28x28",
        "--preset",
        "small",
        "--steps",
        "4",
        "--images-per-class",
        "2",
        "--candidates",
        "2",
    ]
    result = CliRunner().invoke(main, [*small, "--device", "cpu", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_two_devices_of_one_table_become_the_bundle_that_their_folders_do(mixed: Path) -> None:
    names = [f"manifest.csv?device={device}" for device in ("A", "B")]
    output = train("--source", names[0], "--target", names[1], "--bundle", "of-table")
    assert "target manifest.csv?device=B: F1" in output
    train("--source", "A", "--target", "B", "--bundle", "of-folders")
    for file in ("model.safetensors", "reference.safetensors", EVALUATION):
        assert (mixed / "of-table" / file).read_bytes() == (mixed / "of-folders" / file).read_bytes()
    bundle = Bundle.open(mixed / "of-table")
    assert (bundle.contract.provenance.source, bundle.contract.provenance.target) == tuple(names)
    held_out = [read_held_out(bundle, name) for name in names]
    assert [(each.split, len(each.store.labels)) for each in held_out] == [("test", 6), ("test", 6)]


def test_a_target_with_some_labels_is_scored_on_them(mixed: Path) -> None:
    domain: Domain = read_domain("B", seed=0, by_class=False)
    tested = [item for item in domain.items if item.split == "test"]
    lines = (mixed / "manifest.csv").read_text().splitlines()
    kept = {f"{item.picture.path}" for item in tested[:4] if isinstance(item.picture, FilePicture)}
    kept |= {f"B/{label}/{number:03}.png" for label in LABELS for number in range(2)}
    for number, line in enumerate(lines):
        path, _, device = line.split(",")
        if device == "B" and path not in kept:
            lines[number] = f"{path},,{device}"
    (mixed / "some.csv").write_text("\n".join(lines))
    output = train("--source", "some.csv?device=A", "--target", "some.csv?device=B", "--bundle", "bundle")
    labelled = sum(f"{item.picture.path}" in kept for item in tested if isinstance(item.picture, FilePicture))
    assert f"on {labelled} frames" in output


@pytest.mark.parametrize(
    ("table", "arguments", "message"),
    [
        (
            "unlabelled row",
            ["--source", "edited.csv?device=A"],
            "a label for every image of edited.csv?device=A, or for none, received 1 of 24 without",
        ),
        (
            "unlabelled row",
            ["--source", "manifest.csv?device=B", "--target", "edited.csv?device=A", "--method", "fine-tuned"],
            "a label for every image of the target edited.csv?device=A for fine-tuned, received 1 of 24 without",
        ),
        ("all train", ["--source", "edited.csv?device=A"], "images in the test split of edited.csv?device=A, received"),
        ("all train", ["--source", "B", "--target", "edited.csv?device=A"], "images in the test split of edited.csv"),
    ],
)
def test_tables_that_do_not_do_are_refused_before_training(
    mixed: Path, table: str, arguments: list[str], message: str
) -> None:
    lines = (mixed / "manifest.csv").read_text().splitlines()
    if table == "unlabelled row":
        lines[1] = lines[1].replace("bars,A", ",A")
    else:
        lines = [f"{line},{'split' if number == 0 else 'train'}" for number, line in enumerate(lines)]
    (mixed / "edited.csv").write_text("\n".join(lines))
    given = {"--target": "manifest.csv?device=B", **dict(zip(arguments[::2], arguments[1::2], strict=True))}
    result = CliRunner().invoke(main, ["--device", "cpu", *(part for pair in given.items() for part in pair)])
    assert result.exit_code == 1
    assert message in result.output
    assert result.output.count("\n") == 1
    assert not (mixed / "runs").exists()
