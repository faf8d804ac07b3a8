"""FETAL_PLANES_DB as it is published."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from metfa.runtime.errors import DataError
from metfa.training.data.readers import list_domain

from .examples import skipped, write

HEADER = "Image_name;Patient_num;Plane;Brain_plane;Operator;US_Machine;Train \n"
ROWS = (
    "Patient00001_Plane1_1_of_2;1;Fetal abdomen;Not A Brain;Op. 1;Voluson E6;1 \n",
    "Patient00001_Plane3_1_of_1;1;Fetal brain;Trans-thalamic;Op. 1;Voluson E6;1 \n",
    "Patient00002_Plane3_1_of_1;2;Fetal brain;Trans-cerebellum;Op. 2;Aloka;0 \n",
    "Patient00003_Plane5_1_of_1;3;Fetal femur;Not A Brain;Other;Aloka;0 \n",
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "FETAL_PLANES_DB_data.csv").write_text(HEADER + "".join(ROWS))
    for row in ROWS:
        write(tmp_path / "Images" / f"{row.partition(';')[0]}.png")
    return tmp_path


@pytest.mark.parametrize("name", ["fetal-planes-db:{}", "{}", "{}/FETAL_PLANES_DB_data.csv"])
def test_planes_patients_and_the_published_split_are_read(root: Path, name: str) -> None:
    entries = list_domain(name.format(root)).entries
    assert [(entry.label, entry.split, entry.group) for entry in entries] == [
        ("Fetal abdomen", "train", "patient 1"),
        ("Fetal brain", "train", "patient 1"),
        ("Fetal brain", "test", "patient 2"),
        ("Fetal femur", "test", "patient 3"),
    ]
    assert all(len(list(entry.medium.read())) == 1 for entry in entries)


@pytest.mark.parametrize(
    ("query", "labels"),
    [
        ("machine=Voluson E6", ["Fetal abdomen", "Fetal brain"]),
        ("machine=Aloka&machine=Voluson%20E6&plane=Fetal brain", ["Fetal brain", "Fetal brain"]),
        ("operator=Op. 2", ["Fetal brain"]),
        ("label=brain-plane&plane=Fetal brain", ["Trans-thalamic", "Trans-cerebellum"]),
        ("label=none&machine=Aloka", [None, None]),
    ],
)
def test_options_choose_a_domain_and_its_labels(root: Path, query: str, labels: list[str | None]) -> None:
    assert [entry.label for entry in list_domain(f"fetal-planes-db:{root}?{query}").entries] == labels


def test_what_is_not_there_is_skipped(root: Path) -> None:
    (root / "Images" / "Patient00001_Plane3_1_of_1.png").unlink()
    with (root / "FETAL_PLANES_DB_data.csv").open("a") as file:
        file.write("Patient00004_Plane5_1_of_1;4;Fetal femur;Not A Brain;Other;Aloka;\n")
    listing = list_domain(f"fetal-planes-db:{root}")
    assert len(listing.entries) == 3
    assert skipped(listing) == {
        str(root / "Images" / "Patient00001_Plane3_1_of_1.png"): "No such file or directory",
        "FETAL_PLANES_DB_data.csv, row 5": "has neither 0 nor 1 in the column Train",
    }


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("{}?machine=E6", "rows with US_Machine 'E6' in .*; the column holds 'Aloka', 'Voluson E6'$"),
        ("{}?vendor=GE", "expected label=… or machine=… or operator=… or plane=… or brain-plane=… after"),
        ("{}?label=machine", "expected label=plane or label=brain-plane or label=none in .*, received 'machine';"),
        (
            "{}/Images",
            "expected FETAL_PLANES_DB_data.csv of the published data set in .*, received a folder without it;",
        ),
        ("{}/nowhere", "received nothing; name the folder that was unpacked"),
    ],
)
def test_what_does_not_fit_is_refused(root: Path, name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        list_domain(f"fetal-planes-db:{name.format(root)}")


def test_a_table_of_another_form_is_refused(root: Path) -> None:
    (root / "FETAL_PLANES_DB_data.csv").write_text("Image_name;Plane\nx;y\n")
    with pytest.raises(DataError, match="expected a column 'Patient_num' in"):
        list_domain(f"fetal-planes-db:{root}")


@pytest.mark.skipif("METFA_DATA" not in os.environ, reason="METFA_DATA names no folder of real images")
def test_the_published_files() -> None:
    root = Path(os.environ["METFA_DATA"], "ultrasound", "fetal_planes_db")
    entries = list_domain(f"fetal-planes-db:{root}").entries
    assert len(entries) == 80
    of_machines = [
        len(list_domain(f"{root}?machine={name}").entries) for name in ("Voluson E6", "Voluson S10", "Aloka")
    ]
    assert of_machines == [40, 20, 20]
    patients = {split: {entry.group for entry in entries if entry.split == split} for split in ("train", "test")}
    assert not patients["train"] & patients["test"]
    assert all(len(list(entry.medium.read())) == 1 for entry in entries[::10])
