"""What a run takes over from the bundle that it begins with: the network, and what it knows of the source's classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .class_embeddings import ClassEmbeddings, load_embeddings
from .names import SONONET
from .sononet import load_sononet
from .transplant import classes_of, transplant
from .weights import load_network

if TYPE_CHECKING:
    from metfa.runtime.bundle.directory import Bundle

    from .model import Network, NetworkConfig


def inherit_network(bundle: Bundle, config: NetworkConfig) -> Network:
    """Return the network that a run goes on to train.

    Args:
        bundle: of ``metfa-train``, or of the published SonoNet-16.
        config: of the run.

    Raises:
        BundleError: its weights are missing, damaged, or those of another network.
    """
    return transplant(load_sononet(bundle), config) if _is_published(bundle) else load_network(bundle)


def inherit_classes(bundle: Bundle) -> ClassEmbeddings:
    """Return what the bundle knows of the source's classes.

    Raises:
        BundleError: it holds nothing of them, or what is damaged.
    """
    return classes_of(load_sononet(bundle)) if _is_published(bundle) else load_embeddings(bundle)


def _is_published(bundle: Bundle) -> bool:
    return bundle.contract.provenance.method == SONONET
