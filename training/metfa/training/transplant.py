"""The published SonoNet-16 as a network of metfa, and the Gaussians of its classes: from its weights, without an image.

Its classifier is the softmax of a linear function of 64 features. Gaussians with one covariance in common have such a
function as their Bayes rule (linear discriminant analysis). So the classifier tells where the classes lie among the
features, once it is known how far these are spread; and that the batch norm before the last ReLU tells.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .class_embeddings import MAX_DIRECTIONS, ClassEmbeddings
from .encoders.sononet16 import FEATURES
from .model import Network

if TYPE_CHECKING:
    from .model import NetworkConfig, PrototypeClassifier
    from .sononet import SonoNet

_SCALE = 2.0
"""By which μ multiplies the standardised features: so the noise of an embedding, σ = 1, is small beside them."""

_STEPS, _DRAWN_OF_EACH_CLASS, _LEARNING_RATE = 400, 10, 1e-3
"""By which C learns what the published classifier knows: a few seconds."""


def transplant(published: SonoNet, config: NetworkConfig) -> Network:
    """Return a network of metfa that names the classes of frames as the published one does, nearly always.

    E is the published network up to its last hidden layer, whose features it standardises; μ is twice these, log σ² is
    0, and C is trained on embeddings that are drawn from the classes.

    Args:
        published: with its weights.
        config: of the encoder ``sononet16``, and an embedding with a dimension for each of its features.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        network = Network(config)
        network.encoder.load_state_dict(published.features.state_dict(), strict=False)  # the layers that both have
        first, *_, standardise = (each for each in network.encoder if isinstance(each, nn.BatchNorm2d))
        _divide_inputs(first, published.normalise.normalisation.scale)
        mean, deviation = _moments_of_features(published)
        standardise.get_buffer("running_mean").copy_(mean)
        standardise.get_buffer("running_var").copy_(deviation.square())
        network.embedding.mean.weight.copy_(_SCALE * torch.eye(FEATURES))
        network.embedding.log_variance.weight.zero_()
        _teach(network.classifier, classes_of(published))
    return network.eval()


@torch.no_grad()
def classes_of(published: SonoNet) -> ClassEmbeddings:
    """Return what the classes look like to the transplanted network.

    A class's mean is Σ w, where w is what the classifier multiplies the standardised features by, less the mean over
    the classes. Features of unit variance are scattered within the classes (Σ) and between them (the covariance of the
    means): Σ + Σ W Σ = I, with W the covariance of w. So Σ has the axes of W, and a variance for each that solves a
    quadratic equation.
    """
    _, deviation = _moments_of_features(published)
    convolution, norm = published.classes
    assert isinstance(norm, nn.BatchNorm2d)
    scale = norm.weight / (norm.get_buffer("running_var") + norm.eps).sqrt()
    weights = (convolution.get_parameter("weight").flatten(1) * scale[:, None]).double() * deviation
    weights = weights - weights.mean(dim=0)
    classes = len(weights)
    between, axes = torch.linalg.eigh(weights.T @ weights / classes)
    variances = _variance_within(between.clamp_min(0))
    means = weights @ (axes * variances) @ axes.T
    kept = variances.argsort(descending=True)[:MAX_DIRECTIONS]
    directions = (axes * variances.sqrt())[:, kept].T
    remaining = ((axes.square() * variances).sum(dim=1) - directions.square().sum(dim=0)).clamp_min(0)

    def of_each(values: Tensor) -> Tensor:
        return values.float().expand(classes, *values.shape).contiguous()

    return ClassEmbeddings(
        mean=(_SCALE * means).float(),
        directions=of_each(_SCALE * directions),
        variance=of_each(_SCALE**2 * remaining),
        noise=of_each(torch.ones(FEATURES)),
        count=torch.ones(classes, dtype=torch.int64),  # the least that a bundle may say: it is not known
    )


def _variance_within(between: Tensor) -> Tensor:
    """Return the positive root x of λ x² + x − 1 = 0 for each λ ≥ 0, in a form that also holds where λ is 0."""
    return 2 / (1 + (1 + 4 * between).sqrt())


def _moments_of_features(published: SonoNet) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of the 64 features, float64 [64] each.

    Before the ReLU, the batch norm makes each feature Gaussian, with mean β and deviation |γ|; what these become behind
    it is known (a rectified Gaussian). They are those of a place of the map: the mean over the map has the same mean,
    and a smaller deviation, which nothing in the weights tells.
    """
    *_, norm = (each for each in published.features if isinstance(each, nn.BatchNorm2d))
    shift, scale = norm.bias.double(), norm.weight.double().abs()
    ratio = shift / scale
    density = torch.exp(-ratio.square() / 2) / math.sqrt(2 * math.pi)
    above = torch.special.ndtr(ratio)
    mean = shift * above + scale * density
    square = (shift.square() + scale.square()) * above + shift * scale * density
    return mean, (square - mean.square()).clamp_min(1e-12).sqrt()


def _divide_inputs(norm: nn.BatchNorm2d, scale: float) -> None:
    """Let a batch norm take the outputs of a convolution whose inputs are divided by ``scale``."""
    norm.get_buffer("running_mean").div_(scale)
    variance = norm.get_buffer("running_var")
    variance.copy_(((variance.double() + norm.eps) / scale**2 - norm.eps).clamp_min(0))


@torch.enable_grad()
def _teach(classifier: PrototypeClassifier, classes: ClassEmbeddings) -> None:
    """Train a classifier on embeddings drawn from the classes."""
    optimizer = torch.optim.Adam(classifier.parameters(), _LEARNING_RATE)
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(len(classes.count)).repeat(_DRAWN_OF_EACH_CLASS)
    for _ in range(_STEPS):
        loss = F.cross_entropy(classifier(classes.draw(labels, draw, sampled=True)), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
