"""An encoder whose weights stay: its features are computed once, and everything after it learns in seconds."""

from __future__ import annotations

import copy
import hashlib
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from .augment import augment
from .data.feature_cache import cached_features
from .data.store import Features, FrameStore
from .encoders import ENCODERS
from .progress import progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .config import Augmentation
    from .data.store import FrameSequence
    from .model import Network

COPIES = 4
"""Of each training frame: features of it as it is and of three augmented copies, and of four augmented strongly."""

BATCH = 32


def head_of(network: Network) -> Network:
    """Return ``network`` without the layers that are frozen: it takes their features in place of frames."""
    _, adapting = _divide(network)
    network.normalise = nn.Identity()
    network.encoder = nn.Sequential(OrderedDict(adapting))
    return network


class FrozenEncoder:
    """The layers of an encoder that stay as they are, in evaluation mode, and their features of frames.

    Args:
        network: whose encoder has its weights.
        augmentation: of training frames.
        device: where to compute.
    """

    def __init__(self, network: Network, augmentation: Augmentation, device: torch.device) -> None:
        self._network = network.eval().requires_grad_(False).to(device)
        fixed, _ = _divide(network)
        self._layers = nn.Sequential(OrderedDict(fixed))
        self._augmentation, self._device = augmentation, device

    def head(self) -> Network:
        """Return what is to be trained: a network that takes features."""
        return head_of(copy.deepcopy(self._network)).requires_grad_(True)

    def whole(self, head: Network) -> Network:
        """Return the network that takes frames and ends with ``head``, in evaluation mode."""
        whole = copy.deepcopy(self._network)
        whole.load_state_dict({**whole.state_dict(), **head.state_dict()})
        return whole.eval()

    def held_out(self, store: FrameStore) -> FrameStore:
        """Return the features of frames in their place; they are not augmented."""
        return FrameStore(Features(self._features(store.frames, copies=1)), store.labels)

    def training(self, store: FrameStore, *, strongly: bool) -> FrameStore:
        """Return the features of training frames and of their augmented copies in their place."""
        weak = self._features(store.frames, copies=COPIES)
        strong = self._features(store.frames, copies=COPIES, strongly=True) if strongly else None
        return FrameStore(Features(weak, strong), store.labels)

    def _features(self, frames: FrameSequence, *, copies: int, strongly: bool = False) -> NDArray[np.float32]:
        """Return float32 [N, copies, ...]; the first copy is the frame as it is unless all are changed ``strongly``."""
        key = self._key(frames, f"{copies} {self._augmentation if copies > 1 else None} {strongly}")
        return cached_features(key, len(frames), lambda: self._compute(frames, copies, strongly))

    @torch.inference_mode()
    def _compute(self, frames: FrameSequence, copies: int, strongly: bool) -> NDArray[np.float32]:
        of_copies = []
        with progress("Encoding frames", total=copies * len(frames), unit="frame", leave=False) as bar:
            for number in range(copies):
                noise = torch.Generator(self._device).manual_seed(number)
                parts = []
                for start in range(0, len(frames), BATCH):
                    part = torch.from_numpy(frames[start : start + BATCH].copy()).to(self._device)
                    parts.append(self._layers(self._view(part, number, strongly, noise)).float().cpu().numpy())
                    bar.update(len(part))
                of_copies.append(np.concatenate(parts))
        return np.stack(of_copies, axis=1)

    def _view(self, frames: Tensor, number: int, strongly: bool, noise: torch.Generator) -> Tensor:
        if number == 0 and not strongly:
            as_it_is: Tensor = self._network.normalise(frames)
            return as_it_is
        return augment(frames, self._network.normalise, self._augmentation, noise, strongly=strongly)

    def _key(self, frames: FrameSequence, made: str) -> str:
        """Return a hash of all that features depend on: frames, weights, how copies are made, and the code."""
        here = Path(__file__).parent
        hashed = hashlib.sha256(f"{made} {self._network.config.normalisation} {self._device.type}".encode())
        hashed.update(torch.__version__.encode())
        for path in (here / "augment.py", here / "frozen.py", here / "model.py", *sorted(here.glob("encoders/*.py"))):
            hashed.update(path.read_bytes())
        for name, tensor in self._layers.state_dict().items():
            hashed.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
        for start in range(0, len(frames), BATCH):
            hashed.update(frames[start : start + BATCH].tobytes())
        return hashed.hexdigest()[:32]


Layers = list[tuple[str, nn.Module]]


def _divide(network: Network) -> tuple[Layers, Layers]:
    """Return the layers of the encoder that stay, and those that still learn or have statistics of a domain."""
    layers = list(network.encoder.named_children())
    fixed = len(layers) - ENCODERS[network.config.encoder].adapting
    return layers[:fixed], layers[fixed:]
