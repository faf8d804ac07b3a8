"""What is done to training images: what is asked for and no more, differently for each, as the generator decides."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from metfa.runtime.bundle.contract import Normalisation
from metfa.training.augment import _blur, affine_grid, augment
from metfa.training.config import Augmentation
from metfa.training.model import Normalise

OFF = Augmentation(flip=False, noise=0.0, extended=False)
FLIP = Augmentation(flip=True, noise=0.0, extended=False)
EXTENDED = Augmentation(flip=False, noise=0.0, extended=True)
ALL = Augmentation(flip=True, noise=0.1, extended=True)

seeds = st.integers(0, 2**32 - 1)
normalise = Normalise(Normalisation(kind="per-image", scale=1.0, mean=None))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw_frames(count: int, height: int = 28, width: int = 36) -> Tensor:
    """Noise around a ramp from left to right, so that no frame is its mirror image."""
    noise = torch.randint(0, 60, (count, 1, height, width), generator=generator(7))
    return (noise + torch.linspace(0, 195, width).int()).to(torch.uint8)


def grey_of(frames: Tensor, augmentation: Augmentation, seed: int = 0) -> Tensor:
    """What the extended augmentation makes before normalisation."""
    return augment(frames, lambda grey: grey, augmentation, generator(seed))


def test_without_augmentation_there_is_only_normalisation() -> None:
    frames = draw_frames(5)
    assert torch.equal(augment(frames, normalise, OFF, generator()), normalise(frames))


def test_flipping_mirrors_about_half_of_the_images_left_to_right_and_changes_nothing_else() -> None:
    frames = draw_frames(400, width=30)
    plain, flipped = normalise(frames), augment(frames, normalise, FLIP, generator())
    mirrored = [torch.equal(image, other.flip(2)) for image, other in zip(flipped, plain, strict=True)]
    kept = [torch.equal(image, other) for image, other in zip(flipped, plain, strict=True)]
    assert all(a != b for a, b in zip(mirrored, kept, strict=True))
    assert sum(mirrored) / 400 == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("sigma", [0.1, 0.7])
def test_noise_is_normal_with_its_sigma_on_the_normalised_input(sigma: float) -> None:
    frames = draw_frames(40)
    noise = augment(frames, normalise, Augmentation(False, sigma, False), generator()) - normalise(frames)
    assert noise.mean().item() == pytest.approx(0, abs=0.02 * sigma)
    assert noise.std().item() == pytest.approx(sigma, rel=0.02)
    assert (noise.abs() < sigma).float().mean().item() == pytest.approx(0.6827, abs=0.01)
    assert torch.corrcoef(noise.flatten(1)).fill_diagonal_(0).abs().max() < 0.2  # each image has its own


@given(seed=seeds, height=st.integers(28, 50), width=st.integers(28, 50))
def test_extended_keeps_the_shape_and_the_range_of_grey_levels(seed: int, height: int, width: int) -> None:
    grey = grey_of(draw_frames(3, height, width), EXTENDED, seed)
    assert grey.shape == (3, 1, height, width)
    assert grey.dtype == torch.float32
    assert torch.isfinite(grey).all()
    assert grey.min() >= 0
    assert grey.max() <= 255


@pytest.mark.parametrize("level", [0, 255])
def test_extended_keeps_black_and_white_in_range(level: int) -> None:
    grey = grey_of(torch.full((8, 1, 28, 28), level, dtype=torch.uint8), EXTENDED)
    assert grey.min() >= 0
    assert grey.max() <= 255
    if level == 0:
        assert not grey.any()


@pytest.mark.parametrize("augmentation", [EXTENDED, ALL], ids=["extended", "all"])
def test_equal_images_of_a_batch_become_different_ones(augmentation: Augmentation) -> None:
    images = augment(draw_frames(1).expand(6, -1, -1, -1), normalise, augmentation, generator())
    assert all((images[i] - images[j]).abs().max() > 0.05 for i in range(6) for j in range(i))


@given(seeds)
def test_the_generator_decides_everything(seed: int) -> None:
    frames = draw_frames(3)
    first, again, other = (augment(frames, normalise, ALL, generator(s)) for s in (seed, seed, seed + 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_frames_stay_as_they_are() -> None:
    frames = draw_frames(3)
    before = frames.clone()
    augment(frames, normalise, ALL, generator())
    assert torch.equal(frames, before)


def centre_and_area(grey: Tensor) -> tuple[float, float, float]:
    """The centre of the bright part, row and column, and how many pixels it has."""
    rows, columns = np.nonzero(grey[0].numpy() > grey.max().item() / 2)
    return float(rows.mean()), float(columns.mean()), float(len(rows))


@given(seeds)
def test_extended_is_mild(seed: int) -> None:
    """A disc in the middle stays about there, about as large and about as bright."""
    height, width, radius = 48, 64, 10
    disc = cv2.circle(np.zeros((height, width), np.uint8), (width // 2, height // 2), radius, 200, -1)
    frames = torch.from_numpy(disc)[None, None].expand(5, -1, -1, -1)
    for image in grey_of(frames, EXTENDED, seed):
        row, column, area = centre_and_area(image)
        # 8 % of the size, farther where the image is shrunk by 1.25 and turned
        assert abs(row - height / 2) < 0.16 * height
        assert abs(column - width / 2) < 0.16 * width
        assert 1 / 1.8 < area / (math.pi * radius**2) < 1.8
        assert 80 < image.max() <= 255


def test_extended_moves_to_every_side_and_stretches_both_ways() -> None:
    disc = cv2.circle(np.zeros((48, 64), np.uint8), (32, 24), 10, 200, -1)
    images = grey_of(torch.from_numpy(disc)[None, None].expand(200, -1, -1, -1), EXTENDED)
    rows, columns, areas = np.array([centre_and_area(image) for image in images]).T
    for values, middle in ((rows, 24), (columns, 32), (areas, 314)):
        assert (values < middle).mean() == pytest.approx(0.5, abs=0.2)
    brightest = images.amax(dim=(1, 2, 3))
    assert (brightest < 200).float().mean() == pytest.approx(0.5, abs=0.2)


def strong_of(frames: Tensor, augmentation: Augmentation, seed: int = 0) -> Tensor:
    """What the strong view is before normalisation."""
    return augment(frames, lambda grey: grey, augmentation, generator(seed), strongly=True)


def test_the_strong_view_has_a_square_of_a_third_of_the_height_cut_out() -> None:
    frames = torch.full((400, 1, 30, 40), 200, dtype=torch.uint8)
    cut = strong_of(frames, OFF) == 0
    for image in cut[:, 0]:
        inner = image[6:-6, 6:-6]  # beyond it, turning and shifting leave black corners too
        rows, columns = inner.any(dim=1), inner.any(dim=0)
        assert torch.equal(inner, rows[:, None] & columns[None])  # a rectangle
        assert max(rows.sum(), columns.sum()) <= 11
    assert cut[:, 0, 6:-6, 6:-6].any(dim=2).any(dim=1).float().mean() > 0.75


@given(seeds)
def test_the_strong_view_varies_whatever_the_augmentation_and_stays_in_range(seed: int) -> None:
    frames = draw_frames(4)
    for augmentation in (OFF, EXTENDED):
        varied = strong_of(frames, augmentation, seed)
        assert varied.shape == frames.shape
        assert ((varied >= 0) & (varied <= 255)).all()
        assert all(not torch.equal(one, other) for one, other in zip(varied, frames.float(), strict=True))


@given(seed=seeds, count=st.integers(1, 3), height=st.integers(1, 9), width=st.integers(1, 9))
def test_the_grid_is_that_of_pytorch(seed: int, count: int, height: int, width: int) -> None:
    transforms = torch.randn(count, 2, 3, generator=generator(seed))
    expected = F.affine_grid(transforms, [count, 1, height, width], align_corners=False)
    torch.testing.assert_close(affine_grid(transforms, height, width), expected, atol=1e-5, rtol=1e-5)


def test_the_blur_is_the_binomial_filter() -> None:
    image = draw_frames(1).float()
    kernel = np.outer([1, 2, 1], [1, 2, 1]) / 16
    expected = cv2.filter2D(image[0, 0].numpy(), -1, kernel, borderType=cv2.BORDER_REPLICATE)
    np.testing.assert_allclose(_blur(image)[0, 0].numpy(), expected, atol=1e-3)
