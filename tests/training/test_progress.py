"""A log is told how far a run has come, in plain lines and not too many; a terminal has its bar."""

from __future__ import annotations

import sys

import pytest
from tqdm import tqdm

from metfa.training import progress as progresses
from metfa.training.progress import INTERVAL, ProgressLines, progress


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progresses, "monotonic", clock)
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    return clock


def count(clock: Clock, units: int, seconds: float, *, initial: int = 0) -> None:
    """Go through ``units`` that take so many seconds each, of 100."""
    with progress("metfa-v", total=100, unit="step", initial=initial) as bar:
        for _ in range(units):
            clock.now += seconds
            bar.update()
            bar.set_postfix({"ce": "0.5", "prior": "3"})


def test_a_line_every_ten_seconds_says_how_far_how_fast_and_how_long(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    count(clock, 60, 0.5)
    assert capsys.readouterr().err == (
        "metfa-v: 20 of 100 (20 %), 2.00step/s, 00:40 left, ce 0.5, prior 3\n"
        "metfa-v: 40 of 100 (40 %), 2.00step/s, 00:30 left, ce 0.5, prior 3\n"
        "metfa-v: 60 of 100 (60 %), 2.00step/s, 00:20 left, ce 0.5, prior 3\n"
    )


def test_slow_units_have_a_line_each(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    count(clock, 3, 15)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == [f"metfa-v: {n} of 100 ({n} %)" for n in (1, 2, 3)]
    assert "15.00s/step, 24:15 left" in lines[-1]


def test_what_was_done_before_is_no_part_of_the_rate(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    count(clock, 10, 1, initial=80)
    assert capsys.readouterr().err == "metfa-v: 90 of 100 (90 %), 1.00step/s, 00:10 left, ce 0.5, prior 3\n"


def test_what_is_over_soon_says_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    count(clock, 100, 0.9 * INTERVAL / 100)
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("case", ["terminal", "not to speak", "switched off"])
def test_elsewhere_it_is_a_bar_or_nothing(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: case == "terminal")
    if case == "switched off":
        monkeypatch.setenv("TQDM_DISABLE", "1")
    bar = progress("metfa-v", total=100, unit="step", leave=False, shown=case != "not to speak")
    assert isinstance(bar, tqdm)
    assert bool(bar.disable) == (case != "terminal")
    bar.close()


@pytest.mark.usefixtures("clock")
def test_a_log_has_lines() -> None:
    assert isinstance(progress("metfa-v", total=100, unit="step"), ProgressLines)
