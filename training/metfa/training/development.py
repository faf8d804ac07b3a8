"""One run up to the choice of its candidate: all that decides the model, and no frame of a test split."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from metfa.runtime.bundle.contract import Normalisation
from metfa.runtime.command import Interruption
from metfa.runtime.files import writing_to

from .calibration import background_of
from .data.drawn import DrawnEmbeddings
from .data.store import UNLABELLED, FrameStore
from .fit import Trainer
from .frozen import FrozenEncoder, head_of
from .inheritance import inherit_network
from .initial_weights import load_initial
from .memory import keep_freed_memory
from .methods import Method, build_method
from .model import Network, NetworkConfig
from .origin import open_origin
from .selection.candidates import Candidates, Frames
from .selection.rule import choose
from .selection.validators import Validators
from .threads import choose_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from lightning_fabric import Fabric

    from .config import TrainingConfig
    from .curves.tensorboard import TensorBoard
    from .data.listing import Split
    from .data.pair import DomainPair
    from .methods import Role

CANDIDATES = "candidates"
NORMALISATION = Normalisation(kind="per-image", scale=1.0, mean=None)
"""Standardised per image, as the gain of two scanners is never the same."""

ROLES: tuple[Role, ...] = ("source", "target")


@dataclass(frozen=True, slots=True)
class Development:
    """What a run comes to before it is reported on.

    Attributes:
        method: as trained to the last step.
        candidates: the networks that were kept.
        steps: after which each was kept.
        validators: what each was judged by.
        selected: the index of the one that becomes the model.
        frozen: the encoder that is not trained, whose features candidates take in place of frames; or None.
    """

    method: Method
    candidates: Candidates
    steps: tuple[int, ...]
    validators: tuple[Validators, ...]
    selected: int
    frozen: FrozenEncoder | None

    def seen(self, store: FrameStore) -> FrameStore:
        """Return held-out frames as the candidates take them."""
        return self.frozen.held_out(store) if self.frozen and not _is_drawn(store) else store

    def trained_on(self, store: FrameStore) -> FrameStore:
        """Return training frames as the candidates take them; a frozen encoder knows their features already."""
        return self.frozen.training(store, strongly=False) if self.frozen and not _is_drawn(store) else store

    def whole(self, network: Network) -> Network:
        """Return a candidate's network as one that takes frames."""
        return self.frozen.whole(network) if self.frozen else network


def develop(
    config: TrainingConfig,
    pair: DomainPair,
    directory: Path,
    fabric: Fabric,
    *,
    resume: bool = False,
    on_candidate: Callable[[int, Validators], None] = lambda step, validators: None,
    events: Path | None = None,
) -> Development | None:
    """Train, and choose a candidate; Ctrl-C and SIGTERM end it with its state saved. For the main thread.

    Args:
        config: the run.
        pair: its domains.
        directory: where checkpoint, metrics and candidates are kept.
        fabric: where to compute, launched.
        resume: go on with the unfinished run in the directory.
        on_candidate: told the step and the validators of each candidate; what it raises ends the run.
        events: where event files for TensorBoard go; None for none.

    Returns:
        What became of it, or None where it was interrupted, and in all processes but the first.

    Raises:
        DataError, SourceError: frames cannot be read, or do not suffice for the method.
        BundleError: the directory holds a damaged checkpoint.
        DivergenceError: the objective is no longer finite.
        OutputError: the directory cannot be written.
    """
    if config.threads is None:
        config = replace(config, threads=choose_threads(config, len(pair.labels), fabric))
    assert config.threads is not None
    torch.set_num_threads(config.threads)
    keep_freed_memory()
    network = _initial_network(config, len(pair.labels))
    frozen = FrozenEncoder(network, config.augmentation, fabric.device) if config.freeze_encoder else None
    method = _make_method(config, pair, frozen.head() if frozen else network)
    with fabric.rank_zero_first():  # which fills the cache of features, where the encoder is frozen
        training, validation = (
            {role: _supervision(pair, role, split, method, frozen) for role in ROLES} for split in ("train", "val")
        )
        known = _known(pair, method, frozen)
    frames = Frames(train={role: store.frames for role, store in training.items()}, validation=validation)
    candidates = _make_candidates(directory / CANDIDATES, frames, frozen)
    trainer = Trainer(
        method,
        training["source"],
        training["target"],
        directory,
        candidates,
        fabric,
        on_candidate,
        known=known,
        held_out=None if config.origin else validation["source"],
        board=_board(events, method, candidates, pair, validation),
    )
    if resume:
        trainer.restore()
    with Interruption() as interruption:
        if not trainer.run(interruption) or not fabric.is_global_zero:
            return None

    steps = tuple(candidates.steps())
    validators = tuple(candidates.validators(step) for step in steps)
    by_validators = config.selection == "validators"
    selected = choose(validators, adapts=adapts(method)) if by_validators else len(steps) - 1
    return Development(method, candidates, steps, validators, selected, frozen)


def adapts(method: Method | type[Method]) -> bool:
    """Return whether a method learns from unlabelled target frames."""
    return method.home == "target" and "target" not in method.supervision


def _make_method(config: TrainingConfig, pair: DomainPair, network: Network) -> Method:
    method = build_method(config, network)
    method.background = background_of(pair.labels)
    if "target" in method.supervision:
        pair.require_target_labels()
    return method


def _known(pair: DomainPair, method: Method, frozen: FrozenEncoder | None) -> FrameStore | None:
    """Return frames of the target whose labels are learnt from, as the method takes them; None for none."""
    known = pair.known()
    return frozen.training(known, strongly=method.two_views_from is not None) if frozen and known else known


def _make_candidates(directory: Path, frames: Frames, frozen: FrozenEncoder | None) -> Candidates:
    with writing_to(directory):
        directory.mkdir(parents=True, exist_ok=True)
    return Candidates(directory, frames, build=(lambda config: head_of(Network(config))) if frozen else Network)


def _board(
    events: Path | None,
    method: Method,
    candidates: Candidates,
    pair: DomainPair,
    validation: Mapping[Role, FrameStore],
) -> TensorBoard | None:
    if events is None:
        return None
    from .curves.tensorboard import TensorBoard

    return TensorBoard(events, method, candidates, pair, validation)


def _supervision(
    pair: DomainPair, role: Role, split: Split, method: Method, frozen: FrozenEncoder | None
) -> FrameStore:
    """Return frames for training or selection, with labels only where the method may see them."""
    store = pair.frames(role, split)
    if role not in method.supervision and role != "source":
        store = FrameStore(store.frames, np.full_like(store.labels, UNLABELLED))
    if not frozen or _is_drawn(store):
        return store
    if split == "train":
        return frozen.training(store, strongly=method.two_views_from is not None and role == "target")
    return frozen.held_out(store)


def _is_drawn(store: FrameStore) -> bool:
    return isinstance(store.frames, DrawnEmbeddings)


def _initial_network(config: TrainingConfig, classes: int) -> Network:
    torch.manual_seed(config.seed)
    network = Network(
        NetworkConfig(
            height=config.height,
            width=config.width,
            classes=classes,
            encoder=config.encoder,
            embedding=config.embedding,
            temperature=config.prototype_temperature,
            normalisation=NORMALISATION,
        )
    )
    if config.origin:
        network.load_state_dict(inherit_network(open_origin(config.origin), network.config).state_dict())
    elif config.initial_weights:
        load_initial(network.encoder, config.initial_weights)
    return network
