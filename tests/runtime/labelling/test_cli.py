"""``metfa-label`` as users run it."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from metfa.runtime.bundle import directory as bundles
from metfa.runtime.labelling.classes import assign_keys
from metfa.runtime.labelling.cli import main
from metfa.training.data.readers import list_domain

if TYPE_CHECKING:
    from collections.abc import Iterator

# Not the installed command: a checkout may be newer.
COMMAND = [sys.executable, "-c", "from metfa.runtime.labelling.cli import run; run()"]
ERROR = re.compile(r"Error: (?:Invalid value for '[^']+': )?expected .+, received .+; .+\n")
CLASSES = ("--classes", "Femur,Lips,Background")


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    folder = tmp_path / "scanner B"
    folder.mkdir()
    for level in (20, 100, 200):
        texture = np.random.default_rng(level).integers(level, level + 50, (48, 64), np.uint8)
        cv2.imwrite(str(folder / f"{level}.png"), texture)
    return folder


def run(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=60)


@contextmanager
def running(*arguments: object, cwd: Path, sent: signal.Signals = signal.SIGINT) -> Iterator[tuple[str, list[str]]]:
    """Run the command until the block ends; yield its address, and its lines, which are complete after its end."""
    command = [*COMMAND, *map(str, arguments), "--serve", "127.0.0.1:0"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    printed: list[str] = []
    try:
        while not (printed and printed[-1].startswith("labels are written to")):
            line = process.stdout.readline()
            assert line, printed
            printed.append(line.rstrip("\n"))
        yield printed[-2].removeprefix("labelling: "), printed
    finally:
        process.send_signal(sent)
        printed += process.stdout.read().splitlines()
        process.stdout.close()
        printed.append(f"ended with {process.wait()}")


def ask(url: str, path: str, body: object = None) -> dict[str, object]:
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)) as connection:
        content = None if body is None else json.dumps(body)
        connection.request("GET" if body is None else "POST", path, content, {"Content-Type": "application/json"})
        response = connection.getresponse()
        assert response.status == 200
        answer: dict[str, object] = json.loads(response.read())
        return answer


def first(url: str) -> str:
    while not (queue := ask(url, "/state")["queue"]):
        pass
    assert isinstance(queue, list)
    return str(queue[0])


def give(url: str, name: str, answer: str) -> None:
    ask(url, "/answer", {"name": name, "answer": answer, "before": None})


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_restart_goes_on_with_what_is_there(frames: Path, sent: signal.Signals) -> None:
    with running(frames, *CLASSES, cwd=frames.parent, sent=sent) as (url, printed):
        labelled = first(url)
        give(url, labelled, "Femur")
        skipped = first(url)
        give(url, skipped, "")
    if sent == signal.SIGKILL:
        assert printed[2:] == ["ended with -9"]
    else:
        assert printed[2:] == [
            "labelled: 1, skipped: 1; the same command goes on",
            f"to train with them: metfa-train --labelled-target '{frames}-labels.csv'",
            "ended with 0",
        ]
    with running("scanner B/", *CLASSES, cwd=frames.parent) as (url, _):
        last = first(url)
        assert {labelled, skipped, last} == {path.name for path in frames.iterdir()}
        give(url, last, "Background")
    table = frames.with_name("scanner B-labels.csv")
    assert {path.name for path in frames.parent.iterdir()} == {
        frames.name, table.name, "scanner B-labels-skipped.csv"
    }  # fmt: skip
    entries = list_domain(str(table)).entries
    assert {(Path(entry.medium.name).name, entry.label) for entry in entries} == {
        (labelled, "Femur"), (last, "Background")
    }  # fmt: skip


def test_the_bundle_says_the_classes_and_sorts_the_frames(frames: Path, bundle: Path) -> None:
    bundle.rename(frames.parent / "runs").rename(frames.parent / "metfa")
    (frames.parent / "runs").mkdir()
    (frames.parent / "metfa").rename(frames.parent / "runs" / "metfa")
    with running(frames, cwd=frames.parent) as (url, printed):
        assert len(printed) == 2
        assert ask(url, "/state")["classes"] == [
            {"name": "dark", "key": "1"}, {"name": "grey", "key": "2"}, {"name": "bright", "key": "3"}
        ]  # fmt: skip
        give(url, first(url), "grey")


def test_a_bundle_that_cannot_be_run_still_says_the_classes(frames: Path, bundle: Path) -> None:
    with bundles.updating(bundle, keep=lambda name: name != bundles.ONNX):
        pass
    with running(frames, "--bundle", bundle, cwd=frames.parent) as (url, printed):
        assert printed[0].startswith(
            "the frames are sorted by what they look like, as no model can be run: expected an "
        )
        assert first(url)


def prepare(frames: Path, fault: str) -> None:
    (frames.parent / "empty").mkdir()
    (frames.parent / "texts").mkdir()
    (frames.parent / "texts" / "notes.txt").write_text("no image")
    if fault == "foreign table":
        frames.with_name("scanner B-labels.csv").write_text("name,class\n")
    elif fault == "folder for a table":
        frames.with_name("scanner B-labels.csv").mkdir()
    elif fault == "bundle":
        (frames.parent / "runs" / "metfa").mkdir(parents=True)


@pytest.mark.parametrize(
    ("fault", "arguments", "says"),
    [
        ("no classes", ["scanner B"], "received neither --classes nor --bundle, and there is no runs/metfa"),
        ("both", ["scanner B", *CLASSES, "--bundle", "x"], "received both"),
        ("bundle", ["scanner B"], "a directory without bundle.json"),
        ("no bundle", ["scanner B", "--bundle", "x"], "no such directory"),
        ("one class", ["scanner B", "--classes", "Femur"], "expected 2 to 34 classes"),
        ("no class", ["scanner B", "--classes", ""], "received ''"),
        ("empty class", ["scanner B", "--classes", "A,,B"], "received ''"),
        ("a class twice", ["scanner B", "--classes", "A, B,A"], "received 'A' 2 times"),
        ("control", ["scanner B", "--classes", "A,\x1b[2J"], r"received '\x1b[2J'"),
        ("many", ["scanner B", "--classes", ",".join(map(str, range(40)))], "received 40"),
        ("no folder", ["nowhere", *CLASSES], "received no such folder"),
        ("a file", ["scanner B/20.png", *CLASSES], "received a file"),
        ("empty", ["empty", *CLASSES], "expected images in empty, received none"),
        ("no image", ["texts", *CLASSES], "expected images in texts, received none"),
        ("elsewhere", ["scanner B", *CLASSES, "--output", "empty/labels.csv"], "so that metfa-train finds the frames"),
        ("inside", ["scanner B", *CLASSES, "--output", "scanner B/labels.csv"], "so that metfa-train finds the frames"),
        ("no table", ["scanner B", *CLASSES, "--output", "labels.txt"], "expected a .csv file"),
        ("foreign table", ["scanner B", *CLASSES], "received the columns name, class"),
        ("folder for a table", ["scanner B", *CLASSES], "received Is a directory"),
        ("address", ["scanner B", *CLASSES, "--serve", "8080"], "expected HOST:PORT"),
        ("other machine", ["scanner B", *CLASSES, "--serve", "192.0.2.1:0"], "expected to be able to serve a page on"),
    ],
)
def test_what_does_not_fit_is_said_in_a_line(
    frames: Path, fault: str, arguments: list[str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(frames, fault)
    before = sorted(frames.parent.rglob("*"))
    monkeypatch.chdir(frames.parent)
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code in {1, 2}
    assert ERROR.fullmatch(result.output), result.output
    assert says in result.output
    assert sorted(frames.parent.rglob("*")) == before


def test_a_port_that_is_taken(frames: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        result = run(frames, *CLASSES, "--serve", address, cwd=frames.parent)
    assert (result.returncode, result.stdout) == (1, "")
    assert f"expected to be able to serve a page on {address}, received Address already in use; " in result.stderr


def test_a_table_that_cannot_be_written() -> None:
    result = CliRunner().invoke(main, ["/proc/self", *CLASSES])  # where not even root may make a file
    assert result.exit_code == 1
    assert "expected to be able to write /proc" in result.output


def test_keys_are_digits_then_letters_and_none_of_those_that_mean_something() -> None:
    keys = [each.key for each in assign_keys([str(number) for number in range(34)])]
    assert keys == [*"123456789", *"abcdefghijklmnopqrstvwxyz"]


@pytest.mark.parametrize(
    ("labels", "background"),
    [(("Background", "A", "B"), ()), (("none", "A", "B"), ("none",)), (("A", "background"), ())],
)
def test_no_plane_has_a_key_of_its_own(labels: tuple[str, ...], background: tuple[str, ...]) -> None:
    *planes, last = assign_keys(labels, background)
    assert (last.name, last.key) == (next(name for name in labels if name not in {"A", "B"}), "0")
    assert [each.key for each in planes] == list("123456789")[: len(planes)]
