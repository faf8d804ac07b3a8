"""What one optimisation step is, per row of the paper's tables: one file per method, and nothing in it but the method.

All share the network, the data, the augmentation and the loop (:mod:`..fit`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .adda import ADDA
from .base import Batch, Method, Role
from .dann import DANN
from .metfa import TERMS, MetFA
from .mme import MME
from .supervised import AdaBN, FineTuned, FullySupervised, SourceOnly

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..config import MethodName, TrainingConfig
    from ..model import Network

__all__ = ["ADDA", "DANN", "METHODS", "MME", "TERMS", "Batch", "MetFA", "Method", "Role", "build_method"]

METHODS: Mapping[MethodName, type[Method]] = {
    "source-only": SourceOnly,
    "adabn": AdaBN,
    "dann": DANN,
    "adda": ADDA,
    "mme": MME,
    **dict.fromkeys(TERMS, MetFA),
    "fine-tuned": FineTuned,
    "fully-supervised": FullySupervised,
}


def build_method(config: TrainingConfig, network: Network) -> Method:
    """Return the method that the configuration names, around ``network``."""
    return METHODS[config.method](config, network)
