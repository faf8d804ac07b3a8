"""Networks of one run that are kept for selection, each with what the validators say of it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from metfa.runtime.bundle import records
from metfa.runtime.errors import BundleError, DivergenceError
from metfa.runtime.files import replacing

from ..batch_norm import adopt_statistics
from ..data.drawn import DrawnEmbeddings
from ..data.store import FrameSequence, FrameStore
from ..evaluation.model import infer
from ..methods import Role
from ..model import Network, NetworkConfig, classifier_alone
from ..weights import read_metadata, read_tensors, save_tensors
from .validators import Validators, standard_error, validate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from ..methods import Method

_RECORD = "validators"


@dataclass(frozen=True, slots=True)
class Frames:
    """What candidates are given and validated on.

    Attributes:
        train: the frames of each domain that give batch-norm statistics.
        validation: held-out frames of each domain; of the target, labels are there only where the method may see them.
    """

    train: Mapping[Role, FrameSequence]
    validation: Mapping[Role, FrameStore]

    @property
    def draws_source(self) -> bool:
        """Whether embeddings stand for the source's frames."""
        return isinstance(self.train["source"], DrawnEmbeddings)


def network_for(method: Method, role: Role, frames: Frames, pseudo_labels: NDArray[np.int64] | None = None) -> Network:
    """Return a copy of the method's network for a domain, with that domain's batch-norm statistics.

    Where the source's embeddings are drawn, its network is the classifier alone.

    Args:
        method: whose network.
        role: the domain.
        frames: that give the statistics.
        pseudo_labels: of the target's training frames, int64 [N], where its batches were balanced by them.
    """
    network = copy.deepcopy(method.network_for(role))
    if role == "source" and frames.draws_source:
        network = classifier_alone(network)
    adopt_statistics(network, frames.train[role], pseudo_labels if role == "target" else None)
    return network


class Candidates:
    """The candidates of a run, one file each.

    Args:
        directory: where they are kept until one is chosen.
        frames: what they are validated on.
        build: makes a network that takes such frames.
    """

    def __init__(self, directory: Path, frames: Frames, build: Callable[[NetworkConfig], Network] = Network) -> None:
        self._directory = directory
        self._frames = frames
        self._build = build

    def add(self, step: int, method: Method, pseudo_labels: NDArray[np.int64] | None = None) -> Validators:
        """Keep the networks of ``method`` after ``step`` steps, and return what the validators say of them.

        Args:
            step: how many steps were taken.
            method: after them.
            pseudo_labels: of the target's training frames, int64 [N], where its batches are balanced by them.

        Raises:
            DivergenceError: the network's outputs are no longer finite.
            OutputError: the file cannot be written.
        """
        roles: tuple[Role, ...] = ("source", "target")
        networks = {role: network_for(method, role, self._frames, pseudo_labels) for role in roles}
        exported = networks[method.home]
        target = infer(exported, self._frames.validation["target"].frames)
        if not (np.isfinite(target.logits).all() and np.isfinite(target.embedding).all()):
            raise DivergenceError(
                expected="finite outputs of the network",
                received=f"NaN or infinity after step {step}",
                remedy="lower --learning-rate or the weights of the terms, or raise --images-per-class",
            )
        accuracy, error = self._accuracy(networks, method.supervision[-1])
        validators = validate(
            target.probabilities.astype(np.float64),
            target.embedding,
            supervised_accuracy=accuracy,
            accuracy_error=error,
        )
        with replacing(self._path(step)) as temporary:
            save_tensors(_together(exported, networks["source"]), temporary, {_RECORD: records.to_json(validators)})
        return validators

    def steps(self) -> list[int]:
        """Return the steps after which a candidate was kept, in order."""
        return sorted(int(path.stem) for path in self._directory.glob("*.safetensors"))

    def validators(self, step: int) -> Validators:
        """Return what the validators said of a candidate.

        Raises:
            BundleError: its file is damaged.
        """
        path = self._path(step)
        return records.from_json(
            Validators,
            read_metadata(path).get(_RECORD, ""),
            origin=str(path),
            remedy=f"delete {self._directory.parent} and train again",
            error=BundleError,
        )

    def networks(self, step: int, config: NetworkConfig) -> tuple[Network, Network]:
        """Return the network to export and the one that is scored on the source, both in evaluation mode.

        Raises:
            BundleError: the candidate's file is damaged.
        """
        tensors = read_tensors(self._path(step))
        exported = {name.removeprefix("exported."): t for name, t in tensors.items() if name.startswith("exported.")}
        source = {name.removeprefix("source."): t for name, t in tensors.items() if name.startswith("source.")}
        of_source = self._load(config, {**exported, **source})
        return self._load(config, exported), classifier_alone(of_source) if self._frames.draws_source else of_source

    def _load(self, config: NetworkConfig, tensors: dict[str, Tensor]) -> Network:
        network = self._build(config)
        network.load_state_dict(tensors)
        return network.eval()

    def _path(self, step: int) -> Path:
        return self._directory / f"{step:08}.safetensors"

    def _accuracy(self, networks: dict[Role, Network], role: Role) -> tuple[float, float]:
        """Return the accuracy on labelled frames, and its standard error."""
        store = self._frames.validation[role]
        accuracy = float((infer(networks[role], store.frames).probabilities.argmax(axis=1) == store.labels).mean())
        return accuracy, standard_error(accuracy, len(store.labels))


def _together(exported: Network, source: Network) -> dict[str, Tensor]:
    """Return the tensors of both networks; of the source's, those that differ."""
    held = exported.state_dict()
    tensors = {f"exported.{name}": tensor for name, tensor in held.items()}
    for name, tensor in source.state_dict().items():
        if not torch.equal(tensor, held[name]):
            tensors[f"source.{name}"] = tensor
    return tensors
