"""What every method is."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from ..names import DEFAULTS
from ..parallel import average_gradients

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch.optim import Optimizer

    from ..config import TrainingConfig
    from ..model import Network
    from ..names import Defaults

    RunEncoder = Callable[[nn.Module, Tensor], Tensor]

Role = Literal["source", "target"]


class Batch(NamedTuple):
    """What a step sees.

    Attributes:
        source: normalised and augmented frames, float [N_S, 1, H, W]; embeddings, float [N_S, D], where they are drawn.
        labels: their classes, int64 [N_S].
        target: normalised and augmented frames, float [N_T, 1, H, W]; none, N_T = 0, before the method looks at them.
        target_labels: their classes, int64 [N_T], ``UNLABELLED`` where the method may not know; None where it may know
            none.
        target_strong: the target's frames, strongly augmented, where the method takes two views by now; else None.
        pseudo_labels: what the method said of them last, int64 [N_T], for the methods that relabel; else None.
    """

    source: Tensor
    labels: Tensor
    target: Tensor
    target_labels: Tensor | None
    target_strong: Tensor | None = None
    pseudo_labels: Tensor | None = None


class Method(nn.Module, ABC):
    """A method: its networks, its optimisers, its step.

    Attributes:
        defaults: of its optimisation, where another package adds it; metfa's are known without PyTorch, in
            :data:`~metfa.training.names.DEFAULTS`.
        supervision: the domains whose labels it is trained on.
        home: the domain that the trained network is for; the bundle holds that domain's batch-norm statistics.
        source_free: whether it can be trained with drawn embeddings in place of the source's frames.
        config: the run.
        network: E, G and C.
        optimisers: in a fixed order; their state is part of a checkpoint.
        target_from: the step from which on it looks at the target's frames.
        relabels_from: the step from which on it labels all of the target's training frames now and then, or never.
        two_views_from: the step from which on it also sees the target's frames strongly augmented, or never.
        balances_target: whether the target's batches are drawn evenly over the classes that it last gave.
        background: the classes that stand for frames which show no plane.
        run_encoder: E and frames → features; :class:`..parallel.Encoding` where it is not as simple as that.
    """

    defaults: ClassVar[Defaults] = DEFAULTS["adabn"]
    supervision: ClassVar[tuple[Role, ...]] = ("source",)
    home: ClassVar[Role] = "target"
    source_free: ClassVar[bool] = True
    optimisers: tuple[Optimizer, ...]
    run_encoder: RunEncoder

    def __init__(self, config: TrainingConfig, network: Network) -> None:
        super().__init__()
        self.config = config
        self.network = network
        self.target_from = 0
        self.relabels_from: int | None = None
        self.two_views_from: int | None = None
        self.balances_target = False
        self.background: tuple[int, ...] = ()
        self.run_encoder = _run

    @abstractmethod
    def step(self, batch: Batch, noise: torch.Generator, step: int) -> dict[str, Tensor]:
        """Take one optimisation step.

        Args:
            batch: the frames.
            noise: draws the embedding's ε.
            step: its number, from 0.

        Returns:
            Each term of the objective, unweighted and detached.
        """

    def calibrate(self, images: Iterable[Tensor], labels: Tensor) -> None:
        """Learn how far the labels that are given next can be trusted; most methods trust themselves.

        Args:
            images: held-out frames of the source, normalised, batch by batch; more may follow, as in :meth:`relabel`.
            labels: their classes, int64 [N].
        """
        del images, labels

    def relabel(self, images: Iterable[Tensor], count: int) -> Tensor:
        """Return a class for each of the target's training frames, int64 [N].

        Args:
            images: all of them in order, normalised, batch by batch.
            count: N. What follows the first N is there only so that each process has as many, and does not count.
        """
        raise NotImplementedError

    def network_for(self, role: Role) -> Network:
        """Return the network that labels frames of a domain."""
        del role  # most methods train one network for both
        return self.network

    def embed(self, frames: Tensor) -> Tensor:
        """Return the mean embedding of normalised frames, float [N, D]."""
        mean: Tensor = self.network.embedding.mean(self.run_encoder(self.network.encoder, frames))
        return mean

    def embed_source(self, batch: Batch) -> Tensor:
        """Return the embeddings of the source, float [N_S, D]."""
        return batch.source if self.config.origin else self.embed(batch.source)

    def progress(self, step: int) -> float:
        """Return p: 0 at the first step, 1 after the last."""
        return step / self.config.steps

    def sgd(self, parameters: Iterable[nn.Parameter], *, nesterov: bool = False) -> Optimizer:
        """Return the SGD that the configuration describes."""
        return torch.optim.SGD(
            list(parameters),
            lr=self.config.learning_rate,
            momentum=self.config.momentum,
            weight_decay=self.config.weight_decay,
            nesterov=nesterov,
        )


MAX_GRADIENT_NORM = 100.0
"""Of all parameters of an optimiser together. The first tens of steps have up to 500, later ones some tens."""


def descend(objective: Tensor, optimiser: Optimizer, learning_rate: float) -> None:
    """Move the parameters of ``optimiser``, and no others, down the gradient of ``objective``.

    A long gradient is clipped, which the paper does not do. Unclipped, the first steps blow the embedding up to many
    times its prior's size.
    """
    parameters = []
    for group in optimiser.param_groups:
        group["lr"] = learning_rate
        parameters += group["params"]
    optimiser.zero_grad()
    objective.backward(inputs=parameters)  # type: ignore[no-untyped-call]
    average_gradients(parameters)
    nn.utils.clip_grad_norm_(parameters, MAX_GRADIENT_NORM)
    optimiser.step()


def _run(encoder: nn.Module, frames: Tensor) -> Tensor:
    features: Tensor = encoder(frames)
    return features


def detached(terms: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the terms without their graph."""
    return {name: term.detach() for name, term in terms.items()}


def cosine(progress: float) -> float:
    """Return the factor of a learning rate that falls from 1 to 0 over the run."""
    return (1 + math.cos(math.pi * progress)) / 2


def sigmoid_ramp(progress: float) -> float:
    """Return 2 / (1 + e^(−10 p)) − 1, from 0 to nearly 1: the schedule of Ganin and Lempitsky 2015."""
    return 2 / (1 + math.exp(-10 * progress)) - 1
