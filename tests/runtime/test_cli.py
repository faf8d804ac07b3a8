"""``metfa-stream`` as users start it."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from metfa.runtime.bundle import directory as bundles
from metfa.runtime.bundle import records
from metfa.runtime.decisions.scanner_check import SCHEMA as DEVICES_SCHEMA
from metfa.runtime.decisions.scanner_check import ScannerReference, ScannerStatistics
from metfa.runtime.imaging.appearance import appearance

from .conftest import LABELS, grey, make_bundle, make_contract, make_onnx, write_clip

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.processes import Interpreter

    Run = Callable[..., subprocess.CompletedProcess[str]]

COMMAND = [sys.executable, "-c", "from metfa.runtime.cli import run; run()"]
ERROR = re.compile(r"Error: expected .+, received .+; .+")
HEADLESS = {name: value for name, value in os.environ.items() if name not in {"DISPLAY", "WAYLAND_DISPLAY"}}


@pytest.fixture
def run(interpreter: Interpreter) -> Run:
    """Run the command where there is no display."""

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return interpreter.run(COMMAND[-1], *arguments, DISPLAY="", WAYLAND_DISPLAY="")

    return run


def events_in(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def frames_in(path: Path) -> int:
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    frames = 0
    while capture.read()[0]:
        frames += 1
    return frames


def test_a_folder_becomes_events_and_a_video(run: Run, bundle: Path, folder: Path, tmp_path: Path) -> None:
    video, events = tmp_path / "annotated video.mp4", tmp_path / "events.jsonl"
    result = run("--bundle", bundle, "--device", folder, "--output", video, "--events", events)
    assert result.returncode == 0
    assert [(event["label"], event["source"]) for event in events_in(events)] == [
        ("dark", "1 dark.png"),
        ("grey", "2 grey.png"),
        ("bright", "3 bright.png"),
    ]
    assert frames_in(video) == 3
    backend, source, window = result.stderr.splitlines()
    assert re.fullmatch(r"backend: ONNX Runtime \S+ on the CPU, model\.onnx", backend)
    assert source == f"source: 3 files in {folder}"
    assert window == "window: none (no display: neither DISPLAY nor WAYLAND_DISPLAY is set)"
    assert result.stdout.startswith("3 frames, 0 dropped, ")
    assert all(f"\n{label}" in result.stdout for label in LABELS)


def test_what_cannot_be_used_of_a_folder_is_skipped_and_counted(
    run: Run, bundle: Path, folder: Path, tmp_path: Path
) -> None:
    empty_image(folder)
    truncated_png(folder)
    truncated_jpeg(folder)
    image_that_is_none(folder)
    events = tmp_path / "events.jsonl"
    result = run("--bundle", bundle, "--device", folder, "--events", events)
    assert result.returncode == 0
    assert [event["label"] for event in events_in(events)] == ["dark", "grey", "bright"]
    assert [line for line in result.stderr.splitlines() if "skipped" in line] == [
        "source: skipped 0 cut.jpg: a damaged or truncated file",
        "source: skipped 0 cut.png: a damaged or truncated file",
        "source: skipped 0 empty.png: an empty file",
        "source: skipped 4 of 7 files",
    ]


def test_a_scan_becomes_frames_and_the_plane_that_it_held(run: Run, bundle: Path, tmp_path: Path) -> None:
    clip, events = tmp_path / "clip.avi", tmp_path / "events.jsonl"
    writer = cv2.VideoWriter(str(clip), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    for index in range(100):
        level = 170 if 25 <= index < 75 else 20
        scene = np.linspace(level, level + 60, 64) + np.random.default_rng(index).integers(0, 20, (48, 64))
        writer.write(cv2.cvtColor(scene.astype(np.uint8), cv2.COLOR_GRAY2BGR))
    writer.release()
    snapshots = tmp_path / "snapshots"
    result = run("--bundle", bundle, "--device", clip, "--events", events, "--snapshots", snapshots, "--limit", "98")
    frames = [record for record in events_in(events) if record["type"] == "frame"]
    ended = [record for record in events_in(events) if record["type"] == "event"]
    assert [frame["index"] for frame in frames] == list(range(98))
    assert [(event["plane"], event["source"]) for event in ended] == [
        ("dark", str(clip)),
        ("bright", str(clip)),
        ("dark", str(clip)),
    ]
    assert ended[-1]["end_index"] == 97
    assert re.search(r"\nevents: dark 2, bright 1$", result.stdout.strip())
    saved = [json.loads(path.read_text()) for path in sorted(snapshots.glob("*.json"))]
    fields = ("plane", "start", "end", "best_index")
    assert [[record[field] for field in fields] for record in saved] == [
        [event[field] for field in fields] for event in ended
    ]
    assert len(list(snapshots.iterdir())) == 6


def test_the_labels_of_a_folder_are_a_table(run: Run, bundle: Path, folder: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b'4 \xe9, "2"\n.png')
    (folder / "3 bright.png").rename(folder / name)
    table, events = tmp_path / "new" / "labels.csv", tmp_path / "events.jsonl"
    result = run("--bundle", bundle, "--device", folder, "--labels", table, "--events", events)
    assert result.returncode == 0, result.stderr
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["1 dark.png", "2 grey.png", '4 \\udce9, "2"\n.png']
    for row, event in zip(rows, events_in(events), strict=True):
        decision, probabilities = event["decision"], event["probabilities"]
        assert isinstance(decision, dict)
        assert isinstance(probabilities, dict)
        assert (row["label"], float(row["confidence"])) == (event["label"], event["confidence"])
        assert row["status"] == decision["status"]
        assert {label: float(row[f"P({label})"]) for label in LABELS} == probabilities
    assert list(table.parent.iterdir()) == [table]


def test_help_shows_values_as_they_are_typed(run: Run) -> None:
    said = run("--help").stdout
    for option in ("--roi auto|full|x,y,w,h ", "--size WIDTHxHEIGHT ", "--serve HOST:PORT "):
        assert option in said
    titles = re.findall(r"^(\w+):$", said, re.MULTILINE)
    assert titles == ["Source", "Model", "Decision", "Output", "Connection", "Run", "Options"]


def test_only_images_have_a_table_of_labels(run: Run, bundle: Path, clip: Path, tmp_path: Path) -> None:
    result = run("--bundle", bundle, "--device", clip, "--labels", tmp_path / "labels.csv")
    assert result.returncode == 1
    assert re.fullmatch(
        r"Error: expected an image or a folder for --labels, received video .*clip\.mp4, .*; take --events, .*",
        result.stderr.splitlines()[-1],
    )
    assert not (tmp_path / "labels.csv").exists()


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ([], "undecided"),  # 0.8 and 0.5 of the contract; the model says 0.57
        (["--enter", "0.55"], "plane"),
        (["--exit", "0.6"], "no plane"),
    ],
)
def test_the_thresholds_can_be_chosen(run: Run, bundle: Path, tmp_path: Path, options: list[str], status: str) -> None:
    image, table = tmp_path / "image.png", tmp_path / "labels.csv"
    assert cv2.imwrite(str(image), np.tile(np.array([[172, 212]], np.uint8), (48, 32)))
    assert run("--bundle", bundle, "--device", image, "--labels", table, *options).returncode == 0
    (row,) = csv.DictReader(table.read_text().splitlines())
    assert (row["label"], round(float(row["confidence"]), 2), row["status"]) == ("bright", 0.57, status)


@pytest.mark.parametrize(("options", "events"), [([], 1), (["--dwell", "2500"], 0)])
def test_how_long_a_plane_must_be_held_can_be_chosen(
    run: Run, bundle: Path, tmp_path: Path, options: list[str], events: int
) -> None:
    clip = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(clip), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    for index in range(50):
        scene = np.linspace(20, 80, 64) + np.random.default_rng(index).integers(0, 20, (48, 64))
        writer.write(cv2.cvtColor(scene.astype(np.uint8), cv2.COLOR_GRAY2BGR))
    writer.release()
    record = tmp_path / "events.jsonl"
    assert run("--bundle", bundle, "--device", clip, "--events", record, *options).returncode == 0
    assert [each["type"] for each in events_in(record)].count("event") == events


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--enter", "0.4"], "Invalid value for '--enter': 0.4 is not in the range 0.5<x<=1."),
        (["--dwell", "-1"], "Invalid value for '--dwell': -1.0 is not in the range x>=0."),
        (
            ["--exit", "0.9"],
            "expected --exit of at most --enter, received 0.9 and 0.8; what is not given is the bundle's; "
            "give for example --enter 0.8 --exit 0.5",
        ),
        (
            ["--enter", "0.6", "--exit", "0.7"],
            "expected --exit of at most --enter, received 0.7 and 0.6; give for example --enter 0.8 --exit 0.5",
        ),
    ],
)
def test_thresholds_that_do_not_fit_are_refused(
    run: Run, bundle: Path, folder: Path, options: list[str], said: str
) -> None:
    result = run("--bundle", bundle, "--device", folder, *options)
    assert (result.returncode, result.stdout, result.stderr) == (2, "", f"Error: {said}\n")


def test_a_recording_is_played_at_its_own_pace(run: Run, bundle: Path, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=20, rate=10.0)
    begun = time.monotonic()
    result = run("--bundle", bundle, "--device", clip, "--realtime")
    assert time.monotonic() - begun >= 1.9
    assert re.search(r"^source: video .*clip\.mp4, .*, in real time$", result.stderr, re.MULTILINE)
    assert result.stdout.startswith("20 frames, 0 dropped, ")


def test_the_region_of_interest_is_what_the_model_sees(run: Run, bundle: Path, tmp_path: Path) -> None:
    image = grey(0)
    image[10:40, 20:60] = 255
    path = tmp_path / "image.png"
    assert cv2.imwrite(str(path), image)
    events = tmp_path / "events.jsonl"
    run("--bundle", bundle, "--device", path, "--roi", "20,10,40,30", "--events", events)
    assert [event["label"] for event in events_in(events)] == ["bright"]


def test_the_sector_is_found_and_reported_once(run: Run, bundle: Path, tmp_path: Path) -> None:
    frames, events = tmp_path / "frames", tmp_path / "events.jsonl"
    frames.mkdir()
    for seed in range(3):
        image = np.zeros((300, 400), np.uint8)
        image[50:250, 100:350] = np.random.default_rng(seed).integers(200, 256, (200, 250))
        assert cv2.imwrite(str(frames / f"{seed}.png"), image)
    seen = run("--bundle", bundle, "--device", frames, "--roi", "auto", "--events", events)
    assert [line for line in seen.stderr.splitlines() if line.startswith("sector")] == [
        "sector: 100,50,250,200 of 400x300"
    ]
    assert {event["label"] for event in events_in(events)} == {"bright"}
    run("--bundle", bundle, "--device", frames, "--roi", "full", "--events", events, "--overwrite")
    assert {event["label"] for event in events_in(events)} == {"grey"}


def test_frames_are_collected_and_the_device_is_checked(run: Run, bundle: Path, tmp_path: Path) -> None:
    scan, collected = tmp_path / "scan", tmp_path / "collected"
    scan.mkdir()
    for seed in range(120):
        noise = np.random.default_rng(seed).integers(0, 255, (6, 8)).astype(np.uint8)
        assert cv2.imwrite(str(scan / f"{seed:03}.png"), cv2.resize(noise, (64, 48)))
    picture = np.random.default_rng(0).integers(0, 255, (32, 40)).astype(np.uint8)
    features = tuple(appearance(picture).tolist())
    whitening = tuple(tuple(row) for row in np.eye(len(features)).tolist())
    known = ScannerReference("device A", features, whitening, (tuple([0.0] * len(features)),), 0.01)
    with bundles.updating(bundle, keep=lambda _: True) as stage:
        (stage / bundles.SCANNERS).write_text(records.to_json(ScannerStatistics(DEVICES_SCHEMA, known, None)))

    arguments = ("--bundle", bundle, "--device", scan, "--roi", "0,0,64,48")
    result = run(*arguments, "--collect", collected, "--collect-limit", "7")
    assert result.returncode == 0, result.stderr
    device, collection = result.stdout.splitlines()[-2:]
    assert device.startswith(
        "scanner check: These images look unlike those the model was trained on (scanner, preset or"
    )
    assert device in result.stderr.splitlines()
    assert result.stderr.count("scanner check: ") == 1
    assert collection == f"collection: 7 frames; metfa-train --target {collected} --target-roi 0,0,64,48"
    assert len(list(collected.glob("*.png"))) == 7

    again = run(*arguments, "--collect", scan)
    assert again.returncode == 1
    assert ERROR.fullmatch(again.stderr.splitlines()[-1])
    assert "one that holds" in again.stderr


def test_the_stream_ends_after_so_many_frames_or_seconds(run: Run, bundle: Path, clip: Path) -> None:
    assert run("--bundle", bundle, "--device", clip, "--limit", "7").stdout.startswith("7 frames, ")
    assert " frames/s" in run("--bundle", bundle, "--device", "phantom:B", "--seconds", "1").stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("device", ["phantom:B", "video"])
def test_a_signal_ends_the_stream_with_complete_files(
    bundle: Path, tmp_path: Path, device: str, number: signal.Signals
) -> None:
    if device == "video":
        device = str(write_clip(tmp_path / "long.mp4", frames=500, height=240, width=320))
    video, events = tmp_path / "annotated.mp4", tmp_path / "events.jsonl"
    process = subprocess.Popen(
        [*COMMAND, "--bundle", bundle, "--device", device, "--output", video, "--events", events, "--no-window"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (events.exists() and events.stat().st_size) and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(number)
    summary, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    frames = [record for record in events_in(events) if record["type"] == "frame"]
    assert 1 <= len(frames) < 500
    assert summary.startswith(f"{len(frames)} frames, ")
    assert frames_in(video) >= len(frames)
    assert not list(tmp_path.glob(".*"))


def test_browsers_are_served_until_the_end(bundle: Path) -> None:
    arguments = ["--device", "phantom:B", "--no-window", "--serve", "127.0.0.1:0"]
    process = subprocess.Popen(
        [*COMMAND, "--bundle", bundle, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=HEADLESS,
    )
    assert process.stderr is not None
    url = next(line for line in process.stderr if line.startswith("dashboard: ")).split()[1]
    with urllib.request.urlopen(url, timeout=30) as page:
        assert b"Research software" in page.read()
    with urllib.request.urlopen(url + "events", timeout=30) as events:
        while events.readline() != b"event: frame\n":
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert b"event: end\ndata: {}\n\nevent: picture\n" in events.read()
    summary, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert " frames, " in summary


def test_without_its_extra_the_dashboard_is_refused_in_one_line() -> None:
    without = "import importlib.util as u; u.find_spec = lambda name: None if name == 'h11' else name; "
    command = [sys.executable, "-c", without + COMMAND[-1], "--device", "phantom:B", "--serve", "127.0.0.1:0"]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == (
        "Error: expected the package h11, received a Python environment without it; "
        "pip install '.[web]' in a clone of metfa\n"
    )


@pytest.mark.parametrize(
    ("option", "name"), [("--events", "scan.jsonl"), ("--output", "scan.mp4"), ("--labels", "scan.csv")]
)
def test_a_file_that_exists_is_replaced_only_where_that_is_wanted(
    run: Run, bundle: Path, folder: Path, tmp_path: Path, option: str, name: str
) -> None:
    path = tmp_path / name
    path.write_text("an earlier scan")
    refused = run("--bundle", bundle, "--device", folder, option, path)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == (
        f"Error: expected a new file for {option}, received {path}, which exists; "
        "choose another path, or replace it with --overwrite\n"
    )
    assert path.read_text() == "an earlier scan"
    replaced = run("--bundle", bundle, "--device", folder, option, path, "--overwrite")
    assert replaced.returncode == 0, replaced.stderr
    assert b"an earlier scan" not in path.read_bytes()


def test_reasons_against_faster_backends_are_told_where_asked_or_where_there_is_a_gpu(
    run: Run, bundle: Path, folder: Path
) -> None:
    arguments = ["--bundle", str(bundle), "--device", str(folder), "--no-window"]
    _, tensorrt, cuda, _ = run(*arguments, "--verbose").stderr.splitlines()
    assert tensorrt.startswith("backend: not tensorrt: expected a TensorRT engine in FP16 in ")
    assert cuda.startswith("backend: not cuda: ")
    with_gpu = "from metfa.runtime.backends import choice; choice.has_nvidia_gpu = lambda: True; "
    command = [sys.executable, "-c", with_gpu + COMMAND[-1], *arguments]
    _, remark, source = subprocess.run(command, capture_output=True, text=True, check=True).stderr.splitlines()
    assert remark == tensorrt
    assert source.startswith("source: ")


def test_the_token_is_taken_from_the_environment_and_not_printed(bundle: Path, folder: Path) -> None:
    environment = {**HEADLESS, "METFA_TOKEN": "correct-horse_battery"}
    command = [*COMMAND, "--bundle", str(bundle), "--device", str(folder), "--serve", "127.0.0.1:0"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert re.search(r"^dashboard: http://127\.0\.0\.1:\d+/\?token=… of your METFA_TOKEN$", result.stderr, re.MULTILINE)
    assert "correct-horse" not in result.stderr + result.stdout


@pytest.mark.parametrize("option", ["--rate", "--seconds", "--dwell"])
@pytest.mark.parametrize("number", ["inf", "-inf", "nan", "Infinity", "1e999"])
def test_numbers_that_are_none_are_refused(run: Run, bundle: Path, folder: Path, option: str, number: str) -> None:
    result = run("--bundle", bundle, "--device", folder, option, number)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"Error: Invalid value for '{option}': ")


def test_what_controls_a_terminal_is_escaped(run: Run, bundle: Path, folder: Path, tmp_path: Path) -> None:
    named = folder.rename(folder.with_name("a\x1b]0;title\x07\x9b2J\u202ebcd\nError: forged"))
    result = run("--bundle", bundle, "--device", named, "--collect", tmp_path / "col\x1blected", "--no-window")
    assert result.returncode == 0, result.stderr
    assert "files in " in result.stderr
    assert "a\\x1b]0;title\\x07\\x9b2J\\u202ebcd\\nError: forged" in result.stderr
    assert "col\\x1blected" in result.stdout
    refused = run("--bundle", tmp_path / "no\x1bthing", "--device", named)
    assert "no\\x1bthing" in refused.stderr
    for printed in (result.stderr, result.stdout, refused.stderr):
        assert all(line.isprintable() for line in printed.split("\n"))


def test_names_in_any_script_in_a_locale_without_it(bundle: Path, folder: Path, tmp_path: Path) -> None:
    named = folder.rename(folder.with_name("Ultraschall Gehörgang 超声 سونار"))
    arguments = ["--bundle", bundle, "--device", named, "--collect", tmp_path / "collecté"]
    locale = {**HEADLESS, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [*COMMAND, *map(str, arguments), "--no-window"]
    ended = subprocess.run(command, capture_output=True, env=locale, check=False)
    assert ended.returncode == 0, ended.stderr
    assert b"source: 3 files in " in ended.stderr
    assert b"collection: " in ended.stdout


def test_a_full_disk_behind_the_standard_output_is_one_line(bundle: Path, folder: Path) -> None:
    with Path("/dev/full").open("w") as full:
        command = [*COMMAND, "--bundle", str(bundle), "--device", str(folder), "--no-window"]
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=HEADLESS, check=False)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[2:] == [
        "Error: expected to be able to print the results, received No space left on device; "
        "free space where the standard output leads, or lead it elsewhere"
    ]


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_streams_that_are_closed_are_nobody_elses(bundle: Path, folder: Path, tmp_path: Path, closed: str) -> None:
    """A file that is opened where a stream was would be given what libraries print."""
    events = tmp_path / "events.jsonl"
    arguments = ["--bundle", str(bundle), "--device", str(folder), "--events", str(events), "--no-window"]
    program = f"import os; assert os.fstat(2); {COMMAND[-1]}" if "2>" not in closed else COMMAND[-1]
    command = shlex.join([COMMAND[0], "-c", program, *arguments])
    ended = subprocess.run(
        ["sh", "-c", f"{command} {closed}"], capture_output=True, text=True, env=HEADLESS, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert len(events_in(events)) == 3
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("address", ["8080", "nowhere", "127.0.0.1:99999", "http://127.0.0.1:80"])
def test_what_is_no_address_is_refused_before_anything_is_opened(
    run: Run, bundle: Path, folder: Path, address: str
) -> None:
    result = run("--bundle", bundle, "--device", folder, "--serve", address)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.endswith(f"expected HOST:PORT, received {address!r}; give for example 127.0.0.1:8080")


def test_a_truncated_video_is_processed_as_far_as_it_goes(run: Run, bundle: Path, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.avi", frames=60)
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    video, events = tmp_path / "annotated.mp4", tmp_path / "events.jsonl"
    result = run("--bundle", bundle, "--device", clip, "--output", video, "--events", events, "--no-window")
    assert result.returncode == 1
    assert ERROR.fullmatch(result.stderr.splitlines()[-1])
    assert len(result.stderr.splitlines()) == 3
    assert len(events_in(events)) == frames_in(video) > 20
    assert result.stdout.startswith(f"{frames_in(video)} frames, ")


def device_that_does_not_exist(_: Path) -> list[str]:
    return ["--device", "/dev/video99"]


def camera_that_does_not_exist(_: Path) -> list[str]:
    return ["--device", "99"]


def file_that_does_not_exist(_: Path) -> list[str]:
    return ["--device", "nowhere.mp4"]


def stream_that_does_not_exist(_: Path) -> list[str]:
    return ["--device", "http://127.0.0.1:9/scan"]


def phantom_that_does_not_exist(_: Path) -> list[str]:
    return ["--device", "phantom:nowhere"]


def folder_without_images(folder: Path) -> list[str]:
    (folder / "empty").mkdir()
    return ["--device", str(folder / "empty")]


def empty_image(folder: Path) -> list[str]:
    (folder / "0 empty.png").touch()
    return ["--device", str(folder / "0 empty.png")]


def truncated_png(folder: Path) -> list[str]:
    (folder / "0 cut.png").write_bytes((folder / "1 dark.png").read_bytes()[:-20])
    return ["--device", str(folder / "0 cut.png")]


def truncated_jpeg(folder: Path) -> list[str]:
    image = cv2.imencode(".jpg", cv2.imread(str(folder / "2 grey.png")))[1].tobytes()  # type: ignore[arg-type]
    (folder / "0 cut.jpg").write_bytes(image[: len(image) * 9 // 10])
    return ["--device", str(folder / "0 cut.jpg")]


def image_that_is_none(folder: Path) -> list[str]:
    (folder / "0 text.png").write_text("no picture")
    return ["--device", str(folder / "0 text.png")]


def images_of_which_none_can_be_used(folder: Path) -> list[str]:
    (folder / "bad").mkdir()
    (folder / "bad" / "1.png").touch()
    (folder / "bad" / "2.png").touch()
    return ["--device", str(folder / "bad")]


def empty_video(folder: Path) -> list[str]:
    (folder / "clip.mp4").touch()
    return ["--device", str(folder / "clip.mp4")]


def truncated_video(folder: Path) -> list[str]:
    clip = write_clip(folder / "clip.mp4", frames=20)
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    return ["--device", str(clip)]


def region_beyond_the_frame(_: Path) -> list[str]:
    return ["--roi", "0,0,65,48"]


def no_bundle(folder: Path) -> list[str]:
    return ["--bundle", str(folder)]


def edited_bundle(folder: Path) -> list[str]:
    (folder.parent / "bundle" / bundles.CONTRACT).write_text(make_contract(("a", "b")).to_json())
    return []


def replace_in_bundle(folder: Path, name: str, content: bytes) -> None:
    with bundles.updating(folder.parent / "bundle", keep=lambda _: True) as stage:
        (stage / name).write_bytes(content)


def empty_onnx(folder: Path) -> list[str]:
    replace_in_bundle(folder, bundles.ONNX, b"")
    return []


def truncated_onnx(folder: Path) -> list[str]:
    replace_in_bundle(folder, bundles.ONNX, make_onnx(make_contract())[:-200])
    return []


def contract_of_another_version(folder: Path) -> list[str]:
    document = json.loads(make_contract().to_json()) | {"schema": 99}
    replace_in_bundle(folder, bundles.CONTRACT, json.dumps(document).encode())
    return []


def backend_that_is_not_there(_: Path) -> list[str]:
    return ["--backend", "tensorrt"]


def precision_that_is_not_there(_: Path) -> list[str]:
    return ["--precision", "fp16"]


def window_without_display(_: Path) -> list[str]:
    return ["--window"]


def video_that_is_no_mp4(folder: Path) -> list[str]:
    return ["--output", str(folder / "video.gif")]


def video_that_cannot_be_written(folder: Path) -> list[str]:
    return ["--output", str(folder / "1 dark.png" / "video.mp4")]


def events_that_cannot_be_written(folder: Path) -> list[str]:
    return ["--events", str(folder)]


def table_that_is_no_csv(folder: Path) -> list[str]:
    return ["--labels", str(folder / "labels.txt")]


def table_that_cannot_be_written(folder: Path) -> list[str]:
    return ["--labels", str(folder / "1 dark.png" / "labels.csv")]


def live_source_in_real_time(_: Path) -> list[str]:
    return ["--device", "phantom:B", "--realtime"]


def snapshots_that_cannot_be_written(folder: Path) -> list[str]:
    return ["--snapshots", str(folder / "1 dark.png")]


def events_on_a_full_disk(_: Path) -> list[str]:
    return ["--events", "/dev/full"]


def address_of_another_machine(_: Path) -> list[str]:
    return ["--serve", "192.0.2.1:8080"]


def source_too_long_for_a_file(folder: Path) -> list[str]:
    return ["--device", f"gst:{'x' * 300}", "--events", str(folder / "notes.txt"), "--overwrite"]


def output_that_is_the_source(folder: Path) -> list[str]:
    clip = write_clip(folder / "clip.mp4", frames=5)
    return ["--device", str(clip), "--events", str(clip)]


def test_a_stream_that_is_refused_leaves_everything_as_it_was(
    run: Run, bundle: Path, folder: Path, tmp_path: Path
) -> None:
    old, mine = tmp_path / "old.jsonl", tmp_path / "mine"
    old.write_text("an earlier scan\n")
    mine.mkdir()
    before = sorted(tmp_path.rglob("*"))
    new: list[str | Path] = ["--output", tmp_path / "a" / "b.mp4", "--snapshots", tmp_path / "c" / "d"]
    refusals: list[tuple[Path, list[str | Path]]] = [
        (tmp_path / "e" / "new.jsonl", ["--collect", folder]),
        (old, ["--collect", folder]),
        (old, ["--collect", mine, "--roi", "0,0,640,480"]),
    ]
    for events, refused in refusals:
        result = run("--bundle", bundle, "--device", folder, "--events", events, "--overwrite", *new, *refused)
        assert ERROR.fullmatch(result.stderr.splitlines()[-1])
        assert sorted(tmp_path.rglob("*")) == before
        assert old.read_text() == "an earlier scan\n"


@pytest.mark.parametrize(
    "spoil",
    [
        device_that_does_not_exist,
        camera_that_does_not_exist,
        file_that_does_not_exist,
        stream_that_does_not_exist,
        phantom_that_does_not_exist,
        folder_without_images,
        empty_image,
        truncated_png,
        truncated_jpeg,
        image_that_is_none,
        images_of_which_none_can_be_used,
        empty_video,
        truncated_video,
        region_beyond_the_frame,
        no_bundle,
        edited_bundle,
        empty_onnx,
        truncated_onnx,
        contract_of_another_version,
        backend_that_is_not_there,
        precision_that_is_not_there,
        window_without_display,
        video_that_is_no_mp4,
        video_that_cannot_be_written,
        events_that_cannot_be_written,
        table_that_is_no_csv,
        table_that_cannot_be_written,
        live_source_in_real_time,
        snapshots_that_cannot_be_written,
        events_on_a_full_disk,
        address_of_another_machine,
        source_too_long_for_a_file,
        output_that_is_the_source,
    ],
)
def test_bad_input_is_one_line(
    run: Run, bundle: Path, folder: Path, tmp_path: Path, spoil: Callable[[Path], list[str]]
) -> None:
    arguments = spoil(folder)
    before = sorted(tmp_path.rglob("*"))
    video: list[str | Path] = [] if "--output" in arguments else ["--output", tmp_path / "annotated.mp4"]
    device: list[str | Path] = [] if "--device" in arguments else ["--device", folder]
    # Of other options that are given twice, the last counts.
    result = run("--bundle", bundle, *device, *video, *arguments)
    assert result.returncode == 1
    *said, error = result.stderr.splitlines()
    assert ERROR.fullmatch(error)
    assert all(line.startswith(("backend: ", "source: ", "window: ")) for line in said)
    assert result.stdout == "" or spoil is events_on_a_full_disk
    assert [path for path in sorted(tmp_path.rglob("*")) if path not in before] == (
        [tmp_path / "annotated.mp4"] if spoil is events_on_a_full_disk else []
    )


@pytest.mark.parametrize(("highest", "warned"), [(None, False), (0.9, False), (0.625, True)])
def test_a_model_that_was_never_sure_enough_is_warned_of(
    run: Run, folder: Path, tmp_path: Path, highest: float | None, warned: bool
) -> None:
    contract = make_contract()
    decision = replace(contract.decision, max_validation_confidence=highest)
    result = run("--bundle", make_bundle(tmp_path / "unsure", replace(contract, decision=decision)), "--device", folder)
    assert result.returncode == 0, result.stderr
    warning = (
        "warning: this model may never show a label: on held-out frames it was at most 0.62 sure of a plane, and a "
        "label needs 0.80; train it longer, or lower that with --enter"
    )
    assert (warning in result.stderr.splitlines()) == warned
