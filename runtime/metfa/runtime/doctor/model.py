"""What a bundle holds, and which backend runs it here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..backends.choice import load_backend
from ..bundle.directory import Bundle

if TYPE_CHECKING:
    from pathlib import Path

    from .looks import Row


def rows(directory: Path) -> list[Row]:
    """Return what the bundle in ``directory`` holds, which backend runs it, and why no faster one does.

    Neither its place nor its labels are told: they may name patients or hospitals.

    Raises:
        MetfaError: it is no whole bundle, was not exported, or nothing runs it here.
    """
    bundle = Bundle.open(directory)
    bundle.require_exported()
    artefacts = [*bundle.matching("*.onnx"), *bundle.matching("*.engine")]
    for name in artefacts:
        bundle.read(name)  # refuses what was changed
    backend, refusals = load_backend(bundle)
    size = bundle.contract.input
    return [
        ("bundle", f"{bundle.digest}, of {bundle.contract.provenance.software}"),
        ("model", f"{size.width}x{size.height} pixels, {len(bundle.contract.labels)} classes"),
        ("artefacts", ", ".join(artefacts)),
        ("runs on", backend.description),
        *(("", refusal.replace(str(directory), "DIR")) for refusal in refusals),
    ]
