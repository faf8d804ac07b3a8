from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from metfa.runtime.errors import OutputError
from metfa.runtime.files import replacing, sha256, utf8_name, write_text


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


def test_a_directory_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="Is a directory"), replacing(tmp_path):
        pytest.fail("began to write")


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"expected to be able to write .*received .*; free space"):
        write_text(tmp_path / "file" / "text", "")


def test_names_that_are_no_utf8_get_another(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.mp4"))
    path.write_text("found")
    with utf8_name(path) as name:
        assert name.isascii()
        assert name.endswith(".mp4")
        assert Path(name).read_text() == "found"
    assert not Path(name).exists()


def test_other_names_stay(tmp_path: Path) -> None:
    with utf8_name(tmp_path / "ä ö.mp4") as name:
        assert name == str(tmp_path / "ä ö.mp4")
