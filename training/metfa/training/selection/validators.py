"""Scores of a candidate model that need no target label; higher is better. See Ericsson et al. 2023 for their worth.

p are the target's probabilities, [N, M], and f its embeddings, [N, D], on held-out frames.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_mutual_info_score, v_measure_score

from ..data.store import spread

if TYPE_CHECKING:
    from numpy.typing import NDArray

SND_TEMPERATURE = 0.05
SND_FRAMES = 2000
"""So many, evenly spread, are compared with one another at most: time and memory grow with their square."""
CLUSTERINGS = 4  # of k-means; the best is taken


@dataclass(frozen=True, slots=True)
class Validators:
    """What the validators say of one candidate.

    Attributes:
        supervised_accuracy: on held-out labelled frames of the domain whose labels the method was trained on.
        accuracy_error: its standard error, see :func:`standard_error`.
        v_measure: agreement of argmax p with k-means of f, as homogeneity and completeness; 0 to 1.
        ami: the same agreement as adjusted mutual information; 0 by chance, 1 where they are the same.
        information_maximisation: IM, H(mean p) − mean H(p), in nats.
        nuclear_norm: BNM, ‖p‖_* / N.
        negative_entropy: −mean H(p), in nats; rewards collapse, so never alone.
        neighbourhood_density: SND, entropy of the similarities between the predictions; for the report only, of up to
            ``SND_FRAMES`` frames.
        diversity: H(mean p) / log M, 0 to 1; an alarm for collapse.
    """

    supervised_accuracy: float
    accuracy_error: float
    v_measure: float
    ami: float
    information_maximisation: float
    nuclear_norm: float
    negative_entropy: float
    neighbourhood_density: float
    diversity: float


def validate(
    probabilities: NDArray[np.float64],
    embeddings: NDArray[np.float32],
    supervised_accuracy: float,
    accuracy_error: float,
) -> Validators:
    """Return every validator for predictions on held-out, unlabelled target frames.

    Args:
        probabilities: p, [N, M], N ≥ 1.
        embeddings: f, [N, D].
        supervised_accuracy: computed elsewhere, on labelled frames.
        accuracy_error: its standard error.
    """
    predicted = probabilities.argmax(axis=1)
    clusters = cluster(embeddings, probabilities.shape[1])
    return Validators(
        supervised_accuracy=supervised_accuracy,
        accuracy_error=accuracy_error,
        v_measure=float(v_measure_score(clusters, predicted)),
        ami=float(adjusted_mutual_info_score(clusters, predicted)),
        information_maximisation=information_maximisation(probabilities),
        nuclear_norm=nuclear_norm(probabilities),
        negative_entropy=-float(entropy(probabilities).mean()),
        neighbourhood_density=neighbourhood_density(probabilities),
        diversity=diversity(probabilities),
    )


def standard_error(accuracy: float, frames: int) -> float:
    """Return the standard error of an accuracy on so many frames, ≥ 1.

    Two more frames count as right and two as wrong (Agresti and Coull 1998): without an error among few frames, the
    accuracy is not known exactly.
    """
    share = (accuracy * frames + 2) / (frames + 4)
    return math.sqrt(share * (1 - share) / (frames + 4))


def cluster(embeddings: NDArray[np.float32], classes: int) -> NDArray[np.int64]:
    """Return the k-means cluster of each embedding, int64 [N]; ``classes`` clusters, or fewer where frames are few."""
    different = len(np.unique(embeddings, axis=0))
    kmeans = KMeans(min(classes, different), n_init=CLUSTERINGS, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # embeddings that differ by rounding alone are one cluster
        return np.asarray(kmeans.fit_predict(embeddings.astype(np.float64)), np.int64)


def entropy(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the entropy of each row in nats, with 0 · log 0 = 0."""
    logarithms = np.log(np.where(probabilities > 0, probabilities, 1))
    return np.asarray(-(probabilities * logarithms).sum(axis=-1))


def information_maximisation(probabilities: NDArray[np.float64]) -> float:
    """Return H(mean p) − mean H(p)."""
    return float(entropy(probabilities.mean(axis=0)) - entropy(probabilities).mean())


def nuclear_norm(probabilities: NDArray[np.float64]) -> float:
    """Return ‖p‖_* / N (Cui et al. 2020)."""
    return float(np.linalg.norm(probabilities, ord="nuc") / len(probabilities))


def diversity(probabilities: NDArray[np.float64]) -> float:
    """Return H(mean p) / log M."""
    return float(entropy(probabilities.mean(axis=0)) / np.log(probabilities.shape[1]))


def neighbourhood_density(probabilities: NDArray[np.float64]) -> float:
    """Return the mean entropy of each prediction's similarities to the others (Saito et al. 2021); 0 for one frame.

    Of more than ``SND_FRAMES`` frames, so many stand for all.
    """
    if len(probabilities) < 2:
        return 0.0
    probabilities = probabilities[spread(len(probabilities), SND_FRAMES)]
    directions = probabilities / np.linalg.norm(probabilities, axis=1, keepdims=True)
    similarities = directions @ directions.T / SND_TEMPERATURE
    np.fill_diagonal(similarities, -np.inf)
    exponentials = np.exp(similarities - similarities.max(axis=1, keepdims=True))
    return float(entropy(exponentials / exponentials.sum(axis=1, keepdims=True)).mean())
