"""Pictures are prepared once and found again, until anything that decides them changes."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import time
import zlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from tests.training.data.media import Bad, Held, picture

from metfa.runtime.bundle.contract import Region
from metfa.runtime.errors import OutputError
from metfa.training.data import cache as caches
from metfa.training.data.decoding import digest
from metfa.training.data.prepared import read_domain
from metfa.training.data.readers import list_domain

from ..conftest import LABELS
from .domains import SMALL, domain, entry

if TYPE_CHECKING:
    from collections.abc import Callable

    from metfa.training.data.listing import Entry
    from metfa.training.data.prepared import PreparedDomain


def media() -> list[Entry]:
    return [entry(seed) for seed in range(6)] + [entry(Held("cine", tuple(map(picture, range(20, 50)))))]


def test_every_picture_is_there_with_what_is_known_of_it() -> None:
    listed = media()
    pictures = domain(listed, preparation=replace(SMALL, region=Region(2, 3, 40, 30))).pictures
    assert len(pictures.media) == 36
    assert sorted(zip(pictures.media.tolist(), pictures.positions.tolist(), strict=True)) == [
        *((number, 0) for number in range(6)),
        *((6, position) for position in range(30)),
    ]
    digests = [digest.tobytes() for digest in pictures.digests]
    assert digests == sorted(digests)
    for row, (medium, position) in enumerate(zip(pictures.media, pictures.positions, strict=True)):
        image = list(listed[medium].medium.read())[position]
        assert digests[row] == digest(image)
        assert pictures.region(row) == Region(2, 3, 40, 30)
    assert domain(listed).pictures.region(0) is None


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(caches, "work", refuse)


def frames(prepared: PreparedDomain) -> np.ndarray:
    return prepared.pictures.frames[:]


def test_the_second_run_decodes_nothing(request: pytest.FixtureRequest) -> None:
    first = domain([*media(), entry(Bad("damaged"))])
    request.getfixturevalue("refusing")
    second = domain([*media(), entry(Bad("damaged"))])
    assert (frames(first) == frames(second)).all()
    assert first.skipped == second.skipped


@pytest.mark.usefixtures("cache")
def test_labels_splits_and_groups_are_no_reason_to_decode_again(request: pytest.FixtureRequest) -> None:
    domain([entry(seed) for seed in range(6)])
    request.getfixturevalue("refusing")
    domain([entry(seed, "a", split="test", group="patient") for seed in range(6)])


def test_a_changed_picture_size_or_region_is_prepared_anew(source: Path, cache: Path) -> None:
    def stored(height: int, region: Region | None = None) -> int:
        read_domain(list_domain(str(source)), replace(SMALL, height=height, region=region))
        return len(list(cache.iterdir()))

    assert stored(28) == stored(28) == 1
    assert stored(29) == 2
    assert stored(28, Region(0, 0, 40, 40)) == 3
    (source / LABELS[0] / "000.png").write_bytes((source / LABELS[0] / "001.png").read_bytes() + b"\0")
    assert stored(28) == 4


@pytest.mark.parametrize("name", ["frames.bin", "index.npz"])
@pytest.mark.parametrize("damage", ["removed", "empty", "cut off", "other bytes"])
def test_a_damaged_cache_is_filled_again(cache: Path, name: str, damage: str) -> None:
    listed = [entry(seed) for seed in range(4)]
    before = frames(domain(listed))
    (folder,) = cache.iterdir()
    path = folder / name
    content = path.read_bytes()
    if damage == "removed":
        path.unlink()
    else:
        path.write_bytes({"empty": b"", "cut off": content[: len(content) // 2], "other bytes": b"PK\3\4 no"}[damage])
    (folder / ".frames-left.bin").write_bytes(b"of a run that was killed")
    assert (frames(domain(listed)) == before).all()
    assert sorted(each.name for each in folder.iterdir()) == ["frames.bin", "index.npz"]


def zero_a_frame(folder: Path) -> None:
    with (folder / "frames.bin").open("r+b") as file:
        file.seek(SMALL.height * SMALL.width)
        file.write(bytes(SMALL.height * SMALL.width))


def flip_a_bit(folder: Path) -> None:
    content = bytearray((folder / "frames.bin").read_bytes())
    content[-1] ^= 1
    (folder / "frames.bin").write_bytes(content)


def shorten(folder: Path) -> None:
    os.truncate(folder / "frames.bin", (folder / "frames.bin").stat().st_size - SMALL.height * SMALL.width)


def lengthen(folder: Path) -> None:
    with (folder / "frames.bin").open("ab") as file:
        file.write(bytes(SMALL.height * SMALL.width))


def change(**changes: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def forge(folder: Path) -> None:
        index = dict(np.load(folder / "index.npz"))
        np.savez(folder / "index.npz", **index | {name: change(index[name]) for name, change in changes.items()})

    return forge


def leave_out(folder: Path) -> None:
    index = dict(np.load(folder / "index.npz"))
    del index["checksums"]
    np.savez(folder / "index.npz", **index)


def link_elsewhere(folder: Path) -> None:
    (folder / "frames.bin").rename(folder.parent / "elsewhere.bin")
    (folder / "frames.bin").symlink_to(folder.parent / "elsewhere.bin")


@pytest.mark.parametrize(
    "forge",
    [
        zero_a_frame,
        flip_a_bit,
        shorten,
        lengthen,
        leave_out,
        link_elsewhere,
        change(rows=lambda rows: rows - 1),
        change(rows=lambda rows: rows + 1),
        change(rows=lambda rows: rows.astype(np.float64)),
        change(rows=lambda rows: rows[:, np.newaxis]),
        change(rows=lambda rows: np.array(3)),
        change(media=lambda media: media + 2),
        change(media=lambda media: -media),
        change(digests=lambda digests: digests[:, 1:]),
        change(positions=lambda positions: positions[1:]),
        change(regions=lambda regions: regions - 1),
        change(duplicates=lambda duplicates: duplicates + 99),
        change(failed=lambda _: np.array([7]), reasons=lambda _: np.array(["forged"])),
        change(failed=lambda _: np.array([0]), reasons=lambda _: np.array([], np.str_)),
        change(checksums=lambda checksums: checksums[:0]),
    ],
)
def test_a_cache_that_does_not_fit_is_not_believed(cache: Path, forge: Callable[[Path], None]) -> None:
    listed = [entry(seed) for seed in range(3)]
    before = frames(domain(listed))
    (folder,) = cache.iterdir()
    forge(folder)
    again = domain(listed)
    assert (frames(again) == before).all()
    assert not again.skipped
    assert not (folder / "frames.bin").is_symlink()


def test_the_cache_is_nobody_elses(cache: Path) -> None:
    domain([entry(0)])
    (folder,) = cache.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can write as another user")
@pytest.mark.parametrize("name", ["frames.bin", "index.npz", "."])
def test_what_another_user_wrote_is_refused(cache: Path, name: str) -> None:
    domain([entry(0)])
    (folder,) = cache.iterdir()
    os.chown(folder / name, 12345, -1)
    with pytest.raises(OutputError, match=r"that user 0, who trains, wrote, received some of user 12345; delete that"):
        domain([entry(0)])


def test_blocks_have_checksums_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caches, "_BLOCK", 100)
    pixels = np.arange(250, dtype=np.uint8).reshape(5, 1, 5, 10)
    held = pixels.tobytes()
    assert caches._checksums(pixels).tolist() == [zlib.crc32(held[start : start + 100]) for start in (0, 100, 200)]


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(caches, "_decode", full)
        with pytest.raises(OutputError, match=r"expected to be able to write .*, received No space left on device;"):
            domain(media())
    (folder,) = cache.iterdir()
    assert not list(folder.iterdir())
    assert len(domain(media()).labels) == 36


def test_a_cache_that_cannot_be_made_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(OutputError, match="expected to be able to write"):
        domain(media())


@pytest.mark.parametrize("signals", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_ends_at_once_and_leaves_nothing_half_written(
    cache: Path, tmp_path: Path, signals: signal.Signals
) -> None:
    code = (
        "from metfa.runtime.command import Command\nfrom metfa.training.data.decoding import Preparation\n"
        "from metfa.training.data.readers import list_domain\nfrom metfa.training.data.prepared import read_domain\n"
        "read = lambda: read_domain(list_domain('phantom:A'), Preparation(28, 30, None))\n"
        "Command('read', callback=read)()"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        while process.poll() is None and not list(cache.glob("*/.frames-*")):
            time.sleep(0.01)
        if signals != signal.SIGTERM:
            os.killpg(process.pid, signals)  # as a terminal does
        else:
            process.send_signal(signals)
        output, errors = process.communicate()
    assert (process.returncode, output, errors.strip()) == (130, "", "Interrupted; the same command begins anew")
    assert not [each for folder in cache.iterdir() for each in folder.iterdir()]


def test_two_runs_at_once_prepare_the_pictures_once(cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for seed in range(8):
        assert cv2.imwrite(str(folder / f"{seed}.png"), picture(seed))
    code = (
        "import sys\nfrom metfa.training.data import cache\nfrom metfa.training.data.readers import list_domain\n"
        "from metfa.training.data.prepared import read_domain\nfrom metfa.training.data.decoding import Preparation\n"
        "made = []\nmake = cache._make\ncache._make = lambda *each: (made.append(1), make(*each))\n"
        f"read_domain(list_domain({str(folder)!r}), Preparation(28, 30, None))\nprint(len(made))"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    counts = [process.communicate()[0].strip() for process in processes]
    assert sorted(counts) == ["0", "1"]
    assert len(list(cache.iterdir())) == 1


@pytest.mark.parametrize(
    "module",
    [
        "runtime/imaging/preprocess.py",
        "runtime/sources/video.py",
        "runtime/phantom/scan.py",
        "training/data/decoding.py",
        "training/data/readers/phantom.py",
    ],
)
def test_frames_are_made_anew_where_the_code_that_makes_them_changes(
    module: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Path.read_bytes
    domain([entry(seed) for seed in range(6)])
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + b"#" * path.match(f"*/metfa/{module}"))
    domain([entry(seed) for seed in range(6)])
    assert len(list(cache.iterdir())) == 2
