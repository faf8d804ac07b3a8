"""What methods and encoders there are, and how each method is optimised: known without PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from metfa.runtime.plugins import load

if TYPE_CHECKING:
    from collections.abc import Mapping

MethodName = str
"""A key of :data:`DEFAULTS`, or what an installed package adds."""

AUTO = "auto"
"""In place of a method: train the few below at the same settings, and take what a rule without labels prefers."""

AUTO_METHODS: tuple[MethodName, ...] = ("adabn", "mcc", "metfa-vi")
"""What ``auto`` trains. The first training is also that of ``source-only``."""

PAPER_METHODS: tuple[MethodName, ...] = (
    "source-only",
    "dann",
    "adda",
    "mme",
    "metfa-i",
    "metfa-ii",
    "metfa-iii",
    "metfa-iv",
    "metfa-v",
    "fine-tuned",
    "fully-supervised",
)
"""The rows of the paper's own tables. They are trained with its augmentation unless the user says otherwise."""

EncoderName = str
"""One of :data:`ENCODER_NAMES`, or what an installed package adds."""

ENCODER_NAMES: tuple[EncoderName, ...] = ("edge", "residual", "sononet16", "strided")


SONONET = "sononet-16"
"""What the provenance of the published SonoNet-16 calls its method, which is none of metfa's."""


class Defaults(NamedTuple):
    """What a method takes unless the user says otherwise.

    Attributes:
        learning_rate: at the first step.
        weight_decay: L2; with AdamW, decoupled.
        entropy: λ₆ of the minimax entropy; 0 for a method without that term.
    """

    learning_rate: float
    weight_decay: float
    entropy: float = 0.0


_OWN = Defaults(learning_rate=1e-3, weight_decay=1e-5)
_WITH_ENTROPY = _OWN._replace(entropy=5.0)

DEFAULTS: Mapping[MethodName, Defaults] = {
    "source-only": _OWN,
    "adabn": _OWN,
    "dann": Defaults(learning_rate=1e-2, weight_decay=1e-5),
    "cdan": Defaults(learning_rate=1e-2, weight_decay=1e-5),
    "adda": Defaults(learning_rate=1e-3, weight_decay=1e-5),
    "mme": Defaults(learning_rate=1e-2, weight_decay=5e-4),
    "mcc": Defaults(learning_rate=1e-2, weight_decay=5e-4),
    "shot": _OWN,
    "metfa-i": _WITH_ENTROPY,
    "metfa-ii": _WITH_ENTROPY,
    "metfa-iii": _WITH_ENTROPY,
    "metfa-iv": _WITH_ENTROPY,
    "metfa-v": _WITH_ENTROPY,
    "metfa-vi": Defaults(learning_rate=1e-3, weight_decay=1e-2),
    "fine-tuned": _OWN,
    "fully-supervised": _OWN,
}
"""The rows of the tables, in their order. The baselines' values are their references': λ₁ = 10 multiplies the
cross-entropy of the others, theirs has weight 1. MetFA-VI has AdamW in place of SGD, and minimum
class confusion in place of the minimax entropy."""


FROZEN_DEFAULTS: Mapping[MethodName, Defaults] = {"metfa-vi": _OWN}
"""The same where the encoder is frozen: there MetFA-VI has SGD, as AdamW fits the little that learns too closely."""


SOURCE_FREE_DEFAULTS: Mapping[MethodName, Defaults] = {"metfa-vi": DEFAULTS["metfa-vi"]._replace(learning_rate=3e-4)}
"""The same where a run begins with a bundle and no image of the source: a network that is trained already forgets what
it knows in the first steps at more."""


def defaults_of(method: MethodName, *, frozen: bool, source_free: bool = False) -> Defaults:
    """Return what a method takes unless the user says otherwise; of an added one, its class knows.

    Args:
        method: its name.
        frozen: whether the encoder is.
        source_free: whether embeddings are drawn in place of the source's images.

    Raises:
        PluginError: an added method cannot be imported.
        ValueError: there is no such method.
    """
    if frozen and method in FROZEN_DEFAULTS:
        return FROZEN_DEFAULTS[method]
    if source_free and method in SOURCE_FREE_DEFAULTS:
        return SOURCE_FREE_DEFAULTS[method]
    if method in DEFAULTS:
        return DEFAULTS[method]
    added = load("metfa.methods", method)
    if added is None:
        raise ValueError(f"expected method to be one of {', '.join(DEFAULTS)}, received {method!r}")
    defaults: Defaults = added.defaults
    return defaults
