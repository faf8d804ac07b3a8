"""Items from one thread to another, in order, with nothing lost that the limit does not drop."""

from __future__ import annotations

import threading
from queue import Empty
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metfa.runtime.handoff import Handoff, Limit

ITEMS = st.lists(st.one_of(st.integers(), st.text(max_size=1)), max_size=12)


def drain(handoff: Handoff[Any]) -> list[Any]:
    handoff.close()
    return list(iter(handoff.take, None))


@given(items=ITEMS, capacity=st.integers(1, 4))
def test_the_newest_of_each_type_replace_the_oldest(items: list[Any], capacity: int) -> None:
    handoff: Handoff[Any] = Handoff()
    outcomes = [handoff.put(item, Limit(capacity, "replace")) for item in items]
    kept = {kind: [at for at, item in enumerate(items) if type(item) is kind][-capacity:] for kind in (int, str)}
    assert drain(handoff) == [items[at] for at in sorted(kept[int] + kept[str])]
    assert outcomes.count("replaced") == len(items) - len(kept[int]) - len(kept[str])


@given(items=ITEMS, capacity=st.integers(1, 4))
def test_what_is_refused_is_not_there(items: list[Any], capacity: int) -> None:
    handoff: Handoff[Any] = Handoff()
    added = [item for item in items if handoff.put(item, Limit(capacity, "refuse")) == "added"]
    kept = {kind: [at for at, item in enumerate(items) if type(item) is kind][:capacity] for kind in (int, str)}
    assert drain(handoff) == added == [items[at] for at in sorted(kept[int] + kept[str])]


@pytest.mark.parametrize("capacity", [1, 3])
def test_a_producer_that_waits_loses_nothing(capacity: int) -> None:
    handoff: Handoff[int] = Handoff()

    def produce() -> None:
        for item in range(200):
            handoff.put(item, Limit(capacity, "wait"))
        handoff.close()

    producer = threading.Thread(target=produce)
    producer.start()
    assert list(iter(handoff.take, None)) == list(range(200))
    producer.join()


def test_a_producer_that_waits_is_woken_when_half_of_the_room_is_free() -> None:
    handoff: Handoff[int] = Handoff()
    limit = Limit(4, "wait")
    for item in range(4):
        handoff.put(item, limit)
    producer = threading.Thread(target=handoff.put, args=(4, limit))
    producer.start()
    while not handoff._woken_at:  # it waits
        pass
    assert handoff.take() == 0
    producer.join(0.05)
    assert (producer.is_alive(), len(handoff)) == (True, 3)
    assert handoff.take() == 1
    producer.join()
    assert drain(handoff) == [2, 3, 4]


def test_a_producer_that_waits_learns_of_the_end() -> None:
    handoff: Handoff[int] = Handoff()
    handoff.put(0, Limit(1, "wait"))
    threading.Timer(0.05, handoff.close, kwargs={"discard": True}).start()
    assert handoff.put(1, Limit(1, "wait")) == "closed"
    assert handoff.take() is None
    assert handoff.closed


def test_a_producer_may_give_up_waiting() -> None:
    handoff: Handoff[int] = Handoff()
    handoff.put(0, Limit(1, "wait"))
    answers = iter([False, True])
    assert handoff.put(1, Limit(1, "wait"), give_up=lambda: next(answers)) == "added"
    assert len(handoff) == 2


def test_nothing_in_time_is_not_the_end() -> None:
    handoff: Handoff[int] = Handoff()
    assert not handoff.wait(0.01)
    with pytest.raises(Empty):
        handoff.take(0.01)
    handoff.close()
    assert handoff.wait(0.01)
    assert handoff.take(0.01) is None


def test_an_error_comes_after_what_was_put_before_it() -> None:
    handoff: Handoff[int] = Handoff()
    handoff.put(7, Limit(1, "wait"))
    handoff.close(ValueError("lost"))
    handoff.close()  # by the other side, later
    assert handoff.take() == 7
    with pytest.raises(ValueError, match="lost"):
        handoff.take()
