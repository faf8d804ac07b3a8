"""The frames that a benchmark runs: the bundle's reference frames, read without the library that wrote them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..bundle.directory import REFERENCE
from ..errors import BundleError
from ..phantom.frames import phantom_frames

if TYPE_CHECKING:
    from ..bundle.contract import InputSpec
    from ..bundle.directory import Bundle

_DOMAINS = ("target", "source")


@dataclass(frozen=True, slots=True)
class BenchmarkFrames:
    """Frames as the model takes them.

    Attributes:
        description: what they are.
        frames: uint8 [N, 1, H, W].
    """

    description: str
    frames: NDArray[np.uint8]


def benchmark_frames(bundle: Bundle) -> BenchmarkFrames:
    """Return the bundle's reference frames of both domains; stills of the phantom where it is without.

    Raises:
        BundleError: the reference frames are damaged or edited.
    """
    size = bundle.contract.input
    path = bundle.directory / REFERENCE
    if REFERENCE not in bundle.files or not path.exists():  # images may have had to stay where they were
        frames = phantom_frames(size)
        return BenchmarkFrames(f"{len(frames)} stills of the phantom, as the bundle holds no reference frames", frames)
    try:
        frames = parse_frames(bundle.read(REFERENCE), size)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as cause:
        raise BundleError(
            expected=f"reference frames of {size.height} × {size.width} pixels in {path}",
            received=f"something else ({cause})",
            remedy="make the bundle again with metfa-train",
        ) from None
    return BenchmarkFrames(f"{len(frames)} reference frames", frames)


def parse_frames(content: bytes, size: InputSpec) -> NDArray[np.uint8]:
    """Return the frames of both domains in a safetensors file, uint8 [N, 1, H, W].

    The file is the length of its header in 8 bytes, little-endian; the header, JSON with type, shape and place of each
    tensor; and the tensors (https://github.com/huggingface/safetensors#format).

    Raises:
        ValueError, KeyError, TypeError, AttributeError, RecursionError: it is none, or without such frames.
    """
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    parts = []
    for name in _DOMAINS:
        tensor = header[name]
        first, last = tensor["data_offsets"]
        if tensor["dtype"] != "U8" or not 0 <= first <= last <= len(content) - start:
            raise ValueError(f"{name} of type {tensor['dtype']} from byte {first} to {last}")
        values = np.frombuffer(content, np.uint8, last - first, start + first)
        parts.append(values.reshape(-1, 1, size.height, size.width))
    frames = np.concatenate(parts)
    if not len(frames):
        raise ValueError("no frames")
    return frames
