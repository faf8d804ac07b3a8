"""Every picture of a domain, decoded and preprocessed once, as one array of frames that the next run finds again."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

import metfa.runtime.images
import metfa.runtime.phantom
import metfa.runtime.preprocess
import metfa.runtime.sector
from metfa.runtime.errors import DataError
from metfa.runtime.files import replacing
from metfa.runtime.preprocess import preprocess

from .regions import find_regions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from metfa.runtime.contract import Roi

    from .domain import Domain, Item, Split

UNLABELLED = -1
IN_MEMORY_BYTES = 1 << 30
"""Frames beyond this many bytes stay on disk, memory-mapped."""


@dataclass(frozen=True, slots=True)
class FrameStore:
    """The frames of one split of one domain.

    Attributes:
        frames: uint8 [N, 1, H, W]; in memory, or memory-mapped when large.
        labels: int64 [N], the index of the class, or ``UNLABELLED``.
    """

    frames: NDArray[np.uint8]
    labels: NDArray[np.int64]


class DomainFrames:
    """The frames of all splits of one domain, prepared.

    Args:
        domain: the pictures.
        labels: the class names in the order of their indices.
        path: the array of all frames, in the order of the domain's items.
    """

    def __init__(self, domain: Domain, labels: tuple[str, ...], path: Path) -> None:
        self._domain = domain
        self._index = {label: number for number, label in enumerate(labels)}
        self._path = path
        self._frames: NDArray[np.uint8] = np.load(path, mmap_mode="r")

    def split(self, split: Split) -> FrameStore:
        """Return the frames of a split.

        Raises:
            DataError: the split is empty.
            OutputError: the split is too large for memory, and the cache cannot be written.
        """
        rows = [row for row, item in enumerate(self._domain.items) if item.split == split]
        if not rows:
            raise DataError(
                expected=f"images in the {split} split of {self._domain.name}",
                received="none",
                remedy=f"add some to {split}/",
            )
        chosen = [self._domain.items[row].label for row in rows]
        labels = np.array([UNLABELLED if label is None else self._index[label] for label in chosen], np.int64)
        if len(rows) * self._frames[0].nbytes <= IN_MEMORY_BYTES:
            return FrameStore(self._frames[rows], labels)
        if len(rows) == len(self._frames):
            return FrameStore(self._frames, labels)
        return FrameStore(self._copy(rows), labels)

    def _copy(self, rows: list[int]) -> NDArray[np.uint8]:
        """Return some of the frames as a file of their own, from the cache if it is there."""
        path = self._path.with_stem(f"{self._path.stem}-{hashlib.sha256(str(rows).encode()).hexdigest()[:16]}")
        frames = _open(path)
        if frames is None:
            with replacing(path) as temporary:
                copy = _create(temporary, (len(rows), *self._frames.shape[1:]))
                for start in range(0, len(rows), 1024):
                    copy[start : start + 1024] = self._frames[rows[start : start + 1024]]
                copy.flush()
            frames = np.load(path, mmap_mode="r")
        return frames


def load_domain(domain: Domain, labels: tuple[str, ...], *, height: int, width: int, region: Roi) -> DomainFrames:
    """Return the frames of a domain, from the cache if these pictures were prepared before, however they were split.

    The cache is ``$XDG_CACHE_HOME/metfa`` (``~/.cache/metfa``); it can be deleted at any time.

    Args:
        domain: the pictures.
        labels: the class names in the order of their indices.
        height: rows of a frame.
        width: columns of a frame.
        region: what to keep of each picture; ``auto`` for the sector, None for all of it.

    Raises:
        SourceError: a picture cannot be read.
        OutputError: the cache cannot be written.
    """
    path = _cache() / f"{_key(domain.items, height, width, region)}.npy"
    if _open(path) is None:
        with replacing(path) as temporary:
            _fill(temporary, domain.items, height, width, region, f"Reading {domain.name}")
    return DomainFrames(domain, labels, path)


def load_store(
    domain: Domain, split: Split, labels: tuple[str, ...], *, height: int, width: int, region: Roi
) -> FrameStore:
    """Return the frames of one split of a domain; see :func:`load_domain` and :meth:`DomainFrames.split`."""
    return load_domain(domain, labels, height=height, width=width, region=region).split(split)


def _open(path: Path) -> NDArray[np.uint8] | None:
    """Return the frames in ``path``, or None where there are none or they are damaged."""
    try:
        return np.load(path, mmap_mode="r")  # type: ignore[no-any-return]
    except (OSError, EOFError, ValueError):
        return None


def _create(path: Path, shape: tuple[int, ...]) -> np.memmap[Any, np.dtype[np.uint8]]:
    """Return a new array that is mapped to ``path``, its space on the disk reserved."""
    frames: np.memmap[Any, np.dtype[np.uint8]] = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    with path.open("r+b") as file:
        # Without this, a full disk would end the process at a later write into the map, with no word.
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return frames


def _fill(path: Path, items: Sequence[Item], height: int, width: int, region: Roi, title: str) -> None:
    frames = _create(path, (len(items), 1, height, width))

    region_of = find_regions([item.picture.render for item in items], region)

    def prepare(index: int) -> None:
        image = items[index].picture.render()
        frames[index] = preprocess(image, height=height, width=width, region=region_of(image))

    # OpenCV and NumPy release the interpreter while they decode, filter and resize.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            for _ in tqdm(
                pool.map(prepare, range(len(items))), title, len(items), unit="image", leave=False, disable=None
            ):
                pass
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    frames.flush()


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "metfa"


def _key(items: Sequence[Item], height: int, width: int, region: Roi) -> str:
    digest = hashlib.sha256(f"{height} {width} {region} {cv2.__version__}".encode())
    for path in _code():
        digest.update(path.read_bytes())
    for item in items:
        digest.update(f"\n{item.picture.identity()}".encode(errors="surrogateescape"))
    return digest.hexdigest()[:32]


def _code() -> list[Path]:
    """Return the modules that frames are made with: when they change, so do the frames."""
    imported = (metfa.runtime.images, metfa.runtime.preprocess, metfa.runtime.sector)
    modules = [Path(str(module.__file__)) for module in imported]
    return modules + sorted(Path(metfa.runtime.phantom.__path__[0]).glob("*.py"))
