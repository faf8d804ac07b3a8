"""What the steps of a method cost, and the parts of them."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, ParamSpec, TypeVar
from unittest import mock

import numpy as np
import torch

from metfa.runtime.bundle.contract import Normalisation
from metfa.training import losses
from metfa.training.augment import augment
from metfa.training.cli.run_options import make_config
from metfa.training.cli.train import main as metfa_train
from metfa.training.data.sampling import BalancedSampler, ShuffledSampler
from metfa.training.data.store import FrameStore
from metfa.training.methods import Batch, build_method
from metfa.training.model import Network, NetworkConfig
from metfa.training.parallel import Encoding, make_fabric

from ..tables.runs import NOT_OF_A_RUN

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from metfa.training.config import TrainingConfig
    from metfa.training.methods import Method
    from metfa.training.names import MethodName

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

CLASSES = 6
IMAGES = 600  # of each domain
TERMS = ("prior", "reconstruction", "entropy", "metric", "alignment")  # MetFA's, and MME's


def configuration(method: MethodName, preset: str, size: tuple[int, int]) -> TrainingConfig:
    """Return a run with the defaults of ``metfa-train``, and so many steps that no schedule ends."""
    height, width = size
    arguments = ["--method", method, "--preset", preset, "--input-size", f"{height}x{width}", "--steps", "10000"]
    values = metfa_train.make_context("metfa-train", arguments).params
    config = make_config(**{name: value for name, value in values.items() if name not in NOT_OF_A_RUN})
    return replace(config, learning_rate=config.learning_rate / 100)  # noise has nothing to learn, and may diverge


@dataclass(frozen=True, slots=True)
class StepCost:
    """A step of a method, in milliseconds; medians over steps.

    Attributes:
        whole: with sampling and augmentation.
        sampling: choosing frames and gathering them.
        augmentation: normalisation, noise, mirroring.
        step: the method's own, on a batch that is ready.
        limit: the same with every term but the cross-entropy replaced by a mean: forward and backward of its networks.
        own_terms: forward and backward of those terms by themselves, on tensors like those of a step.
        of_the_limit: the limit as a share of the whole, step by step.
        images: how many the method's encoders see.
    """

    whole: float
    sampling: float
    augmentation: float
    step: float
    limit: float
    own_terms: float
    of_the_limit: float
    images: int


class Bench:
    """One method on frames of noise.

    Args:
        config: the run.
        device: where.
    """

    def __init__(self, config: TrainingConfig, device: str = "cpu") -> None:
        self._device = torch.device(device)
        rng = np.random.default_rng(0)
        shape = (IMAGES, 1, config.height, config.width)
        self._stores = [FrameStore(rng.integers(0, 256, shape, np.uint8), np.arange(IMAGES) % CLASSES) for _ in "AB"]
        self._images_per_class = config.images_of_each_class(CLASSES)
        self.batch_size = self._images_per_class * CLASSES
        self._source_sampler = BalancedSampler(self._stores[0].labels, self._images_per_class, 0)
        self._target_sampler = ShuffledSampler(IMAGES, self.batch_size, 0)
        torch.manual_seed(0)
        normalisation = Normalisation("per-image", 1.0, None)
        network = Network(
            NetworkConfig(config.height, config.width, CLASSES, config.encoder, config.embedding, 0.05, normalisation)
        )
        self.method: Method = build_method(config, network).to(self._device)
        self.method.train()
        self._config = config
        self.step = 0

    def sample(self) -> list[np.ndarray]:
        """Return the frames of a step, source and target."""
        self.step += 1
        source, target = self._stores
        return [
            source.frames[self._source_sampler.batch(self.step)],
            target.frames[self._target_sampler.batch(self.step)],
        ]

    def augment(self, frames: list[np.ndarray]) -> list[Tensor]:
        """Return them as a method takes them: source, target, and the target strongly, where it takes two views."""
        noise = torch.Generator(self._device).manual_seed(self.step)

        def view(images: np.ndarray, *, strongly: bool = False) -> Tensor:
            normalise, augmentation = self.method.network.normalise, self._config.augmentation
            on_device = torch.from_numpy(images).to(self._device)
            return augment(on_device, normalise, augmentation, noise, strongly=strongly)

        views = [view(each) for each in frames]
        return [*views, view(frames[1], strongly=True)] if self.method.two_views_from is not None else views

    def train(self, images: list[Tensor]) -> None:
        """Take the method's step."""
        labels = torch.arange(CLASSES, device=self._device).repeat_interleave(self._images_per_class)
        source, target, *strong = images
        batch = Batch(
            source,
            labels,
            target,
            labels if "target" in self.method.supervision else None,
            strong[0] if strong else None,
        )
        self.method.step(batch, torch.Generator(self._device).manual_seed(self.step), self.step)

    def timed_step(self, images: list[Tensor]) -> float:
        """Take a step, and return its milliseconds, until the device has done all of it."""
        began = time.perf_counter()
        self.train(images)
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return 1000 * (time.perf_counter() - began)


def measure(config: TrainingConfig, steps: int) -> StepCost:
    """Return what a step costs; the parts are timed in turns, so that what else the machine does hits all alike."""
    bench = Bench(config)
    images = bench.augment(bench.sample())
    bench.train(images)
    terms = _terms(bench, images)
    times: dict[str, list[float]] = {"sampling": [], "augmentation": [], "step": [], "limit": [], "own_terms": []}
    for number in range(steps):
        frames = _timed(times["sampling"], bench.sample)
        images = _timed(times["augmentation"], bench.augment, frames)
        parts = ["step", "limit"]
        for part in parts if number % 2 else reversed(parts):  # what comes second finds its images in the caches
            with ExitStack() as stack:
                for name in TERMS if part == "limit" else ():
                    stack.enter_context(mock.patch.object(losses, name, _cheapest))
                _timed(times[part], bench.train, images)
        _timed(times["own_terms"], _evaluate, terms)
    middle = {name: median(values) for name, values in times.items()}
    wholes = map(sum, zip(times["sampling"], times["augmentation"], times["step"], strict=True))
    passes = 1 if config.method in {"source-only", "adabn", "adda"} else 2  # ADDA in its first stage
    return StepCost(
        whole=middle["sampling"] + middle["augmentation"] + middle["step"],
        of_the_limit=median(limit / whole for limit, whole in zip(times["limit"], wholes, strict=True)),
        images=passes * bench.batch_size,
        **middle,
    )


def _terms(bench: Bench, images: list[Tensor]) -> list[Callable[[], Tensor]]:
    """Return the terms that a step computes, each on tensors of its own."""
    terms: list[Callable[[], Tensor]] = []

    def noting(term: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def note(*tensors: Tensor, **named: Any) -> Tensor:
            own = [each.detach().requires_grad_(each.is_floating_point()) for each in tensors]
            terms.append(partial(term, *own, **named))
            return term(*tensors, **named)

        return note

    with ExitStack() as stack:
        for name in TERMS:
            stack.enter_context(mock.patch.object(losses, name, noting(getattr(losses, name))))
        bench.train(images)
    return terms


def _evaluate(terms: list[Callable[[], Tensor]]) -> None:
    for term in terms:
        term().backward()  # type: ignore[no-untyped-call]


def measure_games(config: TrainingConfig, steps: int) -> float:
    """Return how many times a single pass the alternating game takes."""
    games: tuple[Literal["one-pass", "alternating"], ...] = ("one-pass", "alternating")
    first, second = _in_turns([Bench(replace(config, game=game)) for game in games], steps)
    return median(second[1:]) / median(first[1:])


class Compilation(NamedTuple):
    """What compiling the encoder costs and gains.

    Attributes:
        first_step: seconds, with nothing of it compiled before.
        to_plain: a later step's time as a share of that of the encoder as it is.
    """

    first_step: float
    to_plain: float


def measure_compilation(config: TrainingConfig, steps: int) -> Compilation:
    """Return it for a method; what is compiled is thrown away."""
    benches = [Bench(config), Bench(config)]
    benches[1].method.run_encoder = Encoding(make_fabric("cpu"), benches[1].method, compiled=True)
    with TemporaryDirectory() as folder, mock.patch.dict(os.environ, TORCHINDUCTOR_CACHE_DIR=folder):
        plain, compiled = _in_turns(benches, steps)
    return Compilation(compiled[0] / 1000, median(compiled[1:]) / median(plain[1:]))


def _in_turns(benches: list[Bench], steps: int) -> list[list[float]]:
    """Return the times of a first step and of so many more, of each, on the same images."""
    images = benches[0].augment(benches[0].sample())
    times: list[list[float]] = [[] for _ in benches]
    for _ in range(steps + 1):
        for bench, measured in zip(benches, times, strict=True):
            _timed(measured, bench.train, images)
    return times


def _cheapest(*tensors: Tensor, **_: object) -> Tensor:
    """Stand in for a term: it reaches every tensor that the term reaches, at the least cost."""
    return torch.stack([tensor.mean() for tensor in tensors if tensor.is_floating_point()]).sum() * 1e-6


def _timed(
    times: list[float], work: Callable[Arguments, Result], *arguments: Arguments.args, **named: Arguments.kwargs
) -> Result:
    began = time.perf_counter()
    result = work(*arguments, **named)
    times.append(1000 * (time.perf_counter() - began))
    return result
