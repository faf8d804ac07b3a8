"""The weights that an encoder begins with, where it is not initialised at random."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from metfa.runtime.bundle import records
from metfa.runtime.bundle.directory import WEIGHTS, Bundle
from metfa.runtime.bundle.location import find_bundle
from metfa.runtime.errors import BundleError, TrainingError
from metfa.runtime.files import reading

from .ancestry import InitialWeights
from .config import CONFIG, TrainingConfig

if TYPE_CHECKING:
    from torch import nn

    from .names import EncoderName

_PUBLISHED = "SonoNet-16 (Baumgartner et al., IEEE TMI 2017), SonoNet-weights repository"
_PUBLISHED_LICENCE = "Apache-2.0"


def identify(path: str, encoder: EncoderName) -> InitialWeights:
    """Return what initial weights are, without reading them.

    Raises:
        SourceError: there is no such file.
        BundleError: the bundle is damaged, or holds no trained network.
        TrainingError: they are of another encoder.
    """
    if find_bundle(path).is_dir():
        return _identify_bundle(path, encoder)
    _require_encoder("sononet16", encoder, path)
    with reading(path):
        digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    return InitialWeights(path, digest, _PUBLISHED, _PUBLISHED_LICENCE)


def load_initial(encoder: nn.Module, weights: InitialWeights) -> None:
    """Give an encoder its initial weights.

    Raises:
        SourceError, BundleError: they cannot be read.
        TrainingError: they are not those that were identified.
    """
    from .encoders.published import fill_encoder, read_published
    from .encoders.sononet16 import SonoNet16Encoder
    from .weights import load_network

    path = find_bundle(weights.path)
    if path.is_dir():
        bundle = Bundle.open(path)
        _require_same(bundle.files.get(WEIGHTS, "none"), weights)
        encoder.load_state_dict(load_network(bundle).encoder.state_dict())
        return
    with reading(path):
        content = path.read_bytes()
    _require_same(hashlib.sha256(content).hexdigest(), weights)
    assert isinstance(encoder, SonoNet16Encoder)
    fill_encoder(encoder, read_published(content, path))


def _identify_bundle(path: str, encoder: EncoderName) -> InitialWeights:
    bundle = Bundle.open(find_bundle(path))
    remedy = "name a bundle that metfa-train of this version wrote"
    config = records.from_json(
        TrainingConfig, bundle.read(CONFIG), origin=str(bundle.directory / CONFIG), remedy=remedy, error=BundleError
    )
    _require_encoder(config.encoder, encoder, path)
    provenance, before = bundle.contract.provenance, config.initial_weights
    origin = f"a bundle of {provenance.method}, source {provenance.source}, target {provenance.target or 'none'}"
    return InitialWeights(
        path,
        bundle.files[WEIGHTS],
        f"{origin}; that began with {before.origin}" if before else origin,
        before.licence if before else None,
    )


def _require_encoder(of_weights: EncoderName, encoder: EncoderName, path: str) -> None:
    if of_weights != encoder:
        raise TrainingError(
            expected=f"initial weights of the encoder {encoder}",
            received=f"{path}, of {of_weights}",
            remedy=f"choose --encoder {of_weights}, or name others with --init",
        )


def _require_same(sha256: str, weights: InitialWeights) -> None:
    if sha256 != weights.sha256:
        raise TrainingError(
            expected=f"the initial weights {weights.path} that the run began with, SHA-256 {weights.sha256[:12]}…",
            received=f"others, SHA-256 {sha256[:12]}…",
            remedy="put the former back, or begin anew with --overwrite",
        )
