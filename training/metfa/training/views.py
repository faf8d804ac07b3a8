"""Training frames of a domain as a step sees them: as they are, or augmented, in one way or another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from .augment import augment
from .data.drawn import DrawnEmbeddings
from .data.store import Features

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from .config import Augmentation
    from .data.store import FrameSequence


class Views(Protocol):
    """What a network's encoder takes, for some of the training frames of a domain."""

    def plain(self, chosen: NDArray[np.int64], /) -> Tensor:
        """Return the frames of some indices as they are, normalised."""

    def augmented(self, chosen: NDArray[np.int64], noise: torch.Generator, /, *, strongly: bool = False) -> Tensor:
        """Return them augmented, for all methods alike or ``strongly``; ``noise`` draws how."""


def make_views(
    frames: FrameSequence, normalise: Callable[[Tensor], Tensor], augmentation: Augmentation, device: torch.device
) -> Views:
    """Return the views of frames, or of the features or embeddings that stand for them."""
    if isinstance(frames, Features):
        return FeatureViews(frames, device)
    if isinstance(frames, DrawnEmbeddings):
        return DrawnViews(frames, device)
    return FrameViews(frames, normalise, augmentation, device)


class FrameViews:
    """Frames that are augmented when they are asked for, each time in another way.

    Args:
        frames: uint8 [N, 1, H, W].
        normalise: grey levels → what the encoder takes.
        augmentation: what to do.
        device: where to compute.
    """

    def __init__(
        self,
        frames: FrameSequence,
        normalise: Callable[[Tensor], Tensor],
        augmentation: Augmentation,
        device: torch.device,
    ) -> None:
        self._frames = _near(frames, device)
        self._normalise, self._augmentation, self._device = normalise, augmentation, device

    def plain(self, chosen: NDArray[np.int64]) -> Tensor:
        """Return the frames of some indices, float [n, 1, H, W]."""
        return self._normalise(self._fetch(chosen))

    def augmented(self, chosen: NDArray[np.int64], noise: torch.Generator, *, strongly: bool = False) -> Tensor:
        """Return them augmented, float [n, 1, H, W]."""
        return augment(self._fetch(chosen), self._normalise, self._augmentation, noise, strongly=strongly)

    def _fetch(self, chosen: NDArray[np.int64]) -> Tensor:
        if isinstance(self._frames, Tensor):
            return self._frames[torch.from_numpy(chosen).to(self._device)]
        return torch.from_numpy(self._frames[chosen]).to(self._device)


class FeatureViews:
    """Features of frames that were augmented before, in a few ways each, of which one is drawn.

    Args:
        features: of all frames.
        device: where to compute.
    """

    def __init__(self, features: Features, device: torch.device) -> None:
        self._weak = torch.from_numpy(features.weak).to(device)
        self._strong = None if features.strong is None else torch.from_numpy(features.strong).to(device)
        self._device = device

    def plain(self, chosen: NDArray[np.int64]) -> Tensor:
        """Return the features of the frames of some indices, float [n, ...]."""
        return self._weak[torch.from_numpy(chosen).to(self._device), 0]

    def augmented(self, chosen: NDArray[np.int64], noise: torch.Generator, *, strongly: bool = False) -> Tensor:
        """Return those of a copy of each, float [n, ...]."""
        copies = self._strong if strongly else self._weak
        assert copies is not None
        drawn = torch.randint(copies.shape[1], (len(chosen),), generator=noise, device=self._device)
        return copies[torch.from_numpy(chosen).to(self._device), drawn]


class DrawnViews:
    """Embeddings that are drawn when they are asked for, each time anew.

    Args:
        frames: what stands for frames, with their classes.
        device: where to compute.
    """

    def __init__(self, frames: DrawnEmbeddings, device: torch.device) -> None:
        self._frames, self._device = frames, device
        self._classes, self._labels = frames.classes.to(device), torch.from_numpy(frames.labels).to(device)

    def plain(self, chosen: NDArray[np.int64]) -> Tensor:
        """Return the embeddings of some indices, float [n, D]."""
        return torch.from_numpy(self._frames[chosen]).to(self._device)

    def augmented(self, chosen: NDArray[np.int64], noise: torch.Generator, *, strongly: bool = False) -> Tensor:
        """Return sampled embeddings of the same classes, float [n, D]."""
        del strongly  # there is no image to change
        return self._classes.draw(self._labels[torch.from_numpy(chosen).to(self._device)], noise, sampled=True)


def _near(frames: FrameSequence, device: torch.device) -> FrameSequence | Tensor:
    """Return the frames in the GPU's memory where they leave at least half of what is free; elsewhere as they are."""
    if device.type != "cuda" or len(frames) * frames[:1].nbytes > torch.cuda.mem_get_info(device)[0] // 2:
        return frames
    parts = [torch.from_numpy(frames[start : start + 1024]) for start in range(0, len(frames), 1024)]
    return torch.cat([part.to(device) for part in parts])
