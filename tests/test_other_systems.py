"""What macOS and Windows lack is not asked for; stand-ins on this system, which prove no more than that."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from metfa.runtime.bundle.directory import Bundle
from metfa.runtime.files import replace, write_text

ROOT = Path(__file__).parents[1]
WINDOWS = str(Path(__file__).with_name("windows.py"))
SMALL = "--input-size 28x28 --preset small --steps 2 --candidates 1 --images-per-class 2 --threads 1 --device cpu"


def run_as_windows(*commands: list[str], folder: Path, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, WINDOWS, *map(json.dumps, commands)],
        cwd=folder,
        input=given,
        env={**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), "LOKY_MAX_CPU_COUNT": "1"},
        capture_output=True,
        check=False,
    )


def test_a_model_is_trained_exported_and_run_with_what_windows_has(tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    for scanner in "AB":
        for label in ("Femur", "Lips"):
            (tmp_path / scanner / label).mkdir(parents=True)
            for number in range(8):
                image = noise.integers(0, 255, (30, 30), np.uint8)
                cv2.imwrite(str(tmp_path / scanner / label / f"{number}.png"), image)
    stream = ["metfa.runtime.cli", "main", "--no-window"]
    ended = run_as_windows(
        ["metfa.training.cli.train", "main", "--source", "A", "--target", "B", *SMALL.split()],
        ["metfa.export.cli", "main"],
        [*stream, "--device", "B/Femur", "--labels", "labels.csv", "--collect", "collected", "--collect-limit", "3"],
        [*stream, "--device", "-", "--events", "events.jsonl"],
        folder=tmp_path,
        given=b"".join(cv2.imencode(".jpg", noise.integers(0, 255, (30, 30), np.uint8))[1].tobytes() for _ in range(3)),
    )
    assert ended.returncode == 0, ended.stderr.decode()
    assert "model.onnx" in Bundle.open(tmp_path / "runs" / "metfa").files
    assert len((tmp_path / "labels.csv").read_text().splitlines()) == 9
    assert (tmp_path / "events.jsonl").exists()
    assert list((tmp_path / "collected").glob("*.png"))
    assert list(tmp_path.rglob("*.lock")) == []


HOLDER = """
import sys
sys.path.insert(0, sys.argv[1])
import click, cv2
import windows
windows.pretend()
from pathlib import Path
from metfa.runtime.errors import BundleError
from metfa.runtime.lock import own_directory, remove_abandoned, writing_alone
folder = Path(sys.argv[2])
with writing_alone(folder / "bundle"), own_directory(folder, "own-") as own:
    print(*sorted(path.name.replace(own.name, "own") for path in folder.iterdir()))
    try:
        writing_alone(folder / "bundle").__enter__()
    except BundleError as refusal:
        print(refusal.received)
    print(remove_abandoned(folder, "own-"))
abandoned = folder / "own-abandoned"
abandoned.mkdir()
print(*(path.name for path in remove_abandoned(folder, "own-")), *folder.iterdir())
"""


def test_on_windows_a_file_beside_a_folder_is_its_lock(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(Path(WINDOWS).parent), str(tmp_path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert said == [
        "bundle bundle.lock own own.lock",
        "another command of metfa that is writing to it",
        "[]",
        "own-abandoned",
    ]


def test_on_windows_a_file_is_replaced_when_its_reader_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new, old = tmp_path / "new", tmp_path / "old"
    new.write_text("new")
    attempts = iter([PermissionError, PermissionError])

    def refuse_twice(source: Path, target: Path) -> None:
        if error := next(attempts, None):
            raise error
        os.replace(source, target)  # noqa: PTH105  # Path's own is what this replaces

    monkeypatch.setattr(Path, "replace", refuse_twice)
    with pytest.raises(PermissionError):
        replace(new, old)
    monkeypatch.setattr("sys.platform", "win32")
    replace(new, old)
    assert old.read_text() == "new"


def test_macos_is_told_to_write_to_the_disk_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr("fcntl.F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr("fcntl.fcntl", lambda _, command: asked.append(command))
    write_text(tmp_path / "here", "as usual")
    assert asked == []
    monkeypatch.setattr("sys.platform", "darwin")
    write_text(tmp_path / "file", "text\n")
    assert asked == [51, 51]  # the file, and its folder


def test_every_text_has_the_same_bytes_on_every_system() -> None:
    """By default Windows would end lines in two characters."""
    rooms = [path for room in ("runtime", "training", "export") for path in (ROOT / room).rglob("*.py")]
    calls = [
        (path.name, node.lineno)
        for path in rooms
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "write_text"
        and "newline" not in {keyword.arg for keyword in node.keywords}
    ]
    assert len(rooms) > 100
    assert calls == []
