"""A domain as users name it (a folder, ``phantom:A``) → a list of pictures with labels and splits."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from metfa.runtime import records
from metfa.runtime.errors import DataError
from metfa.runtime.files import reading
from metfa.runtime.images import SUFFIXES, read_image
from metfa.runtime.phantom import PLANES, DeviceProfile, Phantom, load_profile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
TEST_FRACTION = 0.25
"""Share of each class that is held out of a folder that does not come split."""

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
        return f"{self.path.resolve()} {status.st_size} {status.st_mtime_ns}"

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
    """One picture of a domain; ``label`` is None where the domain is not labelled, ``split`` until it is split."""

    picture: FilePicture | PhantomPicture
    label: str | None
    split: Split | None


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
    ``val/``, which hold them. Of a folder that does not come split, a quarter is held out for testing.

    Args:
        specification: a folder, or ``phantom:A``, ``phantom:B``, ``phantom:PROFILE.json``.
        seed: of the split.
        by_class: whether labels may decide anything. The source is listed and split class by class; a target must not
            be, or its labels would reach training through the order of its pictures: it is ordered by their content.

    Raises:
        DataError: there is no such folder, it holds no images, or a class holds too few to split.
        SourceError: a file cannot be read.
        ProfileError: there is no such phantom profile.
    """
    items = read_items(specification)
    if not by_class:
        items.sort(key=lambda item: item.picture.fingerprint())
    if any(item.split is None for item in items):
        items = _split(specification, items, seed, by_class=by_class)
    return Domain(specification, tuple(items))


def read_items(specification: str) -> list[Item]:
    """List the pictures of a domain, sorted, without a split where it does not come split.

    Args:
        specification: as for :func:`read_domain`.

    Raises:
        DataError: there is no such folder, or it holds no images.
        SourceError: a folder cannot be read.
        ProfileError: there is no such phantom profile.
    """
    scheme, _, profile = specification.partition(":")
    return list(_phantom_items(load_profile(profile)) if scheme == "phantom" else _folder_items(Path(specification)))


def _folder_items(folder: Path) -> Iterator[Item]:
    if not folder.is_dir():
        raise DataError(
            expected="a folder of images or phantom:NAME",
            received=f"{str(folder)!r}, which is {'a file' if folder.exists() else 'not there'}",
            remedy="check the path",
        )
    comes_split = (folder / "train").is_dir() and (folder / "test").is_dir()
    for split in SPLITS if comes_split else (None,):
        part = folder / split if split else folder
        if part.is_dir():
            for path, label in _images(part):
                yield Item(FilePicture(path), label, split)


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


def _split(name: str, items: list[Item], seed: int, *, by_class: bool) -> list[Item]:
    """Hold out a quarter of the items, of each class where labels may be looked at."""
    groups: dict[str | None, list[Item]] = {}
    for item in items:
        groups.setdefault(item.label if by_class else None, []).append(item)
    generator = np.random.default_rng(seed)
    result = []
    for label, group in groups.items():
        if len(group) < 2:
            raise DataError(
                expected=f"at least 2 images in {Path(name, label or '')}, one to train on and one to test on",
                received=f"{len(group)}",
                remedy="add images, or split the folder yourself into train/ and test/",
            )
        held_out = set(generator.permutation(len(group))[: max(1, round(TEST_FRACTION * len(group)))].tolist())
        result += [replace(item, split="test" if index in held_out else "train") for index, item in enumerate(group)]
    return result


def _phantom_items(profile: DeviceProfile) -> Iterator[Item]:
    first_seed = 0
    for split, count in PHANTOM_IMAGES.items():
        for plane in PLANES:
            for seed in range(first_seed, first_seed + count):
                yield Item(PhantomPicture(profile, plane, seed), plane, split)
        first_seed += count


@lru_cache(maxsize=2)
def _phantom(profile: DeviceProfile) -> Phantom:
    return Phantom(profile)


@lru_cache(maxsize=2)
def _profile_json(profile: DeviceProfile) -> str:
    return records.to_json(profile)
