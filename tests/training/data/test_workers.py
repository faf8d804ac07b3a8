"""Work in other processes: complete, and unhurt by an item at which one of them crashes or hangs."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from collections import defaultdict
from typing import TYPE_CHECKING

import pytest
from tests.training.data.media import count_up

from metfa.runtime.errors import DataError
from metfa.training.data import workers
from metfa.training.data.workers import ItemEnd, ItemResult, work

if TYPE_CHECKING:
    from pathlib import Path


def gather(items: list[int], patience: float = 60) -> tuple[dict[int, list[int]], dict[int, str | None]]:
    results: dict[int, list[int]] = defaultdict(list)
    endings: dict[int, str | None] = {}
    for each in work(count_up, items, patience=patience):
        if isinstance(each, ItemResult):
            assert each.item not in endings
            results[each.item].append(each.result)
        else:
            assert isinstance(each, ItemEnd)
            assert each.item not in endings
            endings[each.item] = each.error
    return results, endings


@pytest.mark.parametrize("count", [0, 1, 2, 100])
def test_every_item_is_worked_on_once_and_its_results_are_in_order(count: int) -> None:
    items = [number % 5 for number in range(count)]
    results, endings = gather(items)
    assert endings == dict.fromkeys(range(count))
    assert all(results[number] == list(range(item)) for number, item in enumerate(items))


def test_items_that_fail_crash_or_hang_end_with_the_reason_and_the_others_are_done() -> None:
    results, endings = gather(list(range(30)), patience=1)
    assert {number: error for number, error in endings.items() if error} == {
        7: "an empty file",
        11: "its decoder crashed",
        12: "its decoder crashed (SIGSEGV)",
        13: "nothing came of it in 1 seconds",
        17: "ZeroDivisionError while it was decoded",
    }
    assert set(endings) == set(range(30))
    assert all(results[number] == list(range(number % 5)) for number in range(30))


def test_a_script_need_not_be_guarded(tmp_path: Path) -> None:
    """Other users of multiprocessing must put everything below ``if __name__ == "__main__"``."""
    script = tmp_path / "script.py"
    script.write_text(
        "from metfa.training.data.decoding import first_picture\n"
        "from metfa.training.data.readers import list_domain\n"
        "from metfa.training.data.workers import work\n"
        "print(len(list(work(first_picture, list_domain('phantom:A').entries[:2]))))\n"
    )
    result = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert (result.stdout, result.stderr) == ("4\n", "")


def test_whoever_stops_listening_ends_the_processes() -> None:
    results = work(count_up, [3, 13, 13, 13])
    next(results)
    assert multiprocessing.active_children()
    results.close()
    assert not multiprocessing.active_children()


def test_a_process_that_cannot_be_started_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OSError("AF_UNIX path too long")

    monkeypatch.setattr(workers._CONTEXT, "Pipe", refuse)
    with pytest.raises(DataError, match=r"received AF_UNIX path too long; raise the limits .* TMPDIR to a shorter"):
        list(work(iter, [()]))
