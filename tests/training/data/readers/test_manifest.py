"""Manifests: tables as people and their programs write them."""

from __future__ import annotations

import csv
import os
import unicodedata
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metfa.runtime.errors import DataError, MetfaError
from metfa.training.data.readers import list_domain
from metfa.training.data.readers.table import read_table

from .examples import skipped, write

TABLE = """path,label,device,patient,split
a/1.png,blob,EPIQ,Smith,train
a/2.png,ring,EPIQ,Jones,test
b/1.png,blob,Voluson,Smith,train
"""
OUTSIDE = "lies outside the folder of the table: put the table above all its pictures, and name them relative to it"
PATHS = ("a/1.png", "a/2.png", "b/1.png")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with pictures beside the manifest, which is not the current directory."""
    for path in PATHS:
        write(tmp_path / "data" / path)
    write(tmp_path / "outside.png")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return Path("..", "data")


def save(folder: Path, content: str | bytes, name: str = "manifest.csv") -> str:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def names(specification: str, folder: Path) -> tuple[str, ...]:
    return tuple(str(Path(entry.medium.name).relative_to(folder)) for entry in list_domain(specification).entries)


def test_every_row_is_a_picture_beside_the_manifest(folder: Path) -> None:
    specification = save(folder, TABLE)
    assert names(specification, folder) == PATHS
    entries = list_domain(specification).entries
    assert [entry.label for entry in entries] == ["blob", "ring", "blob"]
    assert [entry.split for entry in entries] == ["train", "test", "train"]
    assert [entry.group for entry in entries] == ["patient 1", "patient 2", "patient 1"], "counted, not named"


@pytest.mark.parametrize(
    ("query", "paths"),
    [
        ("?device=EPIQ", PATHS[:2]),
        ("?device=EPIQ&split=train", PATHS[:1]),
        ("?device=EPIQ&device=Voluson&label=blob", (PATHS[0], PATHS[2])),
        ("?patient=Smith", (PATHS[0], PATHS[2])),
        ("?label=ring&label=none", PATHS[1:2]),
        ("?", PATHS),
        ("?path=a%2F1.png", PATHS[:1]),
    ],
)
def test_a_filter_keeps_the_rows_that_match(folder: Path, query: str, paths: tuple[str, ...]) -> None:
    assert names(save(folder, TABLE) + query, folder) == paths


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("manifest.csv", TABLE, id="plain"),
        pytest.param("MANIFEST.CSV", TABLE, id="capitals"),
        pytest.param("manifest.csv", "\ufeff" + TABLE, id="BOM"),
        pytest.param("manifest.csv", TABLE.replace("\n", "\r\n"), id="Windows line ends"),
        pytest.param("manifest.csv", ("\ufeff" + TABLE).replace("\n", "\r\n"), id="as Excel saves it"),
        pytest.param("manifest.csv", TABLE.replace(",", ";"), id="as Excel saves it in Europe"),
        pytest.param("manifest.csv", TABLE.rstrip("\n"), id="no last line end"),
        pytest.param("manifest.csv", TABLE.replace("\n", "\n\n"), id="blank lines"),
        pytest.param("manifest.csv", TABLE.replace(",", " , "), id="blanks around cells"),
        pytest.param("manifest.csv", TABLE.replace("\n", ",\n"), id="a separator too many"),
        pytest.param(
            "manifest.csv",
            '"' + TABLE.rstrip("\n").replace(",", '","').replace("\n", '"\n"') + '"\n',
            id="quoted",
        ),
        pytest.param("manifest.tsv", TABLE.replace(",", "\t"), id="TSV"),
        pytest.param("manifest.tsv", ("\ufeff" + TABLE).replace(",", "\t").replace("\n", "\r\n"), id="TSV of Windows"),
    ],
)
def test_tables_of_many_hands_are_the_same(folder: Path, name: str, content: str) -> None:
    expected = list_domain(save(folder, TABLE, "plain.csv") + "?device=EPIQ").entries
    assert list_domain(save(folder, content, name) + "?device=EPIQ").entries == expected


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n")).map(str.strip)


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1), st.sampled_from(",;\t"))
def test_what_a_program_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], separator: str
) -> None:
    path = tmp_path_factory.mktemp("table") / "table.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=separator).writerows([("path", "label"), *rows])
    read = read_table(path, ("path",))
    assert read == [{"path": one, "label": other} for one, other in rows]


@pytest.mark.parametrize(
    "content",
    ["path\na/1.png\na/2.png\n", "path,label,split,patient\na/1.png,,,\na/2.png\n"],
    ids=["no columns", "empty cells, and a row cut short"],
)
def test_what_a_table_does_not_say_is_not_known(folder: Path, content: str) -> None:
    entries = list_domain(save(folder, content)).entries
    assert [(entry.label, entry.split, entry.group) for entry in entries] == [(None, None, None)] * 2


@pytest.mark.parametrize(
    ("row", "name", "reason"),
    [
        pytest.param("a/3.png", "../data/a/3.png", "No such file or directory", id="missing"),
        pytest.param("a", "../data/a", "no file", id="a folder"),
        pytest.param("notes.txt", "../data/notes.txt", "no image, recording or DICOM file", id="no image"),
        pytest.param(" ,x", "../data/manifest.csv, row 4", "names no file", id="empty"),
        pytest.param("../outside.png", "../outside.png", OUTSIDE, id="up"),
        pytest.param("a/../../outside.png", "a/../../outside.png", OUTSIDE, id="down"),
        pytest.param("/etc/hostname", "/etc/hostname", OUTSIDE, id="absolute"),
        pytest.param("C:\\scans\\1.png", "C:\\scans\\1.png", OUTSIDE, id="absolute on Windows"),
        pytest.param(
            "a/1.png,blob,EPIQ,Smith,train", "../data/manifest.csv, row 4", "names a file that an earlier row names"
        ),
        pytest.param(
            "b/../a/1.png,blob,?,Smith,train", "../data/manifest.csv, row 4", "names a file that an earlier row names"
        ),
        pytest.param("loop.png", "../data/loop.png", "Too many levels of symbolic links", id="loop"),
        pytest.param("a/1.png\0", "../data/a/1.png\0", "no file", id="NUL"),
        pytest.param("a" * 5000, f"../data/{'a' * 5000}", "File name too long", id="a name too long"),
    ],
)
def test_a_bad_row_is_skipped_with_the_reason(folder: Path, row: str, name: str, reason: str) -> None:
    (folder / "notes.txt").write_text("no image, recording or DICOM file")
    (folder / "loop.png").symlink_to("loop.png")
    listing = list_domain(save(folder, f"{TABLE}{row}\n"))
    assert len(listing.entries) == 3
    assert skipped(listing) == {name: reason}


@pytest.mark.parametrize("facts", ["ring,EPIQ,Smith,train", "blob,EPIQ,Jones,train", "blob,EPIQ,Smith,test", ""])
def test_a_file_of_which_two_rows_say_different_things_is_not_used(folder: Path, facts: str) -> None:
    specification = save(folder, f"{TABLE}./a/1.png,{facts}\n")
    assert names(specification, folder) == PATHS[1:]
    reason = "is named by rows that differ in label, patient or split"
    assert skipped(list_domain(specification)) == {"a/1.png": reason}


def test_a_doubled_column_that_nobody_uses_does_not_matter(folder: Path) -> None:
    assert names(save(folder, TABLE.replace("device,", "note,").replace("split", "note")), folder) == PATHS


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("written", ["Schädel/1.png", "Schädel\\1.png", ".\\Schädel\\..\\Schädel\\1.png"])
def test_a_path_may_be_written_as_other_systems_do(folder: Path, form: Literal["NFC", "NFD"], written: str) -> None:
    write(folder / unicodedata.normalize("NFD" if form == "NFC" else "NFC", "Schädel/1.png"))
    listing = list_domain(save(folder, f"path\n{unicodedata.normalize(form, written)}\n"))
    assert [len(list(entry.medium.read())) for entry in listing.entries] == [1]


def test_a_backslash_may_be_part_of_a_name(folder: Path) -> None:
    write(folder / "a\\1.png")
    assert names(save(folder, "path\na\\1.png\n"), folder) == ("a\\1.png",)


def test_absolute_paths_and_links_inside_the_folder_are_fine(folder: Path) -> None:
    (folder / "linked").symlink_to(folder.absolute().parent)
    inside = folder.resolve() / "b" / "1.png"
    assert names(save(folder, f"path\n{inside}\nlinked/outside.png\n"), folder) == ("b/1.png", "linked/outside.png")


@pytest.mark.parametrize(
    ("content", "query", "message"),
    [
        pytest.param("", "", "expected a column 'path' in .*manifest.csv, received an empty file;", id="empty"),
        pytest.param(
            "file,label\na/1.png,x\n",
            "",
            "expected a column 'path' in .*, received the columns file, label;",
            id="no path",
        ),
        pytest.param("path|label\na/1.png|x\n", "", "received the columns path|label;", id="other separator"),
        pytest.param(TABLE, "?vendor=GE", "expected a column 'vendor' in .*, received the columns path, label, device"),
        pytest.param(TABLE, "?device=GE", "expected rows with device 'GE' in .*; the column holds 'EPIQ', 'Voluson'$"),
        pytest.param(
            TABLE.replace("device", "label"), "", "expected one column 'label' in .*, received 2; rename", id="doubled"
        ),
        pytest.param(
            TABLE, "?devise=EPIQ", "received the columns .*; did you mean 'device'. correct", id="misspelt column"
        ),
        pytest.param(
            TABLE, "?device=epiq", "rows with device 'epiq' in .*; did you mean 'EPIQ'. the column holds", id="case"
        ),
        pytest.param(
            TABLE, "?device=EPIQ&device=Volusn", "rows with device 'Volusn' .* did you mean 'Voluson'.", id="one of two"
        ),
        pytest.param(
            TABLE,
            "?device=Voluson&label=ring",
            "rows with label 'ring' in .*; of the rows that the other options leave, it holds 'blob'$",
            id="none of both",
        ),
        pytest.param("path,label\na/1.png,none\n", "?label=none", "expected no class of the name 'none' in", id="none"),
        pytest.param("path,label\n", "", "expected rows in .*manifest.csv, received none;", id="no rows"),
        pytest.param(
            "path,split\na/1.png,training\n",
            "",
            "expected one of train, val, test in .*, received 'training';",
            id="split",
        ),
        pytest.param(
            "path\na/3.png\na/4.png\n",
            "",
            r"none that can be used: .*a/3.png is skipped \(No such file or directory\), and so are 1 more",
        ),
        pytest.param("path\nä.png\n".encode("latin-1"), "", "expected a table in UTF-8 in .*, received", id="Latin-1"),
        pytest.param(b"\xff\xfep\x00a\x00t\x00h\x00", "", "expected a table in UTF-8 in .*, received", id="UTF-16"),
        pytest.param(b"\x89PNG\r\n\x1a\n\x00\x00", "", "expected a table in UTF-8 in .*, received", id="a picture"),
    ],
)
def test_bad_manifests_are_refused(folder: Path, content: str | bytes, query: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        list_domain(save(folder, content) + query)


@pytest.mark.parametrize("name", ["nowhere.csv", "a.csv"], ids=["missing", "a folder"])
def test_a_manifest_that_cannot_be_read_is_named(folder: Path, name: str) -> None:
    (folder / "a.csv").mkdir()
    with pytest.raises(MetfaError, match=name):
        list_domain(str(folder / name))


@pytest.mark.skipif("METFA_DATA" not in os.environ, reason="METFA_DATA names no folder of real images")
def test_the_organs_are_listed_as_their_table_says() -> None:
    table = Path(os.environ["METFA_DATA"], "ultrasound", "organs", "manifest.csv")
    with table.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["domain"] == "B"]
    listing = list_domain(f"{table}?domain=B")
    assert listing.skipped == ()
    assert [(entry.label, entry.split) for entry in listing.entries] == [(row["label"], row["split"]) for row in rows]
    assert len({entry.group for entry in listing.entries}) == len({row["patient"] for row in rows})
    for entry in listing.entries[::50]:
        assert len(list(entry.medium.read())) == 1
