"""A domain as users name it (a folder, a manifest, ``phantom:A``) → a list of pictures with labels and splits."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from metfa.runtime import records
from metfa.runtime.errors import DataError
from metfa.runtime.files import reading
from metfa.runtime.images import SUFFIXES, read_image
from metfa.runtime.phantom import PLANES, DeviceProfile, Phantom, load_profile

from .manifest import is_manifest, read_manifest
from .splits import split

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray


Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
PHANTOM_IMAGES: dict[Split, int] = {"train": 200, "test": 50}
"""Images of each plane that a phantom domain has."""


@dataclass(frozen=True, slots=True)
class FilePicture:
    """An image file; its size and time of change stand for its content in the store's key."""

    path: Path

    def render(self) -> NDArray[np.uint8]:
        """Return the decoded image, uint8 [H, W] or [H, W, 3]."""
        return read_image(self.path)

    def identity(self) -> str:
        """Return what changes when the picture does."""
        with reading(self.path):
            status = self.path.stat()
        return f"{self.path.absolute()} {status.st_size} {status.st_mtime_ns}"

    def fingerprint(self) -> bytes:
        """Return a hash of the file's size and first 64 KiB: the same wherever the file lies."""
        with reading(self.path), self.path.open("rb") as file:
            return hashlib.sha256(f"{self.path.stat().st_size} ".encode() + file.read(1 << 16)).digest()


@dataclass(frozen=True, slots=True)
class PhantomPicture:
    """A simulated frame of one plane."""

    profile: DeviceProfile
    plane: str
    seed: int

    def render(self) -> NDArray[np.uint8]:
        """Return the simulated frame, uint8 [480, 640]."""
        return _phantom(self.profile).image(self.plane, self.seed)

    def identity(self) -> str:
        """Return what changes when the picture does."""
        return f"{_profile_json(self.profile)} {self.plane} {self.seed}"

    def fingerprint(self) -> bytes:
        """Return a hash of what decides the picture."""
        return hashlib.sha256(self.identity().encode()).digest()


@dataclass(frozen=True, slots=True)
class Item:
    """One picture of a domain.

    Attributes:
        picture: how to get its pixels.
        label: its class; None where the domain is not labelled.
        split: what it is for; None until the domain is split.
        group: a patient or a recording, which no split divides; None where the picture stands alone.
    """

    picture: FilePicture | PhantomPicture
    label: str | None
    split: Split | None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Domain:
    """The pictures of one device.

    Attributes:
        name: how the user named it.
        items: its pictures, in a fixed order.
    """

    name: str
    items: tuple[Item, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The class names, sorted; empty where the domain is not labelled."""
        return tuple(sorted({item.label for item in self.items if item.label is not None}))


def read_domain(specification: str, *, seed: int, by_class: bool) -> Domain:
    """List the pictures of a domain.

    A folder holds either class folders (labelled) or images (unlabelled), or ``train/`` and ``test/``, and perhaps
    ``val/``, which hold them. A manifest is a CSV or TSV file with a column ``path`` and perhaps ``label``,
    ``patient`` and ``split``; ``manifest.csv?column=value`` keeps the rows that match. What does not come split is
    split here (see :mod:`.splits`).

    Args:
        specification: a folder, a manifest, or ``phantom:A``, ``phantom:B``, ``phantom:PROFILE.json``.
        seed: of the split.
        by_class: whether labels may decide anything. The source is listed and split class by class; a target must not
            be, or its labels would reach training through the order of its pictures: it is ordered by their content.

    Raises:
        DataError: there is no such domain, it holds no images, a class holds too few to split, or labels that may
            decide are there for some images alone.
        SourceError: a file cannot be read.
        ProfileError: there is no such phantom profile.
    """
    items = read_items(specification)
    unlabelled = sum(item.label is None for item in items)
    if by_class and 0 < unlabelled < len(items):
        raise DataError(
            expected=f"a label for every image of {specification}, or for none",
            received=f"{unlabelled} of {len(items)} without",
            remedy="fill in the column 'label', or remove those rows",
        )
    if not by_class:
        items.sort(key=lambda item: item.picture.fingerprint())
    return Domain(specification, tuple(split(specification, items, seed, by_class=by_class)))


def read_items(specification: str) -> list[Item]:
    """List the pictures of a domain, sorted, without a split where it does not come split.

    Args:
        specification: as for :func:`read_domain`.

    Raises:
        DataError: there is no such domain, or it holds no images.
        SourceError: a folder cannot be read.
        ProfileError: there is no such phantom profile.
    """
    scheme, _, profile = specification.partition(":")
    if scheme == "phantom":
        return list(_phantom_items(load_profile(profile)))
    if is_manifest(specification):
        return list(_manifest_items(specification))
    return list(_folder_items(Path(specification)))


def _folder_items(folder: Path) -> Iterator[Item]:
    if not folder.is_dir():
        raise DataError(
            expected="a folder of images, a manifest (.csv, .tsv) or phantom:NAME",
            received=f"{str(folder)!r}, which is {'a file' if folder.exists() else 'not there'}",
            remedy="check the path",
        )
    comes_split = (folder / "train").is_dir() and (folder / "test").is_dir()
    for part in SPLITS if comes_split else (None,):
        directory = folder / part if part else folder
        if directory.is_dir():
            for path, label in _images(directory):
                yield Item(FilePicture(path), label, part)


def _images(folder: Path) -> Iterator[tuple[Path, str | None]]:
    """Yield image and label, sorted, from class folders if there are any, else from the folder itself."""
    with reading(folder):
        classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        contents = {directory: sorted(directory.iterdir()) for directory in classes or [folder]}
    for directory, paths in contents.items():
        images = [path for path in paths if path.suffix.lower() in SUFFIXES]
        if not images:
            raise DataError(
                expected=f"images ({', '.join(sorted(SUFFIXES))}) in {directory}",
                received="none",
                remedy="add images, or remove the empty class folder",
            )
        for path in images:
            yield path, directory.name if classes else None


def _manifest_items(specification: str) -> Iterator[Item]:
    folder = Path(specification.partition("?")[0]).parent
    for row in read_manifest(specification):
        part = row.get("split") or None
        if part is not None and part not in SPLITS:
            raise DataError(
                expected=f"one of {', '.join(SPLITS)} in the column 'split' of {specification}",
                received=repr(part),
                remedy="correct the row, or leave it empty to have the images split",
            )
        path = folder / row["path"]
        if not path.is_file():
            raise DataError(
                expected=f"the image {row['path']!r} that {specification} names",
                received=f"nothing at {path}",
                remedy="correct the column 'path', which is relative to the manifest",
            )
        yield Item(FilePicture(path), row.get("label") or None, part, row.get("patient") or None)


def _phantom_items(profile: DeviceProfile) -> Iterator[Item]:
    first_seed = 0
    for part, count in PHANTOM_IMAGES.items():
        for plane in PLANES:
            for seed in range(first_seed, first_seed + count):
                yield Item(PhantomPicture(profile, plane, seed), plane, part)
        first_seed += count


@lru_cache(maxsize=2)
def _phantom(profile: DeviceProfile) -> Phantom:
    return Phantom(profile)


@lru_cache(maxsize=2)
def _profile_json(profile: DeviceProfile) -> str:
    return records.to_json(profile)
