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

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .config import Augmentation
    from .data.store import FrameSequence
    from .model import Network

COPIES = 4
"""Of each training frame: features of it as it is and of three augmented copies, and of four augmented strongly."""


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
        shape = self._encode(torch.from_numpy(frames[:1]), copies, strongly, seed=0).shape

        def compute(frame: NDArray[np.uint8], digest: bytes) -> NDArray[np.float32]:
            seed = int.from_bytes(digest[:4], "little")  # all that torch's generator on the CPU takes
            return self._encode(torch.from_numpy(frame[np.newaxis]), copies, strongly, seed)

        return cached_features(self._key(copies, strongly), frames, shape, compute)

    @torch.inference_mode()
    def _encode(self, frame: Tensor, copies: int, strongly: bool, seed: int) -> NDArray[np.float32]:
        """Return the features of a frame, a pure function of it: no other frame is in its batch."""
        frame = frame.to(self._device)
        images = self._network.normalise(frame)
        if copies > 1:
            noise = torch.Generator(self._device).manual_seed(seed)
            repeated = frame.expand(copies, -1, -1, -1)
            augmented = augment(repeated, self._network.normalise, self._augmentation, noise, strongly=strongly)
            images = augmented if strongly else torch.cat([images, augmented[1:]])
        features: Tensor = self._layers(images)
        return features.float().cpu().numpy()

    def _key(self, copies: int, strongly: bool) -> str:
        """Return a hash of what features depend on beside the frame: weights, how copies are made, and the code."""
        here = Path(__file__).parent
        made = (copies, strongly, self._augmentation if copies > 1 else None, self._network.config.normalisation)
        hashed = hashlib.sha256(f"{made} {self._device.type} {torch.__version__}".encode())
        for path in (here / "augment.py", here / "frozen.py", here / "model.py", *sorted(here.glob("encoders/*.py"))):
            hashed.update(path.read_bytes())
        for name, tensor in self._layers.state_dict().items():
            hashed.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
        return hashed.hexdigest()[:32]


Layers = list[tuple[str, nn.Module]]


def _divide(network: Network) -> tuple[Layers, Layers]:
    """Return the layers of the encoder that stay, and those that still learn or have statistics of a domain."""
    layers = list(network.encoder.named_children())
    fixed = len(layers) - ENCODERS[network.config.encoder].adapting
    return layers[:fixed], layers[fixed:]
