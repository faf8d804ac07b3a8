"""What each class of the source looks like to a model, in a few numbers that stand for its images.

The embedding is Gaussian by construction, and so is what is kept of a class: its mean, its principal directions, and
the variance that remains in each dimension. Who adapts the model further draws embeddings from them, and needs no image
of the source.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from metfa.runtime.errors import BundleError

from .model import batches
from .weights import parse_tensors, save_tensors

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from metfa.runtime.bundle.directory import Bundle

    from .data.store import FrameStore
    from .model import Network

EMBEDDINGS = "embeddings.safetensors"
"""The file of a bundle that holds its :class:`ClassEmbeddings`."""

MAX_DIRECTIONS = 16
"""Of each class; what lies in others is kept as a variance by dimension."""


@dataclass(frozen=True, slots=True, eq=False)
class ClassEmbeddings:
    """A Gaussian for each of M classes in the D dimensions of the embedding.

    Attributes:
        mean: of the mean embeddings μ of a class, float32 [M, D].
        directions: its K principal directions, each as long as its standard deviation, float32 [M, K, D].
        variance: what remains in each dimension, float32 [M, D], ≥ 0.
        noise: the mean σ² of the class's embeddings, by which a sampled one differs from μ, float32 [M, D], ≥ 0.
        count: of images, int64 [M], ≥ 1.
    """

    mean: Tensor
    directions: Tensor
    variance: Tensor
    noise: Tensor
    count: Tensor

    def draw(self, labels: Tensor, generator: torch.Generator, *, sampled: bool) -> Tensor:
        """Return an embedding of each label's class, float32 [N, D].

        Args:
            labels: int64 [N].
            generator: draws them; on the device of the tensors.
            sampled: whether to draw z, as training sees it, or the mean embedding μ alone.
        """
        device, (_, number, dimensions) = self.mean.device, self.directions.shape
        along = torch.randn(len(labels), 1, number, generator=generator, device=device)
        beside = torch.randn(len(labels), dimensions, generator=generator, device=device)
        variance = self.variance[labels] + (self.noise[labels] if sampled else 0)
        return self.mean[labels] + (along @ self.directions[labels]).squeeze(1) + variance.sqrt() * beside

    def draw_means(self, labels: NDArray[np.int64], seed: int) -> NDArray[np.float32]:
        """Return a mean embedding of each label's class, the same for the same seed, float32 [N, D]."""
        generator = torch.Generator().manual_seed(seed)
        return self.draw(torch.from_numpy(labels), generator, sampled=False).numpy()

    def to(self, device: torch.device) -> ClassEmbeddings:
        """Return the same on another device."""
        return ClassEmbeddings(**{name: tensor.to(device) for name, tensor in asdict(self).items()})


@torch.no_grad()
def describe_classes(network: Network, store: FrameStore) -> ClassEmbeddings:
    """Return what the classes of labelled frames look like to a network.

    Args:
        network: with the batch-norm statistics of the frames' domain.
        store: its frames, at least one of each class.
    """
    means, noises = [], []
    for frames in batches(network, store.frames):
        gaussian = network.embedding(network.encoder(network.normalise(frames)))
        means.append(gaussian.mean.double().cpu())
        noises.append(gaussian.log_variance.double().exp().cpu())
    mean, noise, labels = torch.cat(means), torch.cat(noises), torch.from_numpy(store.labels)
    of_each = [_describe(mean[labels == label], noise[labels == label]) for label in range(network.config.classes)]
    return ClassEmbeddings(*(torch.stack(parts) for parts in zip(*of_each, strict=True)))


def _describe(mean: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
    """Return the Gaussian of one class, whose N embeddings have means and variances float64 [N, D]."""
    count, dimensions = mean.shape
    centre = mean.mean(dim=0)
    _, values, axes = torch.linalg.svd((mean - centre) / max(count - 1, 1) ** 0.5, full_matrices=False)
    number = min(MAX_DIRECTIONS, dimensions)
    directions = torch.zeros(number, dimensions, dtype=mean.dtype)
    kept = min(number, len(values))
    directions[:kept] = values[:kept, None] * axes[:kept]
    total = mean.var(dim=0, correction=1) if count > 1 else torch.zeros_like(centre)
    remaining = (total - directions.square().sum(dim=0)).clamp_min(0)
    gaussian = (centre, directions, remaining, noise.mean(dim=0))
    return (*(tensor.float() for tensor in gaussian), torch.tensor(count))


def save_embeddings(embeddings: ClassEmbeddings, directory: Path) -> None:
    """Write them into ``directory``."""
    save_tensors(asdict(embeddings), directory / EMBEDDINGS)


def load_embeddings(bundle: Bundle) -> ClassEmbeddings:
    """Return what a bundle holds of the classes of its source.

    Raises:
        BundleError: it holds nothing of them, or what is damaged.
    """
    path = bundle.directory / EMBEDDINGS
    if EMBEDDINGS not in bundle.files:
        raise BundleError(
            expected=f"{EMBEDDINGS} in {bundle.directory}, from which to draw in place of the source's images",
            received="a bundle without",
            remedy="train the bundle again with this version of metfa-train, where the source's images are",
        )
    tensors = parse_tensors(bundle.read(EMBEDDINGS), path)
    names = [field.name for field in fields(ClassEmbeddings)]
    if sorted(tensors) != sorted(names) or not _is_sound(tensors, bundle):
        raise BundleError(
            expected=f"a Gaussian for each class of the contract in {path}",
            received="other tensors",
            remedy="make the bundle again with metfa-train",
        )
    return ClassEmbeddings(**tensors)


def _is_sound(tensors: dict[str, Tensor], bundle: Bundle) -> bool:
    classes, dimensions = len(bundle.contract.labels), bundle.contract.embedding
    flat, deep = (classes, dimensions), (classes, min(MAX_DIRECTIONS, dimensions), dimensions)
    shapes = {"mean": flat, "directions": deep, "variance": flat, "noise": flat, "count": (classes,)}
    return (
        all(tuple(tensors[name].shape) == shape for name, shape in shapes.items())
        and all(tensor.dtype == (torch.int64 if name == "count" else torch.float32) for name, tensor in tensors.items())
        and all(bool(tensor.isfinite().all()) for tensor in tensors.values())
        and all(bool((tensors[name] >= 0).all()) for name in ("variance", "noise"))
        and bool((tensors["count"] >= 1).all())
    )
