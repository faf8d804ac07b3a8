"""Which pictures a bundle was trained, validated and tested on, as digests of their pixels: no names of files."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from metfa.runtime.errors import BundleError

from .decoding import DIGEST_BYTES
from .listing import SPLITS

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from metfa.runtime.bundle.directory import Bundle

    from .prepared import PreparedDomain

SPLIT = "split.npy"
"""The file of a bundle that holds the record: an array of :data:`RECORD`."""

DOMAINS = ("source", "target")
RECORD = np.dtype([("digest", np.uint8, (DIGEST_BYTES,)), ("domain", np.uint8), ("split", np.uint8)])
"""A picture: its digest, and the indices of its domain in :data:`DOMAINS` and of its split in :data:`SPLITS`."""


def save_split(
    source: PreparedDomain | None,
    target: PreparedDomain,
    directory: Path,
    *,
    known: PreparedDomain | None = None,
    origin: Bundle | None = None,
) -> None:
    """Write which picture of a run's domains is for what.

    Args:
        source: divided; None where its images were not there.
        target: divided.
        directory: of the bundle.
        known: pictures of the target whose labels were learnt from.
        origin: the bundle that the run began with, whose pictures were trained on, too; one of published weights has no
            record of them.

    Raises:
        BundleError: that bundle's record is damaged.
    """
    records = [_record(domain, role) for domain, role in ((source, "source"), (target, "target")) if domain]
    if known:
        records.append(_record(known, "target"))
    if origin and SPLIT in origin.files:
        records.append(_load(origin))
    np.save(directory / SPLIT, np.concatenate(records), allow_pickle=False)


def _record(domain: PreparedDomain, role: str) -> NDArray[Any]:
    record = np.zeros(len(domain.labels), RECORD)
    record["digest"] = domain.pictures.digests
    record["domain"] = DOMAINS.index(role)
    record["split"] = [SPLITS.index(part) for part in domain.splits if part]
    return record


def seen_in_training(bundle: Bundle, domain: PreparedDomain) -> NDArray[np.bool_]:
    """Return which pictures of a domain the bundle was trained or validated on, bool [N].

    A picture is recognised by its pixels alone: a copy that was compressed or resized since is another picture. Where
    the bundle has no record, as one of published weights has none, it recognises nothing.

    Raises:
        BundleError: the record is damaged.
    """
    if SPLIT not in bundle.files:
        return np.zeros(len(domain.labels), np.bool_)
    record = _load(bundle)
    seen = {digest.tobytes() for digest in record["digest"][record["split"] != SPLITS.index("test")]}
    return np.array([digest.tobytes() in seen for digest in domain.pictures.digests], np.bool_)


def _load(bundle: Bundle) -> NDArray[Any]:
    content = bundle.read(SPLIT)
    try:
        return _parse(content)
    except Exception as cause:  # NumPy parses the header with Python's parser, which raises much
        raise BundleError(
            expected=f"the record of a split in {bundle.directory / SPLIT}",
            received=str(cause) or type(cause).__name__,
            remedy="make the bundle again with metfa-train",
        ) from None


def _parse(content: bytes) -> NDArray[Any]:
    """Return the records in an NPY file; no memory is taken for more than it holds.

    Raises:
        Exception: it is none, or one of something else.
    """
    file = io.BytesIO(content)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("another version of NPY")
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype != RECORD or len(shape) != 1:
        raise ValueError(f"an array of {dtype} and shape {shape}")
    held = content[file.tell() :]
    if len(held) != shape[0] * RECORD.itemsize:
        raise ValueError(f"{len(held)} bytes of data for {shape[0]} pictures")
    record = np.frombuffer(held, RECORD)
    if (record["domain"] >= len(DOMAINS)).any() or (record["split"] >= len(SPLITS)).any():
        raise ValueError("a domain or a split that there is not")
    return record
