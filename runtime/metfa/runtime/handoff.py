"""Hands items from one thread to another."""

from __future__ import annotations

import threading
from collections import deque
from queue import Empty
from typing import TYPE_CHECKING, Generic, Literal, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_Item = TypeVar("_Item")

_POLL_SECONDS = 0.05  # after which one who waits for room asks again whether to give up


class Limit(NamedTuple):
    """How many items may wait, and what happens where one more comes.

    Attributes:
        capacity: items of one type, ≥ 1.
        when_full: the producer waits, or the new item replaces the oldest of its type, or it is refused.
    """

    capacity: int
    when_full: Literal["wait", "replace", "refuse"]


class Handoff(Generic[_Item]):
    """A queue between two threads, each of which learns when the other has ended."""

    def __init__(self) -> None:
        self._waiting: deque[_Item] = deque()
        self._closed = False
        self._error: Exception | None = None
        self._changed = threading.Condition()
        self._woken_at = 0  # so few items must wait before one who waits for room is woken

    @property
    def closed(self) -> bool:
        """Whether no more items will pass."""
        return self._closed

    def __len__(self) -> int:
        """Return how many items wait."""
        return len(self._waiting)

    def put(
        self, item: _Item, limit: Limit, give_up: Callable[[], bool] | None = None
    ) -> Literal["added", "replaced", "refused", "closed"]:
        """Add an item.

        Args:
            item: what the other side is to get.
            limit: what may wait.
            give_up: asked now and then, while it waits for room, whether to add the item without.

        Returns:
            What became of it, or ``"replaced"`` where it took the place of another.
        """
        with self._changed:
            while limit.when_full == "wait" and self._is_full(item, limit) and not (give_up and give_up()):
                self._woken_at = limit.capacity // 2  # for several at a time, as each waking costs both sides
                self._changed.wait(_POLL_SECONDS if give_up else None)
            if self._closed:
                return "closed"
            full = limit.when_full != "wait" and self._is_full(item, limit)
            if full and limit.when_full == "refuse":
                return "refused"
            if full:
                del self._waiting[next(place for place, other in enumerate(self._waiting) if type(other) is type(item))]
            self._waiting.append(item)
            self._changed.notify_all()
            return "replaced" if full else "added"

    def _is_full(self, item: _Item, limit: Limit) -> bool:
        return not self._closed and sum(type(other) is type(item) for other in self._waiting) >= limit.capacity

    def take(self, timeout: float | None = None) -> _Item | None:
        """Return the next item, or None where the handoff is closed and empty.

        Raises:
            Empty: none came within ``timeout`` seconds.
            Exception: the error that the handoff was closed with, once it is empty.
        """
        if not self.wait(timeout):
            raise Empty
        with self._changed:
            if self._waiting:
                item = self._waiting.popleft()
                if len(self._waiting) <= self._woken_at:
                    self._changed.notify_all()
                return item
            if self._error is not None:
                raise self._error
            return None

    def wait(self, timeout: float | None) -> bool:
        """Wait for an item or the end; return False where neither comes within ``timeout`` seconds."""
        with self._changed:
            return bool(self._changed.wait_for(lambda: self._waiting or self._closed, timeout))

    def close(self, error: Exception | None = None, *, discard: bool = False) -> None:
        """Let both sides know that no more items will pass.

        Args:
            error: why, where that is to be raised.
            discard: whether those that wait are dropped, too.
        """
        with self._changed:
            self._closed = True
            self._error = self._error or error
            if discard:
                self._waiting.clear()
            self._changed.notify_all()
