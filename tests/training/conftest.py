"""A small network, a small run, and two small domains that differ in brightness and contrast."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from metfa.runtime.bundle.contract import Normalisation
from metfa.training.config import TrainingConfig
from metfa.training.data.store import FrameStore
from metfa.training.model import Network, NetworkConfig
from metfa.training.names import EncoderName

torch.set_num_threads(1)  # the other cores run other tests

LABELS = ("blob", "bars", "ring")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "metfa"


@pytest.fixture(autouse=True)
def any_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs be those of a CPU without bfloat16, whatever this one is."""
    monkeypatch.setattr("metfa.training.parallel.computes_in_bfloat16", lambda: False)


def make_config() -> TrainingConfig:
    return TrainingConfig(
        source="source",
        target="target",
        method="metfa-v",
        encoder="residual",
        height=28,
        width=28,
        embedding=16,
        steps=12,
        candidates=3,
        images_per_class=2,
        threads=1,
    )


@pytest.fixture
def config() -> TrainingConfig:
    return make_config()


def make_network(encoder: EncoderName = "strided") -> Network:
    torch.manual_seed(0)
    return Network(
        NetworkConfig(
            height=28,
            width=28,
            classes=len(LABELS),
            encoder=encoder,
            embedding=16,
            temperature=0.05,
            normalisation=Normalisation(kind="per-image", scale=1.0, mean=None),
        )
    )


@pytest.fixture
def network() -> Network:
    return make_network("residual")


def draw(label: str, seed: int, brightness: int) -> np.ndarray:
    """A shape at a random place on a noisy ground, uint8 [48, 64]."""
    generator = np.random.default_rng((LABELS.index(label), seed))
    image = generator.integers(0, 60, (48, 64)).astype(np.uint8)
    x, y = (int(value) for value in generator.integers(16, 32, 2))
    if label == "blob":
        cv2.circle(image, (x, y), 9, brightness, -1)
    elif label == "ring":
        cv2.circle(image, (x, y), 9, brightness, 2)
    else:
        image[y - 9 : y + 9 : 4, x - 9 : x + 9] = brightness
    return image


def make_store(count: int, brightness: int) -> FrameStore:
    """``count`` frames of each class, uint8 [N, 1, 28, 28]."""
    frames = [draw(label, seed, brightness)[10:38, 18:46] for label in LABELS for seed in range(count)]
    return FrameStore(np.stack(frames)[:, np.newaxis], np.repeat(np.arange(len(LABELS)), count))


def write_classes(folder: Path, count: int, brightness: int, labels: tuple[str, ...] = LABELS) -> Path:
    """Class folders with ``count`` images each."""
    for label in labels:
        (folder / label).mkdir(parents=True)
        for seed in range(count):
            assert cv2.imwrite(str(folder / label / f"{seed:03}.png"), draw(label, seed, brightness))
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "source", 8, brightness=230)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "target", 8, brightness=120)
