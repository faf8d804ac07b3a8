"""Several sources through one model: batches, isolation, and the command with several devices."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from metfa.runtime import Observation, PlaneClassifier, PlaneEvent, open_source, stream, stream_many
from metfa.runtime.backends import Inference
from metfa.runtime.backends.batching import MAX_BATCH, BatchingBackend
from metfa.runtime.errors import BackendError, SourceError
from metfa.runtime.sources.base import Source
from metfa.runtime.streaming.devices import Device, all_devices

from .chromium import EXECUTABLE, Page
from .conftest import make_bundle, make_contract

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from metfa.runtime import Frame

FRAMES = 50
COMMAND = [sys.executable, "-c", "from metfa.runtime.cli import run; run()"]
HEADLESS = {name: value for name, value in os.environ.items() if name not in {"DISPLAY", "WAYLAND_DISPLAY"}}


class Gate:
    """A backend that answers with what it was given, each batch when it is let through.

    Attributes:
        batches: how many frames each call had.
    """

    description, artefact = "a gate", "none"

    def __init__(self, concurrency: int = 1) -> None:
        self.concurrency = concurrency
        self.batches: list[int] = []
        self.open = threading.Semaphore(0)
        self.error: Exception | None = None

    def infer(self, frames: NDArray[np.uint8]) -> Inference:
        self.batches.append(len(frames))
        assert self.open.acquire(timeout=20)
        if self.error is not None:
            raise self.error
        values = frames.reshape(len(frames), -1).astype(np.float32)
        return Inference(values, -values)


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def ask(backend: BatchingBackend, values: list[int], answers: dict[int, Any]) -> list[threading.Thread]:
    """Let a thread for each value ask for it, one after another."""

    def infer(value: int) -> None:
        try:
            answers[value] = backend.infer(np.full((1, 1, 1, 1), value, np.uint8))
        except BackendError as error:
            answers[value] = error

    threads = [threading.Thread(target=infer, args=(value,)) for value in values]
    for thread in threads:
        thread.start()
    return threads


@pytest.mark.parametrize(
    ("concurrency", "batches"),
    [(1, [1, 6]), (2, [1, 1, 3, 2]), (8, [1] * 7)],
    ids=["what waits is one batch", "and is shared out among those that run", "nobody waits who need not"],
)
def test_frames_that_wait_together_are_a_batch(concurrency: int, batches: list[int]) -> None:
    gate, answers = Gate(concurrency), {}  # type: ignore[var-annotated]
    backend = BatchingBackend(gate)
    threads = ask(backend, [0], answers)
    wait_until(lambda: gate.batches == [1])
    threads += ask(backend, list(range(1, 7)), answers)
    wait_until(lambda: len(backend._waiting) + len(gate.batches) == 7)
    for number in range(len(batches)):
        wait_until(lambda number=number: len(gate.batches) > number)
        gate.open.release()
    for thread in threads:
        thread.join(20)
    assert gate.batches == batches
    assert {value: (answer.logits.item(), answer.embedding.item()) for value, answer in answers.items()} == {
        value: (value, -value) for value in range(7)
    }


def test_a_batch_is_no_larger_than_an_engine_takes() -> None:
    gate, answers = Gate(), {}  # type: ignore[var-annotated]
    backend = BatchingBackend(gate)
    threads = ask(backend, list(range(20)), answers)
    wait_until(lambda: len(backend._waiting) == 19)
    for _ in range(20):
        gate.open.release()
    for thread in threads:
        thread.join(20)
    assert gate.batches == [1, MAX_BATCH, MAX_BATCH, 3]
    assert len(answers) == 20


def test_who_was_in_a_batch_that_failed_is_told_and_the_next_is_not() -> None:
    gate, answers = Gate(), {}  # type: ignore[var-annotated]
    backend = BatchingBackend(gate)
    threads = ask(backend, [0], answers)
    wait_until(lambda: gate.batches == [1])
    threads += ask(backend, [1, 2], answers)
    wait_until(lambda: len(backend._waiting) == 2)
    gate.open.release()
    wait_until(lambda: len(gate.batches) == 2)
    gate.error = BackendError(expected="a", received="b", remedy="c")
    gate.open.release()
    for thread in threads:
        thread.join(20)
    gate.error = None
    gate.open.release()
    assert backend.infer(np.full((1, 1, 1, 1), 7, np.uint8)).logits.item() == 7
    assert answers[0].logits.item() == 0
    assert answers[1] is answers[2] is not None
    assert isinstance(answers[1], BackendError)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "bundle", make_contract())


@pytest.fixture
def clips(tmp_path: Path) -> dict[str, Path]:
    levels = {"dark": 10, "grey": 95, "bright": 170}
    return {name: write_scan(tmp_path / f"{name}.avi", level) for name, level in levels.items()}


def write_scan(path: Path, level: int) -> Path:
    """Write a recording that looks alive."""
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    for index in range(FRAMES):
        scene = np.linspace(level, level + 60, 64) + np.random.default_rng(index).integers(0, 20, (48, 64))
        writer.write(cv2.cvtColor(scene.astype(np.uint8), cv2.COLOR_GRAY2BGR))
    writer.release()
    return path


class Broken(Source):
    """Fails after a frame."""

    live, rate, description = False, 30.0, "broken"

    def __init__(self, clip: Path) -> None:
        self._clip = clip

    def __iter__(self) -> Iterator[Frame]:
        with open_source(str(self._clip)) as source:
            yield next(iter(source))
        raise SourceError(expected="a", received="b", remedy="c")


def test_each_source_is_decided_on_its_own_and_one_that_fails_disturbs_none(
    bundle: Path, clips: dict[str, Path]
) -> None:
    classifier = PlaneClassifier.load(bundle, backend="cpu")
    sources: dict[str, Source] = {name: open_source(str(path)) for name, path in clips.items()}
    sources["broken"] = Broken(clips["dark"])
    items = list(stream_many(sources, classifier))
    of_each = {name: [item for source, item in items if source == name] for name in sources}
    for name, path in clips.items():
        with open_source(str(path)) as alone, closing(stream(alone, classifier)) as expected:
            for one, other in zip(of_each[name], expected, strict=True):
                if isinstance(other, PlaneEvent):
                    assert isinstance(one, PlaneEvent)
                    assert (one.plane, one.start, one.end) == (other.plane, other.start, other.end)
                else:
                    assert isinstance(one, Observation)
                    assert (one.decision, one.time) == (other.decision, other.time)
                    assert one.prediction.logits.tolist() == other.prediction.logits.tolist()
        assert {item.plane for item in of_each[name] if isinstance(item, PlaneEvent)} == {name}
    first, error = of_each["broken"]
    assert isinstance(first, Observation)
    assert isinstance(error, SourceError)


def test_of_live_sources_the_newest_frame_is_shown_to_a_slow_caller(bundle: Path) -> None:
    classifier = PlaneClassifier.load(bundle, backend="cpu")
    indices: dict[str, list[int]] = {"one": [], "other": []}
    with (
        open_source("phantom:A") as one,
        open_source("phantom:B") as other,
        closing(stream_many({"one": one, "other": other}, classifier)) as items,
    ):
        for name, item in items:
            if isinstance(item, Observation):
                indices[name].append(item.frame.index)
                time.sleep(0.1)
            if min(map(len, indices.values())) >= 5:
                break
    for of_source in indices.values():
        assert of_source == sorted(set(of_source))
        assert of_source[-1] > 2 * len(of_source)  # at 30 a second, and with 0.2 s between, most were dropped
    wait_until(lambda: not [each for each in threading.enumerate() if each.name.startswith("metfa classification")])


@pytest.mark.parametrize(
    ("specs", "text", "devices"),
    [
        (["0"], None, [("0", "")]),
        (["0", "phantom:B"], None, [("0", "1"), ("phantom:B", "2")]),
        (
            [],
            "left room = /dev/video0\n\n# off today\nrtsp://a/b?c=d\n",
            [("/dev/video0", "left room"), ("rtsp://a/b?c=d", "2")],
        ),
        (["0"], "rechts – oben = 1", [("0", "1"), ("1", "rechts – oben")]),
        ([], "only = 0", [("0", "only")]),
        ([], "0", [("0", "")]),
    ],
)
def test_devices_have_names(tmp_path: Path, specs: list[str], text: str | None, devices: list[tuple[str, str]]) -> None:
    file = None if text is None else tmp_path / "devices.txt"
    if file is not None:
        file.write_text(text or "", encoding="utf-8")
    assert all_devices(specs, file) == [Device(*device) for device in devices]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "expected to be able to read .*, received No such file or directory"),
        (b"", "expected a text file .* with a device in each line, received no device; write lines such as"),
        (b"# nothing\n", "received no device"),
        (b"\xff\xfe0\n", "received no text"),
        (b"\x7fELF\0\0", "received no text"),
        (
            b"a b = 0\nA-b = 1\n",
            "that differ in letters or digits, received 'a b' and 'A-b'",
        ),
        (b"1 = 0\n2 = 1\n// = 2\n", "received '//'"),
        (b"-\n-\n", "expected one source on the standard input, received two"),
    ],
)
def test_files_of_devices_that_say_nothing_are_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    file = tmp_path / "devices.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SourceError, match=message):
        all_devices([], file)


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], check=False, capture_output=True, text=True, env=HEADLESS, timeout=120
    )


def test_the_command_streams_the_devices_of_a_file(bundle: Path, clips: dict[str, Path], tmp_path: Path) -> None:
    file = tmp_path / "devices.txt"
    file.write_text("".join(f"{name} room = {path}\n" for name, path in clips.items()) + "away = nowhere.mp4\n")
    files: list[str | Path] = ["--events", tmp_path / "events.jsonl", "--snapshots", tmp_path / "snapshots"]
    files += ["--output", tmp_path / "seen.mp4", "--collect", tmp_path / "collection"]
    result = run("--bundle", bundle, "--devices", file, "--no-window", *files)
    assert result.returncode == 1
    *_, error = result.stderr.splitlines()
    assert error == (
        "Error: expected 4 sources to be streamed to their ends, received 1 that failed: away; "
        "see above what each failed with"
    )
    assert "away: source: left out: expected a camera" in result.stderr
    assert result.stdout.count(f"{FRAMES} frames, 0 dropped") == 3
    for name in clips:
        assert f"{name} room:\n  {FRAMES} frames" in result.stdout
        records = [json.loads(line) for line in (tmp_path / f"events-{name}-room.jsonl").read_text().splitlines()]
        assert Counter(record["type"] for record in records) == {"frame": FRAMES, "event": 1}
        assert {record["plane"] for record in records if record["type"] == "event"} == {name}
        assert len(list((tmp_path / "snapshots" / f"{name}-room").glob("*.png"))) == 1
        assert (tmp_path / f"seen-{name}-room.mp4").stat().st_size
        assert (tmp_path / "collection" / f"{name}-room").is_dir()


def test_what_is_there_is_not_replaced(bundle: Path, clips: dict[str, Path], tmp_path: Path) -> None:
    devices = [argument for path in clips.values() for argument in ("--device", path)]
    (tmp_path / "events-2.jsonl").write_text("mine")
    result = run("--bundle", bundle, *devices, "--events", tmp_path / "events.jsonl")
    assert result.returncode == 1
    assert "events-2.jsonl, which exists" in result.stderr
    assert not (tmp_path / "events-1.jsonl").exists()
    assert "which is none" in run("--bundle", bundle, *devices, "--events", os.devnull).stderr


def test_a_source_that_fails_on_the_way_leaves_the_others_and_their_files_whole(
    bundle: Path, clips: dict[str, Path], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.avi"
    broken.write_bytes(clips["dark"].read_bytes()[:-6000])
    events = tmp_path / "events.jsonl"
    result = run("--bundle", bundle, "--device", broken, "--device", clips["grey"], "--events", events)
    assert result.returncode == 1
    assert "\n1: ended: expected " in result.stderr
    assert "received 1 that failed: 1;" in result.stderr
    assert len((tmp_path / "events-2.jsonl").read_text().splitlines()) == FRAMES + 1


@contextmanager
def served(*arguments: str | Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Yield the command, with a dashboard, and the URL of that."""
    process = subprocess.Popen(
        [*COMMAND, *arguments, "--no-window", "--serve", "127.0.0.1:0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=HEADLESS,
    )
    with process:
        try:
            assert process.stderr is not None
            yield process, next(line for line in process.stderr if line.startswith("dashboard: ")).split()[1]
        finally:
            process.kill()


def test_a_signal_ends_all_with_complete_files(bundle: Path, tmp_path: Path) -> None:
    devices = "--device", "phantom:A", "--device", "phantom:B"
    with served("--bundle", bundle, *devices, "--events", tmp_path / "events.jsonl") as (process, url):
        for number in (1, 2):
            with urllib.request.urlopen(f"{url}{number}/events", timeout=30) as events:
                while events.readline() != b"event: frame\n":
                    assert process.poll() is None
        with urllib.request.urlopen(f"{url}metrics", timeout=30) as metrics:
            text = metrics.read().decode()
        process.send_signal(signal.SIGTERM)
        summary, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    for name in ("1", "2"):
        assert f'metfa_frames_classified_total{{source="{name}"}} ' in text
        lines = (tmp_path / f"events-{name}.jsonl").read_text().splitlines()
        assert len([line for line in lines if json.loads(line)["type"] == "frame"]) > 0
        assert f"{name}:\n  " in summary


def test_without_a_device_the_command_says_so() -> None:
    result = run()
    assert result.returncode == 2
    assert result.stderr == "Error: expected --device or --devices, received neither; give for example --device 0\n"


@pytest.mark.skipif(EXECUTABLE is None, reason="no Chromium is installed")
def test_the_grid_shows_all_and_leads_to_each(bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "devices.txt"
    file.write_text("<b>left</b> = phantom:A\nright = phantom:B\n")
    with served("--bundle", bundle, "--devices", file) as (process, url), Page(tmp_path) as page:
        page.open(url)
        page.wait_for(lambda: page.text("#state") == "2 of 2 running")
        names = "[...document.querySelectorAll('.tile > p > b')].map((each) => each.textContent).join()"
        assert page.evaluate(names) == "<b>left</b>,right"
        page.wait_for(lambda: page.evaluate("[...document.images].filter((one) => one.naturalWidth > 0).length") == 2)
        page.evaluate("document.querySelectorAll('.tile')[1].click()")
        page.wait_for(lambda: page.text("#name") == "right")
        page.wait_for(lambda: page.evaluate("picture.naturalWidth > 0"))
        page.wait_for(lambda: (page.text("#state") or "").startswith("live"))
        page.evaluate("document.querySelector('#all').click()")
        page.wait_for(lambda: page.text("#state") == "2 of 2 running")
        process.send_signal(signal.SIGTERM)
        page.wait_for(lambda: page.text("#state") == "ended")
        assert page.complaints == []
