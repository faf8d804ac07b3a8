"""The bundle that a run begins with where the source's images are not there: its network and what it knows of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metfa.runtime.bundle import records
from metfa.runtime.bundle.directory import WEIGHTS, Bundle
from metfa.runtime.bundle.location import find_bundle
from metfa.runtime.errors import BundleError, TrainingError

from .ancestry import Ancestor, Origin
from .config import CONFIG, TrainingConfig
from .names import SONONET

if TYPE_CHECKING:
    from metfa.runtime.bundle.contract import ModelContract


def identify_origin(path: str) -> tuple[Origin, TrainingConfig]:
    """Return what a bundle is, and the configuration that it was trained by; its tensors are not read.

    Raises:
        BundleError: there is no bundle, it is damaged, or holds no network that metfa trained.
        ContractError: its contract is of another version or invalid.
    """
    bundle = _open(path, "name another with --from")
    if bundle.contract.provenance.method == SONONET:
        return _origin(path, bundle, ()), _of_published(bundle.contract)
    remedy = "name a bundle that metfa-train of this version wrote"
    config = records.from_json(
        TrainingConfig, bundle.read(CONFIG), origin=str(bundle.directory / CONFIG), remedy=remedy, error=BundleError
    )
    return _origin(path, bundle, config.origin.chain if config.origin else ()), config


def _origin(path: str, bundle: Bundle, before: tuple[Ancestor, ...]) -> Origin:
    provenance = bundle.contract.provenance
    this = Ancestor(provenance.method, provenance.source, provenance.target, bundle.files[WEIGHTS])
    return Origin(path, (*before, this))


def _of_published(contract: ModelContract) -> TrainingConfig:
    """Return what makes a network that begins with the published SonoNet-16."""
    return TrainingConfig(
        source=contract.provenance.source,
        source_region=contract.input.region,
        height=contract.input.height,
        width=contract.input.width,
        encoder="sononet16",
        embedding=contract.embedding,
    )


def open_origin(origin: Origin) -> Bundle:
    """Open the bundle that a run begins with.

    Raises:
        BundleError: it cannot be read.
        TrainingError: it is not the one that the run began with.
    """
    bundle = _open(origin.path, "put it back where it was")
    wanted, received = origin.chain[-1].sha256, bundle.files.get(WEIGHTS, "none")
    if received != wanted:
        raise TrainingError(
            expected=f"the bundle {origin.path} that the run began with, weights of SHA-256 {wanted[:12]}…",
            received=f"another, of {received[:12]}…",
            remedy="put the former back, or begin anew with --overwrite",
        )
    return bundle


def _open(named: str, remedy: str) -> Bundle:
    """Open a bundle to begin with, which is another than the one that is written."""
    path = find_bundle(named)
    if not path.is_dir():
        raise BundleError(
            expected=f"a bundle at {path} to begin with",
            received="a file" if path.exists() else "no such directory",
            remedy=remedy,
        )
    return Bundle.open(path)
