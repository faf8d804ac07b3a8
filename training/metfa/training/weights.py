"""Tensors of a bundle as files: safetensors and strict JSON, never a pickle."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, load_file, save
from torch import Tensor

from metfa.runtime.bundle import records
from metfa.runtime.bundle.directory import REFERENCE, WEIGHTS
from metfa.runtime.errors import BundleError

from .model import Network, NetworkConfig

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from metfa.runtime.bundle.directory import Bundle

NETWORK = "network.json"
"""The :class:`NetworkConfig` that rebuilds the network, beside its weights."""

_REMEDY = "make the bundle again with metfa-train"


@dataclass(frozen=True, slots=True)
class Reference:
    """Frames as the model sees them, uint8 [N, 1, H, W] each, that exports are compared and calibrated on.

    Attributes:
        target: unlabelled held-out frames of the target.
        source: validation frames of the source.
        source_labels: int64 [N], the index of the class of each of these.
        calibration: unlabelled training frames of the target, for the ranges of an INT8 model; none of ``target``.
    """

    target: Tensor
    source: Tensor
    source_labels: Tensor
    calibration: Tensor


def save_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write tensors as safetensors; a full disk is an ``OSError`` here, as of any file, not one of that library."""
    path.write_bytes(save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata))


def save_network(network: Network, directory: Path) -> None:
    """Write the network's weights and configuration into ``directory``."""
    save_tensors(network.state_dict(), directory / WEIGHTS)
    (directory / NETWORK).write_text(records.to_json(network.config), encoding="utf-8", newline="\n")


def load_network(bundle: Bundle) -> Network:
    """Rebuild the trained network of a bundle, on the CPU, in evaluation mode.

    Raises:
        BundleError: the bundle holds no trained network, or its files are damaged.
    """
    path = bundle.directory / NETWORK
    config = records.from_json(NetworkConfig, bundle.read(NETWORK), origin=str(path), remedy=_REMEDY, error=BundleError)
    contract = bundle.contract
    described = (contract.input.height, contract.input.width, len(contract.labels), contract.embedding)
    if (config.height, config.width, config.classes, config.embedding) != described:
        raise BundleError(
            expected=f"the sizes of the contract in {path}: height, width, classes and embedding {described}",
            received=f"{(config.height, config.width, config.classes, config.embedding)}",
            remedy=_REMEDY,
        )
    weights = parse_tensors(bundle.read(WEIGHTS), bundle.directory / WEIGHTS)
    with torch.device("meta"):  # no memory is taken before the file's sizes are known to be these
        network = Network(config)
    try:
        network.load_state_dict(weights, assign=True)
    except RuntimeError as cause:
        raise BundleError(
            expected=f"the weights of {path.name} in {bundle.directory / WEIGHTS}",
            received=str(cause).splitlines()[-1],
            remedy=_REMEDY,
        ) from None
    return network.float().eval()


def save_reference(reference: Reference, directory: Path) -> None:
    """Write reference frames into ``directory``."""
    save_tensors(asdict(reference), directory / REFERENCE)


def load_reference(bundle: Bundle) -> Reference:
    """Return the bundle's reference frames.

    Raises:
        BundleError: the bundle has none, they are damaged, or of another version of metfa.
    """
    path = bundle.directory / REFERENCE
    tensors = parse_tensors(bundle.read(REFERENCE), path)
    names = [field.name for field in fields(Reference)]
    if sorted(tensors) != sorted(names):
        raise BundleError(
            expected=f"the tensors {', '.join(names)} in {path}", received=", ".join(sorted(tensors)), remedy=_REMEDY
        )
    size = bundle.contract.input
    labels = tensors["source_labels"]
    for name, tensor in tensors.items():
        expected = (torch.int64, 1) if name == "source_labels" else (torch.uint8, 4)
        if (tensor.dtype, tensor.ndim) != expected or (
            tensor.ndim == 4 and tuple(tensor.shape[1:]) != (1, size.height, size.width)
        ):
            raise BundleError(
                expected=f"frames of the contract's size and their labels in {path}",
                received=f"{name} of type {tensor.dtype} and shape {list(tensor.shape)}",
                remedy=_REMEDY,
            )
    if len(labels) != len(tensors["source"]) or not ((labels >= 0) & (labels < len(bundle.contract.labels))).all():
        raise BundleError(expected=f"the class of each source frame in {path}", received="other labels", remedy=_REMEDY)
    return Reference(**tensors)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        BundleError: it is empty, truncated or no safetensors file.
    """
    with _reading(path):
        return load_file(path)


def parse_tensors(content: bytes, origin: Path) -> dict[str, Tensor]:
    """Return what a safetensors file holds, whose bytes were read from ``origin``.

    Raises:
        BundleError: it is empty, truncated or no safetensors file.
    """
    with _reading(origin):
        return load(content)


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
