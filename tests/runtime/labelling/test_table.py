"""Labels on disk: every one at once, whoever else writes."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np
import pytest

from metfa.runtime.errors import DataError, OutputError
from metfa.runtime.labelling import table as tables
from metfa.runtime.labelling.table import ChangedError, Table
from metfa.training.data.readers import list_domain

WRITER = """
import sys
from pathlib import Path
from metfa.runtime.labelling.table import Table
table = Table(Path(sys.argv[1]), "label")
for number in range(int(sys.argv[3])):
    table.change(table.path.parent / f"{sys.argv[2]}-{number}.png", "Femur", before=None)
    print(number, flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "labels.csv"


def write(path: Path, name: str, number: int) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", WRITER, path, name, str(number)], stdout=subprocess.PIPE, text=True)


def test_a_label_is_a_row_that_training_reads(path: Path) -> None:
    names = ["frames/1.png", 'frames/a, "b";c.png', "frames/deeper/ü.png"]
    table = Table(path, "label")
    for name in names:
        (path.parent / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path.parent / name), np.zeros((40, 40), np.uint8))
        table.change(path.parent / name, "4CH", before=None)
    entries = list_domain(str(path)).entries
    assert [(str(Path(entry.medium.name).relative_to(path.parent)), entry.label) for entry in entries] == [
        (name, "4CH") for name in names
    ]
    assert Table(path, "label").read() == dict.fromkeys([path.parent / name for name in names], "4CH")


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_what_others_wrote_is_kept(path: Path, separator: str) -> None:
    rows = [
        "patient,path,label,split",
        "Smith,a/1.png,Lips,train",
        "Jones,./a/2.png,,",
        "",
        "Doe,/elsewhere/3.png,LVOT,",
    ]
    path.write_text("\ufeff" + "\r\n".join(row.replace(",", separator) for row in rows), encoding="utf-8")
    table = Table(path, "label")
    assert table.read() == {path.parent / "a/1.png": "Lips", Path("/elsewhere/3.png"): "LVOT"}
    table.change(path.parent / "a/2.png", "Femur", before=None)
    table.change(path.parent / "a/4.png", "4CH", before=None)
    assert path.read_text(encoding="utf-8").replace(separator, ",").splitlines() == [
        "patient,path,label,split", "Smith,a/1.png,Lips,train", "Jones,./a/2.png,Femur,", "Doe,/elsewhere/3.png,LVOT,",
        ",a/4.png,4CH,",
    ]  # fmt: skip
    table.change(path.parent / "a/2.png", None, before="Femur")
    table.change(path.parent / "a/4.png", None, before="4CH")
    assert path.read_text(encoding="utf-8").replace(separator, ",").splitlines()[2:] == [
        "Jones,./a/2.png,,", "Doe,/elsewhere/3.png,LVOT,"
    ]  # fmt: skip


def test_nobody_overwrites_what_they_do_not_know_of(path: Path) -> None:
    one, other = Table(path, "label"), Table(path, "label")
    one.change(path.parent / "1.png", "Lips", before=None)
    for before in (None, "Femur"):
        with pytest.raises(ChangedError):
            other.change(path.parent / "1.png", "LVOT", before=before)
    assert other.read() == {path.parent / "1.png": "Lips"}


@pytest.mark.parametrize(
    ("content", "received"),
    [
        (b"name,label\n1.png,Lips\n", "the columns name, label"),
        (b"path,class\n1.png,Lips\n", "the columns path, class"),
        (b"path,label,label\n", "the columns path, label, label"),
        (b"1.png\n", "the columns 1.png"),
        (b"path,label\n\xff\xfe.png,Lips\n", "can't decode"),
        (b"path,label\n" + b"x" * 200_000 + b",Lips\n", "field larger than field limit"),
    ],
)
def test_what_is_no_such_table_is_left_alone(path: Path, content: bytes, received: str) -> None:
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"one column 'path' and one column 'label' in .*{received}"):
        Table(path, "label")
    assert path.read_bytes() == content


def test_two_processes_lose_no_label(path: Path) -> None:
    processes = [write(path, name, 40) for name in ("a", "b")]
    assert [process.wait() for process in processes] == [0, 0]
    for process in processes:
        assert process.stdout is not None
        process.stdout.close()
    assert len(Table(path, "label").read()) == 80


def test_kill_loses_nothing_that_was_written(path: Path) -> None:
    for name in "abc":
        process = write(path, name, 10_000)
        assert process.stdout is not None
        last = [process.stdout.readline() for _ in range(7)][-1]
        process.send_signal(signal.SIGKILL)
        last = (process.stdout.read().splitlines() or [last])[-1]
        process.stdout.close()
        process.wait()
        known = Table(path, "label").read()
        assert all(path.parent / f"{name}-{number}.png" in known for number in range(int(last) + 1))
        assert sum(file.name.startswith(name) for file in known) <= int(last) + 2
    assert path.read_text().endswith(",Femur\n")


def test_a_full_disk_keeps_what_was_there(path: Path) -> None:
    table = Table(path, "label")
    table.change(path.parent / "1.png", "Lips", before=None)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, hard))
    try:
        with pytest.raises(OutputError, match="to be able to write"):
            table.change(path.parent / "2.png", "Lips", before=None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert table.read() == {path.parent / "1.png": "Lips"}
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_another_command_that_keeps_the_folder(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_LOCK_SECONDS", 0.05)
    descriptor = os.open(path.parent, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    began = time.monotonic()
    with pytest.raises(OutputError, match="another command of metfa that is writing to"):
        Table(path, "label").change(path.parent / "1.png", "Lips", before=None)
    assert time.monotonic() - began >= 0.05
    os.close(descriptor)
    Table(path, "label").change(path.parent / "1.png", "Lips", before=None)


def test_the_folder_of_the_table_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    table = Table(tmp_path / "link" / "labels.csv", "label")
    descriptor = os.open(tmp_path / "real", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with ExitStack() as held:
        assert not tables._try_to_lock(table.path.parent, held)
        os.close(descriptor)
        assert tables._try_to_lock(table.path.parent, held)
    table.change(tmp_path / "link" / "frames" / "1.png", "Lips", before=None)
    assert (tmp_path / "real" / "labels.csv").read_text() == "path,label\nframes/1.png,Lips\n"
