"""A domain as users name it (a folder, ``phantom:A``) → a list of pictures with labels and splits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from metfa.runtime import records
from metfa.runtime.errors import DataError
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
        status = self.path.stat()
        return f"{self.path.resolve()} {status.st_size} {status.st_mtime_ns}"


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


@dataclass(frozen=True, slots=True)
class Item:
    """One picture of a domain; ``label`` is None where the domain is not labelled."""

    picture: FilePicture | PhantomPicture
    label: str | None
    split: Split


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


def read_domain(specification: str, *, seed: int) -> Domain:
    """List the pictures of a domain.

    A folder holds either class folders (labelled) or images (unlabelled), or ``train/`` and ``test/``, and perhaps
    ``val/``, which hold them. A folder that does not come split is split by class, a quarter for testing.

    Args:
        specification: a folder, or ``phantom:A``, ``phantom:B``, ``phantom:PROFILE.json``.
        seed: of the split.

    Raises:
        DataError: there is no such folder, it holds no images, or a class holds too few to split.
        ProfileError: there is no such phantom profile.
    """
    scheme, _, profile = specification.partition(":")
    if scheme == "phantom":
        return Domain(specification, tuple(_phantom_items(load_profile(profile))))
    folder = Path(specification)
    if not folder.is_dir():
        raise DataError(
            expected="a folder of images or phantom:NAME",
            received=f"{specification!r}, which is {'a file' if folder.exists() else 'not there'}",
            remedy="check the path given to --source or --target",
        )
    if (folder / "train").is_dir() and (folder / "test").is_dir():
        items = [
            Item(FilePicture(path), label, split)
            for split in SPLITS
            if (folder / split).is_dir()
            for path, label in _images(folder / split)
        ]
    else:
        items = _split(folder, list(_images(folder)), seed)
    return Domain(specification, tuple(items))


def _images(folder: Path) -> Iterator[tuple[Path, str | None]]:
    """Yield image and label, sorted, from class folders if there are any, else from the folder itself."""
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    for directory in classes or [folder]:
        images = sorted(path for path in directory.iterdir() if path.suffix.lower() in SUFFIXES)
        if not images:
            raise DataError(
                expected=f"images ({', '.join(sorted(SUFFIXES))}) in {directory}",
                received="none",
                remedy="add images, or remove the empty class folder",
            )
        for path in images:
            yield path, directory.name if classes else None


def _split(folder: Path, images: list[tuple[Path, str | None]], seed: int) -> list[Item]:
    by_label: dict[str | None, list[Path]] = {}
    for path, label in images:
        by_label.setdefault(label, []).append(path)
    generator = np.random.default_rng(seed)
    items = []
    for label, paths in by_label.items():
        if len(paths) < 2:
            raise DataError(
                expected=f"at least 2 images in {folder / (label or '')}, one to train on and one to test on",
                received=f"{len(paths)}",
                remedy="add images, or split the folder yourself into train/ and test/",
            )
        held_out = set(generator.permutation(len(paths))[: max(1, round(TEST_FRACTION * len(paths)))].tolist())
        items += [
            Item(FilePicture(path), label, "test" if index in held_out else "train") for index, path in enumerate(paths)
        ]
    return items


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
