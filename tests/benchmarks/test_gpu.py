"""``make gpu`` on a machine without one."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest
import torch
from benchmarks import gpu
from benchmarks.train.encoders import WAYS, measure
from click.testing import CliRunner

if TYPE_CHECKING:
    from pathlib import Path


def test_what_each_part_came_to_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    result = CliRunner().invoke(gpu.main, ["--device", "cpu", "--output", str(tmp_path), "--bundle", str(tmp_path)])
    assert result.exit_code == 1
    parts = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert [(part["name"], part["exit_code"], part["record"]) for part in parts] == [
        ("tests", 1, None),
        ("training", 1, None),
        ("inference", 1, None),
    ]
    assert result.output.splitlines()[-1].startswith("inference  failed")


def test_a_part_that_takes_too_long_is_ended_and_its_record_kept(tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    command = ["sh", "-c", f"echo begun; echo '[1]' > {record}; exec sleep 60"]
    part = gpu._run("slow", command, record, deadline=time.monotonic() + 1)
    assert (part.exit_code, part.record, part.output) == (None, [1], "begun\n")


def test_the_ways_to_run_an_encoder_are_compared() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    plain, reduced = measure("small", "cpu", steps=1, ways=WAYS[:2])
    torch.set_num_threads(threads)
    assert (plain.way, reduced.way, plain.to_plain) == ("fp32", "bf16", 1)
    assert reduced.to_plain == pytest.approx(reduced.step_ms / plain.step_ms)
    assert plain.images_per_second > 0
    assert plain.peak_mb > 100


def test_without_a_gpu_one_line_says_so(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has one")
    result = CliRunner().invoke(gpu.main, ["--output", str(tmp_path)])
    assert (result.exit_code, list(tmp_path.iterdir())) == (1, [])
    assert result.output.startswith("Error: expected the device cuda, received ")
