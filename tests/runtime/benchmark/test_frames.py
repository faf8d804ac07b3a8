"""The frames of a benchmark: those of the bundle, read as the library that wrote them reads them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import save
from tests.runtime.conftest import make_contract

from metfa.runtime.benchmark.frames import benchmark_frames
from metfa.runtime.bundle.directory import REFERENCE, Bundle, updating
from metfa.runtime.errors import BundleError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SIZE = make_contract().input


def frames(count: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, 1, SIZE.height, SIZE.width), np.uint8)


def with_reference(bundle: Path, content: bytes) -> Bundle:
    with updating(bundle, keep=lambda _: True) as stage:
        (stage / REFERENCE).write_bytes(content)
    return Bundle.open(bundle)


def test_reference_frames_of_both_domains_are_read_as_they_were_written(bundle: Path) -> None:
    tensors: dict[str, NDArray[Any]] = {
        "target": frames(3),
        "source": frames(2, seed=1),
        "source_labels": np.zeros(2, np.int64),
        "calibration": frames(4, seed=2),
    }
    opened = with_reference(bundle, save(tensors, {"made by": "a test"}))
    read = benchmark_frames(opened)
    assert read.description == "5 reference frames"
    assert np.array_equal(read.frames, np.concatenate([tensors["target"], tensors["source"]]))


def test_a_bundle_without_them_is_run_on_the_phantom(bundle: Path) -> None:
    for opened in (Bundle.open(bundle), with_reference(bundle, save({"target": frames(1), "source": frames(1)}))):
        (bundle / REFERENCE).unlink(missing_ok=True)  # as where images may not leave
        read = benchmark_frames(opened)
        assert read.description == "21 stills of the phantom, as the bundle holds no reference frames"
        assert read.frames.dtype == np.uint8
        assert read.frames.shape == (21, 1, SIZE.height, SIZE.width)


def header(**changes: object) -> bytes:
    """Return a file of two frames whose header was changed."""
    size = SIZE.height * SIZE.width
    document: dict[str, Any] = {
        name: {"dtype": "U8", "shape": [1, 1, SIZE.height, SIZE.width], "data_offsets": [start, start + size]}
        for name, start in (("target", 0), ("source", size))
    }
    document["target"] |= changes
    text = json.dumps(document).encode()
    return len(text).to_bytes(8, "little") + text + bytes(2 * size)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 8 + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (2).to_bytes(8, "little") + b"{}",
        (1 << 16).to_bytes(8, "little") + b"[" * (1 << 16),
        (13).to_bytes(8, "little") + b'{"target": 1}',
        header()[:-1],
        header(dtype="I64"),
        header(data_offsets=[-1, 1279]),
        header(data_offsets=[0, 1 << 62]),
        header(data_offsets=[0, 100]),
        header(data_offsets=[1280, 0]),
        header(data_offsets=["0", "1280"]),
        header(data_offsets=None),
        save({"target": frames(0), "source": frames(0)}),
    ],
    ids=range(15),
)
def test_files_that_are_none_are_one_line(bundle: Path, content: bytes) -> None:
    with pytest.raises(BundleError, match=r"expected reference frames of 32 × 40 pixels in .*; make the bundle again"):
        benchmark_frames(with_reference(bundle, content))


def test_a_file_that_was_edited_is_refused_by_its_hash(bundle: Path) -> None:
    opened = with_reference(bundle, save({"target": frames(1), "source": frames(1)}))
    (bundle / REFERENCE).write_bytes(b"\0")
    with pytest.raises(BundleError, match="as it was written"):
        benchmark_frames(opened)
