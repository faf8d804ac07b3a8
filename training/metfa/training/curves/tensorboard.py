"""What TensorBoard shows of a run, while it goes on and afterwards. No label of the target is in it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..data.drawn import DrawnEmbeddings
from ..data.store import FrameStore, spread
from ..evaluation.model import infer
from .event_files import EventFiles
from .mistakes import draw_mistakes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from metfa.runtime.backends import Inference

    from ..data.pair import DomainPair
    from ..methods import Method, Role
    from ..selection.candidates import Candidates
    from ..selection.validators import Validators

MAX_EMBEDDINGS = 1000
"""Validation frames of each domain whose embeddings are shown."""


class TensorBoard:
    """Writes the curves of a run, the source's frames that candidates label wrongly, and embeddings of the last one.

    Frames and their embeddings are left out of a run that keeps no frames.

    Args:
        directory: where event files go.
        method: in training.
        candidates: of the run.
        pair: its domains.
        validation: held-out frames of both as the candidates take them; of the target, no label is looked at.

    Raises:
        OutputError: from every method: a file cannot be written.
    """

    def __init__(
        self,
        directory: Path,
        method: Method,
        candidates: Candidates,
        pair: DomainPair,
        validation: Mapping[Role, FrameStore],
    ) -> None:
        self._files = EventFiles(directory)
        self._method, self._candidates, self._validation = method, candidates, validation
        self._labels = pair.labels
        self._source = pair.frames("source", "val")

    def add_steps(self, metrics: Sequence[Mapping[str, float]]) -> None:
        """Add the terms of some steps, each with its number as ``step``, and the learning rate of the last."""
        points = {
            int(each["step"]): {f"loss/{name}": value for name, value in each.items() if name != "step"}
            for each in metrics
        }
        points[max(points)].update(self._learning_rates())
        self._files.add_scalars(points)

    def add_candidate(self, step: int, validators: Validators) -> None:
        """Add what the validators say of a candidate, and what it makes of validation frames."""
        self._files.add_scalars({step: {f"validators/{name}": value for name, value in asdict(validators).items()}})
        if self._method.config.keep_frames:
            with torch.random.fork_rng(devices=[]):  # a network that is built draws its first weights
                self._show_frames(step)

    def _learning_rates(self) -> dict[str, float]:
        optimisers = self._method.optimisers
        names = ["learning rate"] if len(optimisers) == 1 else [f"learning rate/{n}" for n in range(len(optimisers))]
        return {name: each.param_groups[0]["lr"] for name, each in zip(names, optimisers, strict=True)}

    def _show_frames(self, step: int) -> None:
        device = next(self._method.parameters()).device
        exported, source = self._candidates.networks(step, self._method.network.config)
        said: dict[Role, Inference] = {"target": infer(exported.to(device), self._validation["target"].frames)}
        if not isinstance(self._source.frames, DrawnEmbeddings):
            said["source"] = infer(source.to(device), self._validation["source"].frames)
            sheet = draw_mistakes(self._source, self._labels, said["source"])
            self._files.add_picture(step, "misclassified validation frames of the source", sheet)
        self._write_embeddings(said)

    def _write_embeddings(self, said: Mapping[Role, Inference]) -> None:
        embeddings: list[NDArray[np.float32]] = []
        metadata: dict[str, list[str]] = {"domain": [], "class": [], "predicted": []}
        for domain, of_domain in said.items():
            rows = spread(len(of_domain.embedding), MAX_EMBEDDINGS)
            embeddings.append(of_domain.embedding[rows])
            metadata["domain"] += [domain] * len(rows)
            metadata["class"] += (
                [self._labels[label] for label in self._source.labels[rows]]
                if domain == "source"
                else ["unlabelled"] * len(rows)
            )
            metadata["predicted"] += [self._labels[label] for label in of_domain.logits[rows].argmax(axis=1)]
        self._files.write_embeddings(np.concatenate(embeddings), metadata)
