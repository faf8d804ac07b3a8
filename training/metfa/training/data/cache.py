"""The pictures of a domain, prepared once, in a folder that the next run finds again.

``$XDG_CACHE_HOME/metfa`` (``~/.cache/metfa``) holds a folder for each set of media and each preparation. Its name is a
hash of what the media say that they are, of the settings and of the code, so whatever changes is prepared anew; labels,
splits and patients are no part of it. It can be deleted at any time. ::

    frames.bin    uint8 [P, 1, H, W], in the order in which they were prepared
    index.npz     what is known of each, in the order of digests, and checksums of the frames

What is there is not believed before it is checked: whose it is, that every number fits, and that the frames are those
that were written.
"""

from __future__ import annotations

import hashlib
import math
import os
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

import metfa.runtime
from metfa.runtime.bundle.contract import Region
from metfa.runtime.cores import available_cores
from metfa.runtime.errors import OutputError
from metfa.runtime.files import NO_LINK, WITHOUT_WAITING, cache_directory, replacing, writing_to
from metfa.runtime.lock import alone_in
from metfa.runtime.text import printable

from ..progress import progress
from .decoding import DIGEST_BYTES, SAMPLE, THUMBNAIL, Decoder, Preparation, find_sectors, first_picture
from .groups import renumbered
from .near_duplicates import near_duplicates
from .store import Rows
from .workers import ItemResult, work

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from io import BufferedWriter
    from typing import BinaryIO

    from .decoding import Sectors
    from .listing import Entry

_FRAMES, _INDEX = "frames.bin", "index.npz"
_BLOCK = 1 << 24  # bytes that share a checksum


@dataclass(frozen=True, slots=True)
class Prepared:
    """The pictures of some media, in the order of their digests.

    Attributes:
        frames: as the model sees them.
        digests: what each is known by, uint8 [N, 16].
        media: which of the media each is of, int64 [N].
        positions: its number in that medium, int64 [N].
        regions: what was kept of each: x, y, width, height, or zeros for all of it; int64 [N, 4].
        duplicates: the number of the group of near-duplicates that each belongs to, int64 [N].
        failures: the media that could not be decoded, and why.
    """

    frames: Rows
    digests: NDArray[np.uint8]
    media: NDArray[np.int64]
    positions: NDArray[np.int64]
    regions: NDArray[np.int64]
    duplicates: NDArray[np.int64]
    failures: dict[int, str]

    def region(self, number: int) -> Region | None:
        """Return what was kept of a picture; None for all of it."""
        x, y, width, height = map(int, self.regions[number])
        return Region(x, y, width, height) if width else None


def prepare(name: str, entries: Sequence[Entry], identities: Sequence[str], preparation: Preparation) -> Prepared:
    """Return the pictures of media, from the cache if they were prepared before.

    Args:
        name: of the domain, for the progress bar.
        entries: the media.
        identities: what each says that it is.
        preparation: what to do with every picture.

    Raises:
        OutputError: the cache cannot be written, or another user wrote it.
        DataError: no process that decodes can be started.
    """
    folder = cache_directory() / _key(entries, identities, preparation)
    prepared = _read(folder, preparation, len(entries))
    if prepared is None:
        with alone(folder):
            prepared = _read(folder, preparation, len(entries))  # another process may have made it in the meantime
            if prepared is None:
                _make(name, entries, preparation, folder)
                prepared = _read(folder, preparation, len(entries))
    assert prepared is not None
    return prepared


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Make the folder, and let no other process write to it at the same time."""
    remedy = "free space, correct its permissions, or set XDG_CACHE_HOME to a folder that you may write to"
    with writing_to(folder, remedy=remedy):
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)  # frames of patients are nobody else's
    with alone_in(folder, wait=True):
        yield


def _read(folder: Path, preparation: Preparation, media: int) -> Prepared | None:
    """Return what the folder holds of so many media; None where it is not there, damaged or of something else.

    Raises:
        OutputError: another user wrote it.
    """
    try:
        with open_own(folder / _INDEX) as file, np.load(file, allow_pickle=False) as stored:
            index: dict[str, NDArray[Any]] = dict(stored)
        with open_own(folder / _FRAMES) as file:
            frames = _map(file, (1, preparation.height, preparation.width))
    except OutputError:
        raise
    except Exception:  # NumPy and its parsers raise much where a file is damaged
        return None
    if not _fits(index, len(frames), media) or not np.array_equal(_checksums(frames), index["checksums"]):
        return None
    failures = dict(zip(index["failed"].tolist(), index["reasons"].tolist(), strict=True))
    known = {name: index[name] for name in ("digests", "media", "positions", "regions", "duplicates")}
    return Prepared(Rows(frames, index["rows"]), **known, failures=failures)


def open_own(path: Path) -> BinaryIO:
    """Open a file of the cache that this user wrote.

    Raises:
        OSError: it cannot be opened, or is a link.
        OutputError: it is another user's.
    """
    file = os.fdopen(os.open(path, os.O_RDONLY | NO_LINK | WITHOUT_WAITING), "rb")
    owners = {path.parent.lstat().st_uid, path.parent.stat().st_uid, os.fstat(file.fileno()).st_uid}
    user = _user()
    if owners != {user}:
        file.close()
        raise OutputError(
            expected=f"prepared frames in {path.parent} that user {user}, who trains, wrote",
            received=f"some of user {', '.join(map(str, sorted(owners - {user})))}",
            remedy="delete that folder, or set XDG_CACHE_HOME to a folder of your own",
        )
    return file


def _user() -> int:
    """Return who runs this process, as files say whose they are; on Windows all say 0."""
    if sys.platform == "win32":
        return 0
    return os.geteuid()


def _map(file: BinaryIO, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return the frames in an open file, mapped, uint8 [P, *shape].

    Raises:
        ValueError: the last of them is cut off.
    """
    size = os.fstat(file.fileno()).st_size
    if size % math.prod(shape):
        raise ValueError(f"{size} bytes in frames of {math.prod(shape)}")
    count = size // math.prod(shape)
    return np.memmap(file, np.uint8, "r", shape=(count, *shape)) if count else np.empty((0, *shape), np.uint8)


def _checksums(frames: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Return the CRC-32 of each block of frames [P, 1, H, W]; all cores together are about as fast as reading."""
    pixels = frames.reshape(-1)
    blocks = (pixels[start : start + _BLOCK].data for start in range(0, len(pixels), _BLOCK))
    with ThreadPoolExecutor(available_cores()) as pool:
        return np.array(list(pool.map(zlib.crc32, blocks)), np.uint32)


def _fits(index: dict[str, NDArray[Any]], frames: int, media: int) -> bool:
    """Return whether an index is of the types and shapes that :func:`_index` makes, and names what there is."""
    with suppress(KeyError, TypeError):
        count, failed, most = len(index["rows"]), len(index["failed"]), np.iinfo(np.int64).max
        known = {  # shape, and what each number is below
            "rows": ((count,), frames),
            "media": ((count,), media),
            "positions": ((count,), most),
            "regions": ((count, 4), most),
            "duplicates": ((count,), max(count, 1)),
            "failed": ((failed,), media),
        }
        return (
            index["digests"].dtype == np.uint8
            and index["digests"].shape == (count, DIGEST_BYTES)
            and (index["reasons"].dtype.kind, index["reasons"].shape) == ("U", (failed,))
            and index["checksums"].dtype == np.uint32
            and all(_is_below(index[name], shape, end) for name, (shape, end) in known.items())
        )
    return False


def _is_below(numbers: NDArray[Any], shape: tuple[int, ...], end: int) -> bool:
    if numbers.dtype != np.int64 or numbers.shape != shape:
        return False
    return not numbers.size or bool(numbers.min() >= 0 and numbers.max() < end)


def _make(name: str, entries: Sequence[Entry], preparation: Preparation, folder: Path) -> None:
    """Prepare the pictures; the index comes last, so that what is there is complete."""
    (folder / _INDEX).unlink(missing_ok=True)  # damaged
    try:
        with replacing(folder / _FRAMES) as temporary, temporary.open("wb") as file:
            index = _decode(name, entries, preparation, file)
        with open_own(folder / _FRAMES) as written:
            index["checksums"] = _checksums(_map(written, (1, preparation.height, preparation.width)))
        with replacing(folder / _INDEX) as temporary:
            np.savez(temporary, allow_pickle=False, **index)
    finally:
        for leftover in folder.glob(".*"):  # of this process, or of one that was killed
            leftover.unlink(missing_ok=True)


def _decode(
    name: str, entries: Sequence[Entry], preparation: Preparation, file: BufferedWriter
) -> dict[str, NDArray[np.generic]]:
    """Write the frames of all pictures to ``file`` as they come, and return the index."""
    decoder = Decoder(preparation, _sectors(entries) if preparation.region == "auto" else {})
    pictures: list[list[_Row]] = [[] for _ in entries]
    thumbnails = bytearray()
    failures: dict[int, str] = {}
    written = 0
    title = f"Reading {printable(name)}"
    with (
        closing(work(decoder, entries)) as results,
        progress(title, total=len(entries), unit="file", leave=False) as bar,
    ):
        for each in results:
            if isinstance(each, ItemResult):
                file.write(each.result.frame.data)
                thumbnails += each.result.thumbnail.tobytes()
                pictures[each.item].append(_Row(written, each.result.digest, each.result.region))
                written += 1
            else:
                bar.update()
                if each.error is not None:
                    failures[each.item] = each.error
    whole = [[] if number in failures else rows for number, rows in enumerate(pictures)]
    return _index(whole, np.frombuffer(thumbnails, np.uint8).reshape(-1, THUMBNAIL**2), failures)


class _Row(NamedTuple):
    """What is known of a picture."""

    row: int
    digest: bytes
    region: Region | None


def _index(
    pictures: Sequence[Sequence[_Row]], thumbnails: NDArray[np.uint8], failures: dict[int, str]
) -> dict[str, NDArray[np.generic]]:
    """Return the arrays of the index, in the order of the digests, and of equal ones in that of the media."""
    known = sorted(
        (row.digest, medium, position, row)
        for medium, of_medium in enumerate(pictures)
        for position, row in enumerate(of_medium)
    )
    rows = [row for *_, row in known]
    numbers = np.array([row.row for row in rows], np.int64)
    return {
        "rows": numbers,
        "digests": np.frombuffer(b"".join(row.digest for row in rows), np.uint8).reshape(-1, DIGEST_BYTES),
        "media": np.array([medium for _, medium, _, _ in known], np.int64),
        "positions": np.array([position for _, _, position, _ in known], np.int64),
        "regions": np.array([_numbers(row.region) for row in rows], np.int64).reshape(-1, 4),
        "duplicates": _duplicates(thumbnails, numbers),
        "failed": np.array(sorted(failures), np.int64),
        "reasons": np.array([failures[medium] for medium in sorted(failures)], np.str_),
    }


def _duplicates(thumbnails: NDArray[np.uint8], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the groups of near-duplicates among some rows; thumbnails are copied only where there are others."""
    kept = np.sort(rows)
    groups = near_duplicates(thumbnails if len(kept) == len(thumbnails) else thumbnails[kept])
    return renumbered(groups[np.searchsorted(kept, rows)])


def _numbers(region: Region | None) -> tuple[int, int, int, int]:
    return (region.x, region.y, region.width, region.height) if region else (0, 0, 0, 0)


def _sectors(entries: Sequence[Entry]) -> Sectors:
    """Return the sectors that a sample of the media, evenly spread, show in their first pictures."""
    unknown = [entry for entry in entries if entry.region is None]
    sample = unknown[:: max(1, -(-len(unknown) // SAMPLE))]
    made = [each for each in work(first_picture, sample) if isinstance(each, ItemResult)]
    return find_sectors([each.result for each in sorted(made, key=lambda each: each.item)])


def _key(entries: Sequence[Entry], identities: Sequence[str], preparation: Preparation) -> str:
    hashed = hashlib.sha256(f"{preparation} {cv2.__version__} {version('av')} {version('pillow')}".encode())
    for path in _code():
        hashed.update(path.read_bytes())
    for entry, identity in zip(entries, identities, strict=True):
        hashed.update(f"\n{entry.region} {identity}".encode(errors="surrogateescape"))
    return hashed.hexdigest()[:32]


def _code() -> list[Path]:
    """Return the modules that frames are made with: when they change, so do the frames."""
    runtime, here = Path(metfa.runtime.__path__[0]), Path(__file__).parent
    sources = ("dicom.py", "dicom_pixels.py", "pyav.py", "video.py")
    named = (
        *(f"imaging/{name}" for name in ("coded.py", "images.py", "preprocess.py", "sector.py")),
        *(f"sources/{name}" for name in sources),
    )
    packages = (*sorted((runtime / "phantom").glob("*.py")), *sorted((here / "readers").glob("*.py")))
    made_by = (here / f"{name}.py" for name in ("decoding", "groups", "near_duplicates", "thumbnails"))
    return [*made_by, *(runtime / name for name in named), *packages]
