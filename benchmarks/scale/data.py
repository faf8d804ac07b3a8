"""What a run does with N images before and during its steps.

Each function makes the inputs in a folder, and returns the work that is measured.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from metfa.runtime.bundle.contract import Normalisation
from metfa.training.config import Augmentation
from metfa.training.data.decoding import THUMBNAIL, Preparation
from metfa.training.data.groups import join
from metfa.training.data.near_duplicates import near_duplicates
from metfa.training.data.prepared import read_domain
from metfa.training.data.readers import list_domain
from metfa.training.data.sampling import BalancedSampler, ShuffledSampler
from metfa.training.data.splits import split
from metfa.training.data.store import Rows
from metfa.training.model import Normalise
from metfa.training.views import make_views

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

CLASSES = ("4CH", "Abdominal", "Femur", "LVOT", "Lips", "RVOT")
PER_PATIENT = 10
PER_CLASS = 5
STEPS = 20
HEIGHT, WIDTH = 224, 288
SIDE = 32  # pixels of the images that are stored


def list_folder(count: int, directory: Path) -> Callable[[], object]:
    """List class folders of patients, each with ten empty files."""
    for number in range(count):
        folder = directory / "images" / CLASSES[_patient(number) % len(CLASSES)] / str(_patient(number))
        if number % PER_PATIENT == 0:
            folder.mkdir(parents=True)
        (folder / f"{number}.png").touch()
    return lambda: list_domain(str(directory / "images"))


def list_manifest(count: int, directory: Path) -> Callable[[], object]:
    """List a table of empty files in folders of a thousand."""
    rows = ["path,label,patient"]
    for number in range(count):
        folder = directory / str(number // 1000)
        if number % 1000 == 0:
            folder.mkdir()
        (folder / f"{number}.png").touch()
        rows.append(f"{folder.name}/{number}.png,{CLASSES[number % len(CLASSES)]},{_patient(number)}")
    (directory / "images.csv").write_text("\n".join(rows) + "\n")
    return lambda: list_domain(str(directory / "images.csv"))


def fill_store(count: int, directory: Path) -> Callable[[], object]:
    """Prepare images of noise in an empty store."""
    os.environ["XDG_CACHE_HOME"] = str(directory / "cache")
    random = np.random.default_rng(0)
    for label in CLASSES:
        (directory / "images" / label).mkdir(parents=True)
    for number in range(count):
        image = random.integers(0, 256, (SIDE, SIDE)).astype(np.uint8)
        cv2.imwrite(str(directory / "images" / CLASSES[number % len(CLASSES)] / f"{number}.png"), image)
    return lambda: read_domain(list_domain(str(directory / "images")), Preparation(SIDE, SIDE, None))


def find_stored(count: int, directory: Path) -> Callable[[], object]:
    """Find them in the store that a run before has filled."""
    read = fill_store(count, directory)
    read()
    return read


def group(count: int, directory: Path) -> Callable[[], object]:
    """Look for near-duplicates among thumbnails of noise, in which there are none."""
    thumbnails = np.random.default_rng(0).integers(0, 256, (count, THUMBNAIL**2), np.uint8)
    return lambda: near_duplicates(thumbnails)


def divide(count: int, directory: Path) -> Callable[[], object]:
    """Join the images of each patient, and hold patients out class by class."""
    patients = [f"patient {_patient(number)}" for number in range(count)]
    labels = [CLASSES[_patient(number) % len(CLASSES)] for number in range(count)]
    alone = range(count)
    return lambda: split("images", join(patients, alone).tolist(), [None] * count, 0, labels=labels)


def begin_sampling(count: int, directory: Path) -> Callable[[], object]:
    """Make both samplers, and shuffle for their first batches."""
    labels = np.arange(count) % len(CLASSES)

    def work() -> None:
        BalancedSampler(labels, PER_CLASS, 0).batch(0)
        ShuffledSampler(count, PER_CLASS * len(CLASSES), 0).batch(0)

    return work


def sample(count: int, directory: Path) -> Callable[[], object]:
    """Choose further batches and read their frames, 20 steps of both domains."""
    frames = _frames(count, directory)
    source = BalancedSampler(np.arange(count) % len(CLASSES), PER_CLASS, 0)
    target = ShuffledSampler(count, PER_CLASS * len(CLASSES), 0)
    source.batch(0)
    target.batch(0)

    def work() -> None:
        for step in range(1, STEPS + 1):
            frames[source.batch(step)].sum()
            frames[target.batch(step)].sum()

    return work


def augment(count: int, directory: Path) -> Callable[[], object]:
    """Fetch and augment the frames of 20 steps on the CPU."""
    normalise = Normalise(Normalisation("per-image", 1.0, None))
    augmentation = Augmentation(flip=True, noise=0.1, extended=True)
    views = make_views(_frames(count, directory), normalise, augmentation, torch.device("cpu"))
    chosen = np.random.default_rng(0).integers(0, count, (STEPS, PER_CLASS * len(CLASSES)))
    noise = torch.Generator().manual_seed(0)

    def work() -> None:
        for batch in chosen:
            views.augmented(batch, noise)

    return work


def _patient(number: int) -> int:
    return number // PER_PATIENT


def _frames(count: int, directory: Path) -> Rows:
    """Return frames that are mapped to a sparse file, as those of the store are to a full one."""
    path = directory / "frames.bin"
    path.touch()
    os.truncate(path, count * HEIGHT * WIDTH)
    frames: NDArray[np.uint8] = np.memmap(path, np.uint8, "r", shape=(count, 1, HEIGHT, WIDTH))
    return Rows(frames, np.arange(count))
