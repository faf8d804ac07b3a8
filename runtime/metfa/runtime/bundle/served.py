"""How a model on a server is known: by the hashes of the files that the server was given."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from ..errors import BackendError
from . import records

SERVED_KEY = "metfa.files"
"""Key of the parameter in a served model's configuration that holds :class:`ServedFiles`, beside the contract."""


@dataclass(frozen=True, slots=True)
class ServedFiles:
    """The files of a bundle that a server was given.

    Attributes:
        files: SHA-256 by name in the bundle; of several, the server takes the one for its GPU.
    """

    files: dict[str, str]

    def __post_init__(self) -> None:
        if not self.files:
            raise ValueError("no files")

    @property
    def version(self) -> int:
        """Number of the model's version, 1 to 2³²: other files have another, and cannot answer in its place."""
        return 1 + int(hashlib.sha256("".join(sorted(self.files.values())).encode()).hexdigest()[:8], 16)

    def to_json(self) -> str:
        """Return the record as JSON."""
        return records.to_json(self)

    @classmethod
    def from_json(cls, text: str, *, origin: str) -> ServedFiles:
        """Read a record that came from ``origin``.

        Raises:
            BackendError: it is not JSON, or has an unknown, missing or invalid field.
        """
        remedy = "write the model repository again with metfa-export --triton"
        return records.from_json(cls, text, origin=origin, remedy=remedy, error=BackendError)
