"""The terms of the objective, one pure function each. Equation numbers are those of Meng et al. 2020.

Logits are g(x) = Wᵀ h / (‖h‖ τ₀), pseudo-labels argmax g(x_T). Every function returns a scalar and is finite, with a
finite gradient, for every batch: what is absent takes no part.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from .data.store import UNLABELLED

if TYPE_CHECKING:
    from torch import Tensor


CONFUSION_TEMPERATURE = 2.5
"""Of the minimum class confusion: its reference's."""


def cross_entropy(
    source_logits: Tensor, labels: Tensor, target_logits: Tensor | None = None, target_labels: Tensor | None = None
) -> Tensor:
    """Mean cross-entropy of all labelled frames (Eq. 1): of the source, and of the target where some are known.

    Args:
        source_logits: [N_S, M].
        labels: int64 [N_S].
        target_logits: [N_T, M].
        target_labels: int64 [N_T], ``UNLABELLED`` where a frame takes no part; None where none is known.
    """
    if target_logits is None or target_labels is None:
        return F.cross_entropy(source_logits, labels)
    return known_cross_entropy(torch.cat([source_logits, target_logits]), torch.cat([labels, target_labels]))


def known_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of the frames whose class is known; 0 where none is.

    Args:
        logits: [N, M].
        labels: int64 [N], ``UNLABELLED`` where a frame takes no part.
    """
    total = F.cross_entropy(logits, labels, ignore_index=UNLABELLED, reduction="sum")
    return total / (labels != UNLABELLED).sum().clamp_min(1)


def prior(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(μ, σ²) ‖ N(0, I)) of one domain (Eq. 2): sum over dimensions, mean over the batch.

    Args:
        mean: μ, [N, D].
        log_variance: log σ², [N, D].
    """
    divergence = (mean.square() + log_variance.exp() - 1 - log_variance) / 2
    return divergence.sum(dim=1).mean()


def reconstruction(features: Tensor, reconstructed: Tensor) -> Tensor:
    """‖F − Ẑ‖² of one domain (Eq. 3), as a mean over dimensions and batch.

    The paper's sum over dimensions would swamp every other term at its λ₄ = 1.

    Args:
        features: F, [N, K]; the gradient flows into them, too.
        reconstructed: Ẑ, [N, K].
    """
    return F.mse_loss(reconstructed, features)


def entropy(logits: Tensor) -> Tensor:
    """Mean entropy of the predictions in nats (Eq. 4).

    Args:
        logits: [N, M].
    """
    log_probabilities = F.log_softmax(logits, dim=1)
    return -(log_probabilities.exp() * log_probabilities).sum(dim=1).mean()


def diversity(logits: Tensor) -> Tensor:
    """Entropy of the mean prediction in nats, which falls where predictions collapse onto few classes.

    Args:
        logits: [N, M].
    """
    mean = F.softmax(logits, dim=1).mean(dim=0)
    return -(mean * mean.clamp_min(1e-12).log()).sum()


def metric(queries: Tensor, pseudo_labels: Tensor, supports: Tensor, labels: Tensor, *, classes: int) -> Tensor:
    """Cross-domain metric learning (Eqs. 5 and 6): hardest positives against the hardest negative of each class.

    With d squared Euclidean distances divided by the embedding's dimension D, i a query's pseudo-label, d_i its largest
    distance to a support of class i and d_k its smallest to a support of class k: mean of
    log(1 + Σ_{k≠i} exp(d_i − d_k)), the cross-entropy of the logits (−d_1, …, −d_M) at i. The paper does not divide;
    without it the term's weight would grow with D. A class without supports takes no part, as negative or as
    pseudo-label.

    Args:
        queries: target embeddings, [Q, D].
        pseudo_labels: int64 [Q].
        supports: source embeddings, [P, D].
        labels: int64 [P].
        classes: M.
    """
    distances = (queries[:, None] - supports[None]).square().mean(dim=2)  # [Q, P]
    member = F.one_hot(labels, classes).bool()  # [P, M]
    nearest = distances[:, :, None].masked_fill(~member, torch.inf).amin(dim=1)  # [Q, M]
    positive = member.T[pseudo_labels]  # [Q, P]
    answerable = positive.any(dim=1)
    farthest = distances.masked_fill(~positive, -torch.inf).amax(dim=1)  # [Q]
    own = F.one_hot(pseudo_labels, classes).bool()
    exponents = (farthest[:, None] - nearest).masked_fill(own, 0)[answerable]
    return exponents.logsumexp(dim=1).sum() / answerable.sum().clamp_min(1)


def alignment(
    source_logits: Tensor,
    labels: Tensor,
    target_logits: Tensor,
    pseudo_labels: Tensor,
    *,
    classes: int,
    temperature: float,
) -> Tensor:
    """Class-distribution alignment (Eq. 7).

    For each class present on both sides: symmetrised KL (the mean of both directions) between the softmaxes, at τ₁, of
    its mean source logits and of the mean target logits predicted as it, weighted by Λ_i, the share of the targets
    predicted as it. The paper's Λ_i is their number, and its sum is divided by M: twice the images per class in a batch
    times this one, which would let the weight of the term grow with the batch.

    Args:
        source_logits: [N_S, M].
        labels: int64 [N_S].
        target_logits: [N_T, M].
        pseudo_labels: int64 [N_T].
        classes: M.
        temperature: τ₁.
    """
    source, _ = _mean_per_class(source_logits, labels, classes)
    target, counts = _mean_per_class(target_logits, pseudo_labels, classes)
    p = F.log_softmax(source / temperature, dim=1)
    q = F.log_softmax(target / temperature, dim=1)
    divergence = ((p.exp() - q.exp()) * (p - q)).sum(dim=1) / 2  # of KL(p ‖ q) + KL(q ‖ p)
    present = torch.bincount(labels, minlength=classes) > 0
    return (divergence * counts * present).sum() / len(pseudo_labels)


def _mean_per_class(logits: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Return mean logits [M, M] and counts [M] by label; the mean of an absent class is zero."""
    member = F.one_hot(labels, classes).to(logits.dtype)  # [N, M]
    counts = member.sum(dim=0)
    return member.T @ logits / counts.clamp_min(1)[:, None], counts


def consistency(logits: Tensor, teacher: Tensor, confidence: float) -> Tensor:
    """Cross-entropy with a teacher's pseudo-labels, where it is confident (FixMatch, Sohn et al. 2020).

    Args:
        logits: of strongly augmented frames, [N, M].
        teacher: its probabilities for the same frames, weakly augmented, [N, M].
        confidence: of the teacher, from which on a frame counts; the mean is over all frames.
    """
    highest, pseudo_labels = teacher.max(dim=1)
    return (F.cross_entropy(logits, pseudo_labels, reduction="none") * (highest >= confidence)).mean()


@torch.no_grad()
def certainty(logits: Tensor) -> Tensor:
    """1 + e^(−H) of each prediction, divided by their sum: weights of frames, [N], without gradient.

    Args:
        logits: [N, M].
    """
    log_probabilities = F.log_softmax(logits, dim=1)
    weights = 1 + torch.exp((log_probabilities.exp() * log_probabilities).sum(dim=1))
    return weights / weights.sum()


def confusion(logits: Tensor, temperature: float) -> Tensor:
    """Minimum class confusion (MCC, Jin et al., ECCV 2020).

    Of the probabilities at ``temperature``, C is the correlation of classes over the batch, where certain frames weigh
    more; each row is divided by its sum. The mean off-diagonal sum of a row is what classes are confused.

    Args:
        logits: [N, M].
        temperature: that softens the probabilities.
    """
    probabilities = F.softmax(logits / temperature, dim=1)
    weights = certainty(logits / temperature) * len(logits)
    correlation = (probabilities * weights[:, None]).T @ probabilities
    correlation = correlation / correlation.sum(dim=1, keepdim=True).clamp_min(1e-12)
    return 1 - correlation.trace() / len(correlation)
