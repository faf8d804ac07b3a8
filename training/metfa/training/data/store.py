"""Every picture of a domain, decoded and preprocessed once, as one array of frames that the next run finds again."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

import metfa.runtime.images
import metfa.runtime.phantom
import metfa.runtime.preprocess
from metfa.runtime.errors import DataError
from metfa.runtime.files import replacing
from metfa.runtime.preprocess import preprocess

if TYPE_CHECKING:
    from metfa.runtime.contract import Region

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


def load_store(
    domain: Domain, split: Split, labels: tuple[str, ...], *, height: int, width: int, region: Region | None
) -> FrameStore:
    """Return the frames of a split, from the cache if these pictures were prepared before.

    The cache is ``$XDG_CACHE_HOME/metfa`` (``~/.cache/metfa``); it can be deleted at any time.

    Args:
        domain: the pictures.
        split: which of them.
        labels: the class names in the order of their indices.
        height: rows of a frame.
        width: columns of a frame.
        region: what to keep of each picture; None for all of it.

    Raises:
        DataError: the split is empty.
        SourceError: a picture cannot be read.
        OutputError: the cache cannot be written.
    """
    items = [item for item in domain.items if item.split == split]
    if not items:
        raise DataError(
            expected=f"images in the {split} split of {domain.name}", received="none", remedy=f"add some to {split}/"
        )
    path = _cache() / f"{_key(items, height, width, region)}.npy"
    frames = _open(path)
    if frames is None:
        with replacing(path) as temporary:
            _fill(temporary, items, height, width, region, f"Reading {domain.name} {split}")
        frames = np.load(path, mmap_mode="r")
    if frames.nbytes <= IN_MEMORY_BYTES:
        frames = np.array(frames)
    index = {label: number for number, label in enumerate(labels)}
    return FrameStore(
        frames, np.array([UNLABELLED if item.label is None else index[item.label] for item in items], np.int64)
    )


def _open(path: Path) -> NDArray[np.uint8] | None:
    """Return the frames in ``path``, or None where there are none or they are damaged."""
    try:
        return np.load(path, mmap_mode="r")  # type: ignore[no-any-return]
    except (OSError, EOFError, ValueError):
        return None


def _fill(path: Path, items: list[Item], height: int, width: int, region: Region | None, title: str) -> None:
    frames = np.lib.format.open_memmap(path, "w+", np.uint8, (len(items), 1, height, width))
    with path.open("r+b") as file:
        # Without this, a full disk would end the process at a later write into the map, with no word.
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)

    def prepare(index: int) -> None:
        frames[index] = preprocess(items[index].picture.render(), height=height, width=width, region=region)

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


def _key(items: list[Item], height: int, width: int, region: Region | None) -> str:
    digest = hashlib.sha256(f"{height} {width} {region} {cv2.__version__}".encode())
    for path in _code():
        digest.update(path.read_bytes())
    for item in items:
        digest.update(f"\n{item.picture.identity()}".encode(errors="surrogateescape"))
    return digest.hexdigest()[:32]


def _code() -> list[Path]:
    """Return the modules that frames are made with: when they change, so do the frames."""
    modules = [Path(str(module.__file__)) for module in (metfa.runtime.images, metfa.runtime.preprocess)]
    return modules + sorted(Path(metfa.runtime.phantom.__path__[0]).glob("*.py"))
