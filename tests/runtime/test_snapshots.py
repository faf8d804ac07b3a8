from __future__ import annotations

import json
import re
import threading
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from metfa.runtime import Frame, PlaneEvent
from metfa.runtime.errors import OutputError
from metfa.runtime.sinks import SnapshotSink, snapshots

from .test_sinks import largest_file

if TYPE_CHECKING:
    from collections.abc import Callable

NOISE = np.random.default_rng(0).integers(0, 256, (120, 160), np.uint8)


def event(plane: str = "Femur", *, captured_at: float | None = None, colours: bool = False) -> PlaneEvent:
    image = np.dstack([NOISE, 255 - NOISE, NOISE // 2]) if colours else NOISE
    best = Frame(image, 40, time.monotonic() if captured_at is None else captured_at, "scan.mp4", session=2)
    return PlaneEvent(plane, 0.2, 2.5, 6, 75, 0.98765432, best)


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.mark.parametrize("colours", [False, True])
def test_the_best_frame_is_saved_as_it_was_with_its_record(tmp_path: Path, colours: bool) -> None:
    directory = tmp_path / "new" / "snapshots"
    before = datetime.now(timezone.utc)
    with SnapshotSink(directory) as sink:
        sink.write_event(event(colours=colours))
    record_path, picture_path = sorted(directory.iterdir())
    assert re.fullmatch(r"\d{8}T\d{6}\.\d{3}Z-Femur\.png", picture_path.name)
    assert record_path.name == picture_path.name.removesuffix(".png") + ".json"
    picture = cv2.imread(str(picture_path), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(np.asarray(picture), event(colours=colours).best.image)
    record = json.loads(record_path.read_text(encoding="utf-8"))
    captured = datetime.fromisoformat(record.pop("captured").replace("Z", "+00:00"))
    assert abs((captured - before).total_seconds()) < 60
    assert f"{captured:%Y%m%dT%H%M%S}" == picture_path.name[:15]
    assert record == {
        "schema": 1,
        "plane": "Femur",
        "confidence": 0.987654,
        "start": 0.2,
        "end": 2.5,
        "start_index": 6,
        "end_index": 75,
        "best_index": 40,
        "source": "scan.mp4",
        "session": 2,
    }


def test_names_sort_by_time_even_where_the_clock_is_set_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    sink = SnapshotSink(tmp_path)
    for order, plane in enumerate(("RVOT", "Femur", "4CH", "Lips")):
        sink.write_event(event(plane, captured_at=now + order))
        monkeypatch.setattr("time.time", lambda: 0.0)
    assert [name[21:] for name in names_in(tmp_path) if name.endswith(".png")] == [
        "RVOT.png",
        "Femur.png",
        "4CH.png",
        "Lips.png",
    ]


def test_nothing_is_replaced(tmp_path: Path) -> None:
    at = time.monotonic()
    one, two = SnapshotSink(tmp_path), SnapshotSink(tmp_path)
    two._epoch = one._epoch
    one.write_event(event(captured_at=at))
    contents = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for sink in (one, two, one):
        sink.write_event(event(captured_at=at))
    assert len(names_in(tmp_path)) == 8
    assert {path: path.read_bytes() for path in contents} == contents


def test_two_streams_may_share_a_directory(tmp_path: Path) -> None:
    at = time.monotonic()
    sinks = [SnapshotSink(tmp_path) for _ in range(4)]

    def save(sink: SnapshotSink) -> None:
        sink._epoch = 0.0
        for _ in range(5):
            sink.write_event(event(captured_at=at))

    threads = [threading.Thread(target=save, args=(sink,)) for sink in sinks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = names_in(tmp_path)
    assert len(names) == 2 * 4 * 5
    assert all(name.endswith((".png", ".json")) for name in names)


@pytest.mark.parametrize(
    ("plane", "name"),
    [
        ("Brain (Cb.)", "Brain-Cb"),
        ("../../etc/passwd", "etc-passwd"),
        ("頭 Θώραξ", "頭-Θώραξ"),
        ("///", ""),
        ("x" * 300, "x" * 40),
        ("nul\0 new\nline", "nul-new-line"),
    ],
)
def test_any_label_makes_a_file_in_the_directory(tmp_path: Path, plane: str, name: str) -> None:
    SnapshotSink(tmp_path).write_event(event(plane))
    record, picture = names_in(tmp_path)
    assert picture[21:] == f"{name}.png"
    assert json.loads((tmp_path / record).read_text(encoding="utf-8"))["plane"] == plane


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    sink = SnapshotSink(tmp_path)
    sink.write_event(event())
    before = names_in(tmp_path)
    with largest_file(5_000), pytest.raises(OutputError, match=r"to be able to write .*-Femur.*\.png"):
        sink.write_event(event())
    assert names_in(tmp_path) == before


def test_a_record_that_cannot_be_written_takes_its_picture_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "to_json", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        SnapshotSink(tmp_path).write_event(event())
    assert names_in(tmp_path) == []


def a_file(directory: Path) -> Path:
    (directory / "file").touch()
    return directory / "file"


def below_a_file(directory: Path) -> Path:
    return a_file(directory) / "snapshots"


def no_place_for_files(_: Path) -> Path:
    return Path("/proc/self")


@pytest.mark.parametrize("spoil", [a_file, below_a_file, no_place_for_files])
def test_directories_that_cannot_be_written(tmp_path: Path, spoil: Callable[[Path], Path]) -> None:
    with pytest.raises(OutputError, match="to be able to write"):
        SnapshotSink(spoil(tmp_path))


def test_a_reservation_that_a_killed_process_left_is_no_hindrance(tmp_path: Path) -> None:
    at = time.monotonic()
    sink = SnapshotSink(tmp_path)
    sink.write_event(event(captured_at=at))
    (record, picture) = sorted(tmp_path.iterdir())
    name = picture.name.removesuffix(".png")
    record.unlink()
    picture.unlink()
    (tmp_path / f".{name}").touch()
    sink.write_event(event(captured_at=at))
    assert names_in(tmp_path) == [f".{name}", f"{name}-2.json", f"{name}-2.png"]
