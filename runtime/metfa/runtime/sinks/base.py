"""What every sink is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from ..frame import Observation

_Sink = TypeVar("_Sink", bound="Sink")


class Sink(ABC):
    """Takes observations one after another; a context manager that closes it, however the block ends."""

    @abstractmethod
    def write(self, observation: Observation) -> None:
        """Take one observation.

        Raises:
            OutputError: it cannot be written.
        """

    @abstractmethod
    def close(self) -> None:
        """Complete what was written; may be called twice.

        Raises:
            OutputError: it cannot be completed.
        """

    def __enter__(self: _Sink) -> _Sink:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
