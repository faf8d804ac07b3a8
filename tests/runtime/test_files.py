from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from metfa.runtime.errors import OutputError
from metfa.runtime.files import (
    Replacement,
    cache_directory,
    make_directory,
    remove_empty,
    replacing,
    sha256,
    state_directory,
    umask,
    write_text,
)
from metfa.runtime.text import printable


def test_sha256_of_the_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    assert sha256(path) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_a_text_is_written_with_its_directories_and_ordinary_permissions(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "α.txt"
    write_text(path, "β")
    assert path.read_text(encoding="utf-8") == "β"
    ordinary = tmp_path / "ordinary"
    ordinary.touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(ordinary.stat().st_mode)


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_on_the_disk_before_it_has_its_name_and_the_name_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.txt"
    synced: list[tuple[Path, str]] = []

    def fsync(descriptor: int) -> None:
        synced.append((Path("/proc/self/fd", str(descriptor)).readlink(), path.read_text()))

    monkeypatch.setattr(os, "fsync", fsync)
    path.write_text("old")
    write_text(path, "new")
    (file, before), (directory, after) = synced
    assert (file.parent, file.suffix, before) == (tmp_path, ".txt", "old")
    assert (directory, after) == (tmp_path, "new")


@pytest.mark.parametrize("fails", [28, 22])
def test_a_disk_that_turns_out_to_be_full_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: int
) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fsync(_: int) -> None:
        raise OSError(fails, os.strerror(fails))

    monkeypatch.setattr(os, "fsync", fsync)
    if fails == 28:
        with pytest.raises(OutputError, match="No space left on device"):
            write_text(path, "new")
    else:  # a file system that cannot wait
        write_text(path, "new")
    assert path.read_text() == ("old" if fails == 28 else "new")


def test_directories_that_were_made_for_nothing_go_again_and_no_others(tmp_path: Path) -> None:
    mine, new = tmp_path / "mine", tmp_path / "mine" / "new" / "newer"
    mine.mkdir()
    assert make_directory(mine) == []
    remove_empty(made := make_directory(new))
    assert made == [new, new.parent]
    assert [*tmp_path.rglob("*")] == [mine]
    Replacement(new / "file.txt").discard()
    assert [*tmp_path.rglob("*")] == [mine]
    write_text(new / "file.txt", "text")
    remove_empty(made)
    assert (new / "file.txt").exists()


def test_a_directory_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="Is a directory"), replacing(tmp_path):
        pytest.fail("began to write")


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"expected to be able to write .*received .*; free space"):
        write_text(tmp_path / "file" / "text", "")


def test_the_umask_is_read_and_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.umask(0o027)
    try:
        monkeypatch.setattr(os, "umask", None)
        assert umask() == 0o027
    finally:
        monkeypatch.undo()
        os.umask(before)


def test_the_umask_where_there_is_no_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise FileNotFoundError

    before = os.umask(0o027)
    try:
        monkeypatch.setattr(Path, "read_text", refuse)
        assert umask() == 0o027
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", unknown)
    for variable, directory in (("XDG_CACHE_HOME", cache_directory), ("XDG_STATE_HOME", state_directory)):
        monkeypatch.delenv(variable, raising=False)
        with pytest.raises(OutputError, match=f"set HOME, or {variable} to a folder that you may write to"):
            directory()


def test_what_must_not_be_lost_is_where_the_user_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert state_directory() == tmp_path / "metfa"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert state_directory() == tmp_path / ".local" / "state" / "metfa"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Ümläut \u0915\u094d\u200d\u0937 فارسی‌ها 日本", None),
        ("\x1b[2J\x00\r\n\t", r"\x1b[2J\x00\r\n\t"),
        ("\x7f\x85\x9b", r"\x7f\x85\x9b"),
        ("\u2028\u202e\u2066", r"\u2028\u202e\u2066"),
        (os.fsdecode(b"\xff.png"), r"\udcff.png"),
    ],
)
def test_what_is_printed_controls_no_terminal(text: str, shown: str | None) -> None:
    assert printable(text) == (text if shown is None else shown)
