"""Where a network comes from: the weights of its encoder, or the bundles that it was before."""

from __future__ import annotations

from dataclasses import dataclass

from .names import MethodName


@dataclass(frozen=True, slots=True)
class InitialWeights:
    """Where an encoder's first weights come from.

    Attributes:
        path: ``SonoNet16.npz``, or the directory of a bundle, as the user names it.
        sha256: of the file that holds the weights.
        origin: who made them, and of what.
        licence: under which they may be used; None where the bundle that they are of does not say.
    """

    path: str
    sha256: str
    origin: str
    licence: str | None


@dataclass(frozen=True, slots=True)
class Ancestor:
    """A bundle that a network came through.

    Attributes:
        method: that it was trained by.
        source: its labelled domain.
        target: the domain that it was adapted to; None where it was not.
        sha256: of its weights.
    """

    method: MethodName
    source: str
    target: str | None
    sha256: str


@dataclass(frozen=True, slots=True)
class Origin:
    """The bundle that a run begins with, and draws embeddings from in place of the source's images.

    Attributes:
        path: its directory, as the user names it.
        chain: the bundle, last, and those that it came from itself.
    """

    path: str
    chain: tuple[Ancestor, ...]
