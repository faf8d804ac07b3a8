"""Tensors of a bundle as files: safetensors and strict JSON, never a pickle."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from metfa.runtime import records
from metfa.runtime.bundle import WEIGHTS
from metfa.runtime.errors import BundleError

from .model import Network, NetworkConfig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor

    from metfa.runtime.bundle import Bundle

NETWORK = "network.json"
"""The :class:`NetworkConfig` that rebuilds the network, beside its weights."""

REFERENCE = "reference.safetensors"
"""A few unlabelled target frames as the model sees them, uint8 ``frames`` [N, 1, H, W], to compare artefacts on."""

_REMEDY = "make the bundle again with metfa-train"


def save_network(network: Network, directory: Path) -> None:
    """Write the network's weights and configuration into ``directory``."""
    save_file(network.state_dict(), directory / WEIGHTS)
    (directory / NETWORK).write_text(records.to_json(network.config), encoding="utf-8")


def load_network(bundle: Bundle) -> Network:
    """Rebuild the trained network of a bundle, on the CPU, in evaluation mode.

    Raises:
        BundleError: the bundle holds no trained network, or its files are damaged.
    """
    path = bundle.path(NETWORK)
    config = records.from_json(NetworkConfig, path.read_bytes(), origin=str(path), remedy=_REMEDY, error=BundleError)
    network = Network(config)
    weights = read_tensors(bundle.path(WEIGHTS))
    try:
        network.load_state_dict(weights)
    except RuntimeError as cause:
        raise BundleError(
            expected=f"the weights of {path.name} in {bundle.directory / WEIGHTS}",
            received=str(cause).splitlines()[-1],
            remedy=_REMEDY,
        ) from None
    return network.eval()


def save_reference(frames: Tensor, directory: Path) -> None:
    """Write reference frames, uint8 [N, 1, H, W], into ``directory``."""
    save_file({"frames": frames.contiguous()}, directory / REFERENCE)


def load_reference(bundle: Bundle) -> Tensor:
    """Return the bundle's reference frames, uint8 [N, 1, H, W].

    Raises:
        BundleError: the bundle has none, or they are damaged.
    """
    return read_tensors(bundle.path(REFERENCE))["frames"]


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        BundleError: it is empty, truncated or no safetensors file.
    """
    with _reading(path):
        return load_file(path)


def read_metadata(path: Path) -> dict[str, str]:
    """Read the metadata of a safetensors file.

    Raises:
        BundleError: it is empty, truncated or no safetensors file.
    """
    with _reading(path), safe_open(path, "pt") as file:
        return file.metadata() or {}


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (SafetensorError, OSError) as cause:
        raise BundleError(
            expected=f"tensors in {path}", received=f"no safetensors file ({cause})", remedy=_REMEDY
        ) from None
