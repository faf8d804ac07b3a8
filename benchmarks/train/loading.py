"""Where training's frames come from: the store, or a DataLoader that decodes each image each time."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from metfa.runtime.imaging.preprocess import preprocess
from metfa.runtime.phantom import PLANES, Phantom, load_profile
from metfa.training.data.decoding import Preparation
from metfa.training.data.prepared import read_domain
from metfa.training.data.readers import list_domain
from metfa.training.data.sampling import ShuffledSampler

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

IMAGES = 240
BATCH = 30
PASSES = 4


@dataclass(frozen=True, slots=True)
class Loading:
    """Images a second, 640 × 480 PNGs to batches of the model's input.

    Attributes:
        store: from the store, once it is filled.
        loader: from a DataLoader whose workers decode.
        workers: how many it has.
    """

    store: float
    loader: float
    workers: int


class _Files(Dataset["Tensor"]):
    def __init__(self, paths: list[Path], size: tuple[int, int]) -> None:
        self._paths = paths
        self._height, self._width = size

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Tensor:
        image = cv2.imread(str(self._paths[index]), cv2.IMREAD_GRAYSCALE)
        assert image is not None
        grey = np.asarray(image, np.uint8)
        return torch.from_numpy(preprocess(grey, height=self._height, width=self._width, region=None))


def measure_loading(size: tuple[int, int]) -> Loading:
    """Return how fast either is; the store is filled before its time begins."""
    phantom = Phantom(load_profile("A"))
    workers = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as temporary, mock.patch.dict(os.environ, XDG_CACHE_HOME=temporary):
        paths = [Path(temporary, "images", f"{index}.png") for index in range(IMAGES)]
        paths[0].parent.mkdir()
        for index, path in enumerate(paths):
            cv2.imwrite(str(path), phantom.image(PLANES[index % len(PLANES)], index))
        loader = DataLoader(_Files(paths, size), batch_size=BATCH, shuffle=True, num_workers=workers)
        decoded = _rate(lambda: [len(batch) for _ in range(PASSES) for batch in loader])

        domain = read_domain(list_domain(str(paths[0].parent)), Preparation(*size, None))
        frames = domain.store(np.arange(IMAGES), ()).frames
        sampler = ShuffledSampler(IMAGES, BATCH, 0)
        steps = 100 * PASSES * IMAGES // BATCH
        stored = _rate(lambda: [len(torch.from_numpy(frames[sampler.batch(step)])) for step in range(steps)])
    return Loading(stored, decoded, workers)


def _rate(load: Callable[[], list[int]]) -> float:
    began = time.perf_counter()
    return sum(load()) / (time.perf_counter() - began)
