"""The training loop: sample, augment, one forward and backward pass, one step of SGD; resumable at any step."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from metfa.runtime import records
from metfa.runtime.errors import BundleError, TrainingError
from metfa.runtime.files import replacing, write_text, writing_to

from .config import TrainingConfig
from .data.sampling import BalancedSampler, ShuffledSampler
from .methods import Batch, build_method, term_weights
from .weights import read_metadata, read_tensors

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from metfa.runtime.command import Interruption

    from .data.store import FrameStore
    from .model import Network

UNFINISHED = "unfinished"
"""The directory inside a bundle that holds a run until it is finished."""

CHECKPOINT = "checkpoint.safetensors"
METRICS = "metrics.jsonl"
CHECKPOINT_INTERVAL = 500
METRICS_INTERVAL = 10


class Trainer:
    """A network in training.

    Args:
        network: what to train, freshly initialised.
        config: how.
        source: labelled frames.
        target: frames; their labels are not looked at.
        directory: where checkpoint and metrics are kept, ``<bundle>/unfinished``.
        device: where to compute.
    """

    def __init__(
        self,
        network: Network,
        config: TrainingConfig,
        source: FrameStore,
        target: NDArray[np.uint8],
        directory: Path,
        device: torch.device,
    ) -> None:
        self.step = 0
        self.network = network
        self._config = config
        self._directory = directory
        self._device = device
        self._method = build_method(config, network).to(device)
        self._optimiser = torch.optim.SGD(
            self._method.parameters(),
            lr=config.learning_rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
        )
        self._source, self._labels, self._target = source.frames, source.labels, target
        batch_size = config.images_per_class * network.config.classes
        self._source_sampler = BalancedSampler(source.labels, config.images_per_class, config.seed)
        self._target_sampler = ShuffledSampler(len(target), batch_size, config.seed)
        self._pending: list[tuple[int, dict[str, Tensor]]] = []

    def run(self, interruption: Interruption) -> bool:
        """Train to the last step, or until interrupted; either way the state is on disk afterwards.

        Returns:
            Whether the last step was reached.

        Raises:
            TrainingError: a term of the objective is no longer finite.
            OutputError: checkpoint or metrics cannot be written.
        """
        self._method.train()
        with tqdm(
            total=self._config.steps, initial=self.step, desc=self._config.method, unit="step", disable=None
        ) as bar:
            while self.step < self._config.steps and not interruption.requested:
                self._train_step()
                bar.update()
                if self.step % METRICS_INTERVAL == 0:
                    bar.set_postfix({name: f"{value:.3g}" for name, value in self._record().items()})
                if self.step % CHECKPOINT_INTERVAL == 0:
                    self._save()
        self._record()
        self._save()
        return self.step == self._config.steps

    def _train_step(self) -> None:
        noise = torch.Generator(self._device).manual_seed(_seed(self._config.seed, self.step))
        source = self._source_sampler.batch(self.step)
        target = self._target_sampler.batch(self.step)
        batch = Batch(
            self._augment(self._source[source], noise),
            torch.from_numpy(self._labels[source]).to(self._device),
            self._augment(self._target[target], noise),
        )
        terms = self._method(batch, noise)
        weights = term_weights(self._config, self.step / self._config.steps)
        objective = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
        for group in self._optimiser.param_groups:
            group["lr"] = learning_rate(self._config, self.step)
        self._optimiser.zero_grad()
        objective.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        self.step += 1
        self._pending.append((self.step, {name: term.detach() for name, term in terms.items()}))

    def _augment(self, frames: NDArray[np.uint8], noise: torch.Generator) -> Tensor:
        """uint8 [N, 1, H, W] → normalised, noisy and randomly mirrored, on the device."""
        images: Tensor = self.network.normalise(torch.from_numpy(frames).to(self._device))
        if self._config.noise:
            images = images + self._config.noise * torch.randn(images.shape, generator=noise, device=self._device)
        if self._config.flip:
            mirrored = torch.rand(len(images), 1, 1, 1, generator=noise, device=self._device) < 0.5
            images = torch.where(mirrored, images.flip(3), images)
        return images

    def _record(self) -> dict[str, float]:
        """Append the steps since the last record to the metrics; return the last step's terms.

        The terms stay on the device until here, so that a GPU does not wait for every step.
        """
        last: dict[str, float] = {}
        lines = []
        for step, terms in self._pending:
            last = dict(zip(terms, torch.stack(list(terms.values())).tolist(), strict=True))
            for name, value in last.items():
                if not math.isfinite(value):
                    raise TrainingError(
                        expected="finite terms of the objective",
                        received=f"{name} = {value} at step {step}",
                        remedy="lower --learning-rate or the weight of that term, then train again",
                    )
            lines.append(json.dumps({"step": step, **last}) + "\n")
        self._pending.clear()
        path = self._directory / METRICS
        with writing_to(path), path.open("a", encoding="utf-8") as file:
            file.writelines(lines)
        return last

    def _save(self) -> None:
        state = {f"method.{name}": tensor for name, tensor in self._method.state_dict().items()}
        for name, parameter in self._method.named_parameters():
            momentum = self._optimiser.state[parameter].get("momentum_buffer")
            if momentum is not None:
                state[f"momentum.{name}"] = momentum
        with replacing(self._directory / CHECKPOINT) as temporary:
            save_file(state, temporary, {"step": str(self.step), "config": records.to_json(self._config)})

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
        for name, parameter in self._method.named_parameters():
            if f"momentum.{name}" in state:
                momentum = state[f"momentum.{name}"].to(self._device)
                self._optimiser.state[parameter]["momentum_buffer"] = momentum
        self.step = int(read_metadata(path)["step"])
        metrics = self._directory / METRICS
        lines = metrics.read_text(encoding="utf-8").splitlines(keepends=True) if metrics.exists() else []
        whole = (line for line in lines if line.endswith("\n"))  # the last may have been cut off
        write_text(metrics, "".join(line for line in whole if json.loads(line)["step"] <= self.step))


def learning_rate(config: TrainingConfig, step: int) -> float:
    """Return the learning rate of a step: a cosine from ``config.learning_rate`` to zero over the run."""
    return config.learning_rate * (1 + math.cos(math.pi * step / config.steps)) / 2


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
