"""The whole network: encoder E, Gaussian embedding G and prototype classifier C (Meng et al. 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metfa.runtime.bundle.contract import Normalisation

from .encoders import ENCODERS, build_encoder
from .names import EncoderName

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .data.store import FrameSequence

HIDDEN = (512, 128)
BATCH = 64
"""Frames that pass a network at once where nothing is learnt."""

MAX_LOG_VARIANCE = 4.0
"""Bound of log σ²: σ of an embedding stays between 0.14 and 7.4, where the prior's is 1."""


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """All that is needed to build a :class:`Network`.

    Attributes:
        height: rows of the input, ≥ 28.
        width: columns of the input, ≥ 28.
        classes: M.
        encoder: E.
        embedding: D, dimensions of the Gaussian embedding.
        temperature: τ₀ of the prototype classifier.
        normalisation: what happens to grey levels first.
    """

    height: int
    width: int
    classes: int
    encoder: EncoderName
    embedding: int
    temperature: float
    normalisation: Normalisation

    @property
    def features(self) -> int:
        """Size of F, the flattened output of the encoder: 8064 at 224 × 288 where it is residual or edge."""
        return ENCODERS[self.encoder].features(self.height, self.width)


class Normalise(nn.Module):
    """uint8 [N, 1, H, W] → float32 of the same shape, as the contract's :class:`Normalisation` says."""

    def __init__(self, normalisation: Normalisation) -> None:
        super().__init__()
        self.normalisation = normalisation

    def forward(self, frames: Tensor) -> Tensor:
        """Return the normalised frames; a frame without contrast becomes zeros."""
        grey = frames.float()
        if self.normalisation.mean is not None:
            return (grey - self.normalisation.mean) * self.normalisation.scale
        centred = grey - grey.mean(dim=(1, 2, 3), keepdim=True)
        variance = centred.square().mean(dim=(1, 2, 3), keepdim=True)
        # Half a grey level as the floor: below it there is only quantisation, which must not be blown up.
        return centred * (self.normalisation.scale / variance.clamp_min(0.25).sqrt())


class Gaussian(NamedTuple):
    """A batch of diagonal Gaussians, float [N, D] each."""

    mean: Tensor
    log_variance: Tensor

    def sample(self, noise: torch.Generator) -> Tensor:
        """Return z = μ + σ·ε with ε ~ N(0, I) drawn from ``noise``."""
        epsilon = torch.randn(self.mean.shape, generator=noise, device=self.mean.device, dtype=self.mean.dtype)
        return self.mean + (self.log_variance / 2).exp() * epsilon


class GaussianEmbedding(nn.Module):
    """G: F → N(μ, σ²), two bias-free linear layers."""

    def __init__(self, features: int, dimensions: int) -> None:
        super().__init__()
        self.mean = nn.Linear(features, dimensions, bias=False)
        self.log_variance = nn.Linear(features, dimensions, bias=False)

    def forward(self, features: Tensor) -> Gaussian:
        """[N, features] → two times [N, D]; log σ² is bent so that it stays between ±4.

        The paper sets no bound. Without one, the prior's e^(log σ²) has a gradient of any size, and runs of few classes
        diverge within fifty steps.
        """
        bent = MAX_LOG_VARIANCE * torch.tanh(self.log_variance(features) / MAX_LOG_VARIANCE)
        return Gaussian(self.mean(features), bent)


class Prototypes(nn.Module):
    """The last dense layer: W holds one prototype per class; g = Wᵀ h / (‖h‖ τ₀)."""

    def __init__(self, dimensions: int, classes: int, temperature: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, dimensions))
        nn.init.xavier_normal_(self.weight)
        self.temperature = temperature

    def forward(self, hidden: Tensor, *, reverse_prototype_gradient: bool = False) -> Tensor:
        """[N, 128] → logits [N, M]; with reversal, the gradient that reaches W, and only W, changes its sign."""
        weight = reverse_gradient(self.weight) if reverse_prototype_gradient else self.weight
        return F.linear(F.normalize(hidden), weight) / self.temperature


class PrototypeClassifier(nn.Module):
    """C: z → hidden h → logits."""

    def __init__(self, dimensions: int, classes: int, temperature: float) -> None:
        super().__init__()
        sizes = (dimensions, *HIDDEN)
        layers: list[nn.Module] = []
        for size_in, size_out in zip(sizes, HIDDEN, strict=False):
            layers += [nn.Linear(size_in, size_out, bias=False), nn.BatchNorm1d(size_out), nn.ReLU()]
        self.hidden = nn.Sequential(*layers)
        self.prototypes = Prototypes(HIDDEN[-1], classes, temperature)

    def forward(self, z: Tensor) -> Tensor:
        """[N, D] → logits [N, M]."""
        logits: Tensor = self.prototypes(self.hidden(z))
        return logits


class Network(nn.Module):
    """E, G and C for both domains. Called on frames, it is the deterministic path that is evaluated and exported."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.normalise: nn.Module = Normalise(config.normalisation)
        self.encoder: nn.Sequential = build_encoder(config.encoder)
        self.embedding = GaussianEmbedding(config.features, config.embedding)
        self.classifier = PrototypeClassifier(config.embedding, config.classes, config.temperature)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 [N, 1, H, W] → logits [N, M] and the mean embedding [N, D]; nothing is sampled."""
        mean = self.embedding.mean(self.encoder(self.normalise(frames)))
        return self.classifier(mean), mean


def batches(network: Network, frames: FrameSequence) -> Iterator[Tensor]:
    """Yield frames where the network is, batch by batch; it is in evaluation mode from then on."""
    device = next(network.parameters()).device
    network.eval()
    for start in range(0, len(frames), BATCH):
        yield torch.from_numpy(frames[start : start + BATCH].copy()).to(device)


def classifier_alone(network: Network) -> Network:
    """Return ``network`` without what comes before the classifier: it takes mean embeddings in place of frames."""
    network.normalise, network.encoder = nn.Identity(), nn.Sequential()
    network.embedding.mean = nn.Identity()  # type: ignore[assignment]  # E[z] of an embedding is itself
    return network


class _ScaleGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.factor * gradient, None


def scale_gradient(x: Tensor, factor: float) -> Tensor:
    """Return ``x``; its gradient is multiplied by ``factor`` on the way back."""
    return _ScaleGradient.apply(x, factor)  # type: ignore[no-any-return, no-untyped-call]


def reverse_gradient(x: Tensor, strength: float = 1.0) -> Tensor:
    """Return ``x``; its gradient is multiplied by −``strength`` on the way back (Ganin and Lempitsky 2015)."""
    return scale_gradient(x, -strength)
