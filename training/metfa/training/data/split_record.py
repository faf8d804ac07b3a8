"""Which pictures a bundle was trained, validated and tested on, as digests of their pixels: no names of files."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from metfa.runtime.errors import BundleError

from ..origin import open_origin
from .decoding import DIGEST_BYTES
from .listing import SPLITS
from .prepared import PreparedDomain

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from metfa.runtime.bundle.directory import Bundle

    from .pair import DomainPair

SPLIT = "split.npy"
"""The file of a bundle that holds the record: an array of :data:`RECORD`."""

DOMAINS = ("source", "target")
RECORD = np.dtype([("digest", np.uint8, (DIGEST_BYTES,)), ("domain", np.uint8), ("split", np.uint8)])
"""A picture: its digest, and the indices of its domain in :data:`DOMAINS` and of its split in :data:`SPLITS`."""


def save_split(pair: DomainPair, directory: Path) -> None:
    """Write which picture of a run's domains is for what, and what the bundle was trained on that the run began with.

    Raises:
        BundleError: that bundle's record is damaged.
    """
    records = []
    for number, domain in enumerate((pair.source, pair.target)):
        if isinstance(domain, PreparedDomain):
            record = np.zeros(len(domain.labels), RECORD)
            record["digest"] = domain.pictures.digests
            record["domain"] = number
            record["split"] = [SPLITS.index(part) for part in domain.splits if part]
            records.append(record)
    if pair.labelled:
        record = np.zeros(len(pair.labelled.labels), RECORD)
        record["digest"] = pair.labelled.pictures.digests
        record["domain"], record["split"] = DOMAINS.index("target"), SPLITS.index("train")
        records.append(record)
    if pair.config.origin:
        records.append(_load(open_origin(pair.config.origin)))
    np.save(directory / SPLIT, np.concatenate(records), allow_pickle=False)


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
