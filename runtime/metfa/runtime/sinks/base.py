"""What every sink is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal, TypeVar

if TYPE_CHECKING:
    from ..frame import Observation, PlaneEvent

_Sink = TypeVar("_Sink", bound="Sink")


Kind = Literal["view", "pictures", "inputs", "records"]


class Sink(ABC):
    """Takes observations and events one after another; a context manager that closes it, however the block ends.

    In a stream each sink has a thread of its own (see :class:`~metfa.runtime.sinks.feeds.Feeds`), which alone calls
    its methods. What it may miss, where it is slower than the stream, depends on its kind:

    - ``"view"`` shows the stream: it gets the newest observation.
    - ``"pictures"`` gets every one, but where it falls behind a live source by more than a second, it misses frames,
      which are counted.
    - ``"inputs"`` gets what the model saw likewise, and no frames, which take a hundred times the memory.
    - ``"records"`` gets every one, with empty pictures, so that many can wait.

    Events are not missed where observations are; only a view does not get more than the last 30 at once.

    Attributes:
        name: what messages and metrics call it.
        kind: what it may miss.
        required: whether the user asked for what it writes: if it fails, the stream ends with the reason. Another is
            reported and left out.
    """

    name: ClassVar[str]
    kind: ClassVar[Kind] = "view"
    required: ClassVar[bool] = False

    @abstractmethod
    def write(self, observation: Observation) -> None:
        """Take one observation.

        Raises:
            OutputError: it cannot be written.
        """

    def write_event(self, event: PlaneEvent) -> None:  # noqa: B027  # most sinks show frames only
        """Take one event.

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
