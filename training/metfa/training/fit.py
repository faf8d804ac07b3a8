"""The training loop: sample, augment, one step of the method; resumable at any step."""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from metfa.runtime.bundle import records
from metfa.runtime.bundle.directory import CHECKPOINT
from metfa.runtime.errors import BundleError, CompilationError, DivergenceError
from metfa.runtime.files import replacing

from .config import TrainingConfig
from .data.sampling import BalancedSampler, PseudoBalancedSampler, ShuffledSampler
from .known_frames import KnownFrames
from .methods import Batch
from .metrics import append_metrics, keep_metrics_until
from .parallel import Encoding, any_process, compiling
from .progress import progress
from .views import make_views
from .weights import read_metadata, read_tensors, save_tensors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lightning_fabric import Fabric
    from numpy.typing import NDArray

    from metfa.runtime.command import Interruption

    from .curves.tensorboard import TensorBoard
    from .data.store import FrameStore
    from .methods import Method
    from .selection.candidates import Candidates
    from .selection.validators import Validators
    from .views import Views

CHECKPOINT_INTERVAL = 500
CHECKPOINT_SECONDS = 120.0
"""So much work, or so many steps, a crash or a power cut may cost."""

METRICS_INTERVAL = 10

MIN_RELABELLING_INTERVAL = 50
"""Steps for which pseudo-labels of the target's training frames are used at least; as many as a pass takes, if more."""

NO_FRAMES = np.empty(0, np.int64)

_PSEUDO_LABELS = "pseudo_labels"


class Trainer:
    """A method in training.

    Args:
        method: what to train, freshly initialised.
        source: labelled frames.
        target: frames; labelled only where the method's supervision names the target.
        directory: where checkpoint and metrics are kept, ``<bundle>/unfinished``.
        candidates: where networks are kept for selection.
        fabric: where to compute, launched; its first process keeps candidates, checkpoint and metrics.
        on_candidate: told the step and the validators of each candidate; what it raises ends the run.
        board: shows TensorBoard the steps and the candidates; None for nobody.
        known: frames of the target whose labels the method learns from, too; None for none.
        held_out: frames of the source that the method is not trained on, by which it may calibrate itself; None for
            none.
    """

    def __init__(
        self,
        method: Method,
        source: FrameStore,
        target: FrameStore,
        directory: Path,
        candidates: Candidates,
        fabric: Fabric,
        on_candidate: Callable[[int, Validators], None] = lambda step, validators: None,
        *,
        known: FrameStore | None = None,
        held_out: FrameStore | None = None,
        board: TensorBoard | None = None,
    ) -> None:
        self.step = 0
        self._saved_at = time.monotonic()
        self._config = config = method.config
        self._directory = directory
        self._fabric = fabric
        self._device = device = fabric.device
        self._method = method.to(device)
        if not config.freeze_encoder and (fabric.world_size > 1 or config.precision == "bf16" or config.compiled):
            method.run_encoder = Encoding(fabric, method, compiled=config.compiled)
        self._source, self._target = source, target

        def views(store: FrameStore) -> Views:
            return make_views(store.frames, method.network.normalise, config.augmentation, device)

        self._source_views, self._target_views = views(source), views(target)
        classes = method.network.config.classes
        images_per_class = config.images_of_each_class(classes)
        self._source_sampler = BalancedSampler(source.labels, images_per_class, config.seed)
        self._supervises_target = "target" in method.supervision
        self._target_sampler: BalancedSampler | PseudoBalancedSampler | ShuffledSampler = (
            BalancedSampler(target.labels, images_per_class, config.seed)
            if self._supervises_target
            else ShuffledSampler(len(target.frames), images_per_class * classes, config.seed)
        )
        self._batch_size = images_per_class * classes
        processes = fabric.world_size
        joining = min(self._batch_size, -(-len(known.labels) // processes) * processes) if known else 0
        self._known = KnownFrames(known, views(known), joining, config.seed) if known else None
        self._held_out = (views(held_out), held_out.labels) if held_out else None
        self._pseudo_labels: Tensor | None = None
        self._relabelling_interval = max(MIN_RELABELLING_INTERVAL, -(-len(target.frames) // self._batch_size))
        self._candidates = candidates
        self._candidate_steps = candidate_steps(config, method.target_from)
        self._on_candidate = on_candidate
        self._board = board
        self._pending: list[tuple[int, dict[str, Tensor]]] = []

    def run(self, interruption: Interruption) -> bool:
        """Train to the last step, or until interrupted; either way the state is on disk afterwards.

        Returns:
            Whether the last step was reached.

        Raises:
            DivergenceError: a term of the objective, or an output of the network, is no longer finite.
            CompilationError: the encoder cannot be compiled.
            TrainingError: a batch cannot be shared out.
            OutputError: checkpoint or metrics cannot be written.
        """
        with progress(
            self._config.method,
            total=self._config.steps,
            initial=self.step,
            unit="step",
            shown=self._fabric.is_global_zero,
        ) as bar:
            self._method.train()
            while self.step < self._config.steps and not any_process(self._fabric, interruption.requested):
                try:
                    self._train_step()
                except CompilationError:
                    if interruption.requested:  # Ctrl-C has reached the compiler, too; what is on disk is as before
                        return False
                    raise
                bar.update()
                if self.step % METRICS_INTERVAL == 0:
                    bar.set_postfix({name: f"{value:.3g}" for name, value in self._record().items()})
                if self.step in self._candidate_steps:
                    self._record()  # which refuses terms that are not finite
                    if self._fabric.is_global_zero:
                        self._keep()
                if self.step % CHECKPOINT_INTERVAL == 0 or time.monotonic() - self._saved_at > CHECKPOINT_SECONDS:
                    self._record()
                    self._save()
        self._record()
        self._save()
        return self.step == self._config.steps

    def _train_step(self) -> None:
        noise = torch.Generator(self._device).manual_seed(_seed(self._config.seed, self.step))
        if self._relabels_now():
            self._relabel()
        source = self._source_sampler.batch(self.step)
        target = self._target_sampler.batch(self.step) if self.step >= self._method.target_from else NO_FRAMES
        batch = Batch(
            self._source_views.augmented(source, noise),
            self._to_device(self._source.labels[source]),
            self._target_views.augmented(target, noise),
            self._to_device(self._target.labels[target]) if self._supervises_target else None,
            self._target_views.augmented(target, noise, strongly=True) if self._takes_two_views() else None,
            None if self._pseudo_labels is None else self._pseudo_labels[self._to_device(target)],
        )
        if self._known and len(target):
            batch = self._known.join(batch, self.step, noise)
        with compiling() if self._config.compiled else nullcontext():
            terms = self._method.step(batch, noise, self.step)
        self.step += 1
        self._pending.append((self.step, terms))

    def _keep(self) -> None:
        balanced_by = self._pseudo_labels if self._method.balances_target else None
        pseudo_labels = None if balanced_by is None else balanced_by.cpu().numpy()
        validators = self._candidates.add(self.step, self._method, pseudo_labels)
        if self._board:
            self._board.add_candidate(self.step, validators)
        self._on_candidate(self.step, validators)

    def _takes_two_views(self) -> bool:
        return self._method.two_views_from is not None and self.step >= self._method.two_views_from

    def _relabels_now(self) -> bool:
        begin = self._method.relabels_from
        return begin is not None and self.step >= begin and (self.step - begin) % self._relabelling_interval == 0

    @torch.no_grad()
    def _relabel(self) -> None:
        """Let the method label the target's training frames, as they are, and say first how far it may trust itself."""
        if self._held_out:
            views, labels = self._held_out
            self._method.calibrate(self._all(views, len(labels)), self._to_device(labels))
        count = len(self._target.frames)
        self._balance(self._method.relabel(self._all(self._target_views, count), count))

    def _all(self, views: Views, count: int) -> Iterator[Tensor]:
        """Yield all frames of a store batch by batch: their order is by digest, and so mixed."""
        processes = self._fabric.world_size
        rows = np.arange(-(-count // processes) * processes) % count  # the first once more, so that each can be shared
        parts = np.array_split(rows.reshape(-1, processes), max(1, count // self._batch_size))
        return (views.plain(part.ravel()) for part in parts)

    def _balance(self, pseudo_labels: Tensor) -> None:
        self._pseudo_labels = pseudo_labels
        if self._method.balances_target:
            self._target_sampler = PseudoBalancedSampler(
                pseudo_labels.cpu().numpy(), self._batch_size, self._config.seed
            )

    def _to_device(self, array: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(array).to(self._device)

    def _record(self) -> dict[str, float]:
        """Append the steps since the last record to the metrics; return the last step's terms.

        The terms stay on the device until here, so that a GPU does not wait for every step.
        """
        last: dict[str, float] = {}
        metrics: list[dict[str, float]] = []
        for step, terms in self._pending:
            last = dict(zip(terms, torch.stack(list(terms.values())).tolist(), strict=True))
            for name, value in last.items():
                if not math.isfinite(value):
                    raise DivergenceError(
                        expected="finite terms of the objective",
                        received=f"{name} = {value} at step {step}",
                        remedy="lower --learning-rate or the weight of that term, or raise --images-per-class",
                    )
            metrics.append({"step": step, **last})
        self._pending.clear()
        if not self._fabric.is_global_zero:
            return last
        append_metrics(self._directory, metrics)
        if self._board and metrics:
            self._board.add_steps(metrics)
        return last

    def _save(self) -> None:
        if not self._fabric.is_global_zero:
            return
        state = {f"method.{name}": tensor for name, tensor in self._method.state_dict().items()}
        for number, optimiser in enumerate(self._method.optimisers):
            for index, values in optimiser.state_dict()["state"].items():
                for name, value in values.items():
                    if value is not None:
                        state[f"optimiser.{number}.{index}.{name}"] = value
        if self._pseudo_labels is not None:
            state[_PSEUDO_LABELS] = self._pseudo_labels
        with replacing(self._directory / CHECKPOINT) as temporary:
            save_tensors(state, temporary, {"step": str(self.step), "config": records.to_json(self._config)})
        self._saved_at = time.monotonic()

    def restore(self) -> None:
        """Go back to the checkpoint in the directory; metrics of later steps are dropped.

        Raises:
            BundleError: the checkpoint is damaged or of another network.
        """
        path = self._directory / CHECKPOINT
        state = read_tensors(path)
        try:
            self._method.load_state_dict(
                {name.removeprefix("method."): tensor for name, tensor in state.items() if name.startswith("method.")}
            )
        except RuntimeError as cause:
            raise BundleError(
                expected=f"a checkpoint of this network in {path}",
                received=str(cause).splitlines()[-1],
                remedy=f"delete {self._directory} and train again",
            ) from None
        for number, optimiser in enumerate(self._method.optimisers):
            optimiser.load_state_dict({**optimiser.state_dict(), "state": _of_optimiser(number, state)})
        if _PSEUDO_LABELS in state:
            self._balance(state[_PSEUDO_LABELS].to(self._device))
        self.step = int(read_metadata(path)["step"])
        keep_metrics_until(self._directory, self.step)


def candidate_steps(config: TrainingConfig, begin: int = 0) -> frozenset[int]:
    """Return the steps after which a network is kept for selection: evenly spread, the last among them.

    Args:
        config: the run.
        begin: the first step that looks at the target; what was not adapted yet is no candidate.
    """
    begin = min(begin, config.steps - 1)
    steps, numbers = config.steps - begin, range(1, config.candidates + 1)
    return frozenset(begin + max(1, steps * number // config.candidates) for number in numbers)


def read_config(directory: Path) -> TrainingConfig:
    """Return the configuration of the unfinished run in ``directory``.

    Raises:
        BundleError: there is no checkpoint, or it is damaged.
    """
    path = directory / CHECKPOINT
    if not path.is_file():
        raise BundleError(
            expected=f"the checkpoint of an unfinished run in {directory}",
            received="none",
            remedy="leave out --resume to begin a run",
        )
    return records.from_json(
        TrainingConfig,
        read_metadata(path).get("config", ""),
        origin=str(path),
        remedy=f"delete {directory} and train again",
        error=BundleError,
    )


def _seed(seed: int, step: int) -> int:
    """Return 32 well mixed bits: all that torch's generator on the CPU takes."""
    return int(np.random.SeedSequence((seed, step)).generate_state(1)[0])


def _of_optimiser(number: int, state: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    """Return the entries of a checkpoint that belong to an optimiser, by parameter and name."""
    entries: dict[int, dict[str, Tensor]] = {}
    for key, tensor in state.items():
        kind, _, rest = key.partition(f".{number}.")
        if kind == "optimiser":
            index, _, name = rest.partition(".")
            entries.setdefault(int(index), {})[name] = tensor
    return entries
