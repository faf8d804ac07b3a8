from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from benchmarks.scale.__main__ import main
from benchmarks.scale.fit import exponent
from benchmarks.scale.measure import grow, sizes_between
from click.testing import CliRunner

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("power", [1.0, 1.5, 2.0])
def test_the_exponent_is_that_of_the_sizes_whose_time_is_clear_of_the_fixed_cost(power: float) -> None:
    sizes = sizes_between(10, 1_000_000)
    seconds = [max(1.0, (size / 1000) ** power) for size in sizes]
    assert exponent(sizes, seconds) == pytest.approx(power)


def test_what_does_not_grow_has_no_exponent() -> None:
    assert exponent([1000, 3000, 10_000], [1.0, 1.1, 0.9]) is None


def test_sizes_are_one_and_three_times_powers_of_ten() -> None:
    assert sizes_between(1000, 30_000) == [1000, 3000, 10_000, 30_000]


def test_a_stage_ends_with_the_first_run_over_the_budget() -> None:
    growth = grow("evaluate", [100, 200], budget=1e-4)
    assert growth.costs == () or [cost.size for cost in growth.costs] == [100]
    assert growth.ending.startswith("100 ")


def test_a_stage_is_measured_drawn_and_recorded(tmp_path: Path) -> None:
    output, figure = tmp_path / "scale.json", tmp_path / "scale.png"
    arguments = ["--stage", "split", "--largest", "3000", "--output", str(output), "--figure", str(figure)]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    stage = json.loads(output.read_text())["stages"]["split"]
    assert [cost["size"] for cost in stage["costs"]] == [1000, 3000]
    assert stage["costs"][1]["peak_bytes"] > 10 * 3000
    assert figure.read_bytes().startswith(b"\x89PNG")
