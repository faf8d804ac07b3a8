"""What one optimisation step is, per row of the paper's tables: one file per method, and nothing in it but the method.

All share the network, the data, the augmentation and the loop (:mod:`..fit`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from metfa.runtime.plugins import Registry

from .adda import ADDA
from .base import Batch, Method, Role
from .cdan import CDAN
from .dann import DANN
from .mcc import MCC
from .metfa import TERMS, MetFA
from .metfa_vi import MetFAVI
from .mme import MME
from .shot import SHOT
from .supervised import AdaBN, FineTuned, FullySupervised, SourceOnly

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..config import TrainingConfig
    from ..model import Network
    from ..names import MethodName

__all__ = [
    "ADDA",
    "CDAN",
    "DANN",
    "MCC",
    "METHODS",
    "MME",
    "SHOT",
    "TERMS",
    "Batch",
    "MetFA",
    "MetFAVI",
    "Method",
    "Role",
    "build_method",
]

METHODS: Mapping[MethodName, type[Method]] = Registry(
    "metfa.methods",
    {
        "source-only": SourceOnly,
        "adabn": AdaBN,
        "dann": DANN,
        "cdan": CDAN,
        "adda": ADDA,
        "mme": MME,
        "mcc": MCC,
        "shot": SHOT,
        **dict.fromkeys(TERMS, MetFA),
        "metfa-vi": MetFAVI,
        "fine-tuned": FineTuned,
        "fully-supervised": FullySupervised,
    },
)


def build_method(config: TrainingConfig, network: Network) -> Method:
    """Return the method that the configuration names, around ``network``."""
    return METHODS[config.method](config, network)
