"""A command that a signal ends is named with it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from benchmarks import commands

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("script", "code", "said"),
    [
        (
            "kill -SEGV $$",
            139,
            "Error: expected metfa-try to end by itself, received SIGSEGV in: metfa-try --steps '4 5'",
        ),
        ("exit 3", 3, ""),
    ],
)
def test_a_child_that_ends_badly_ends_its_parent(
    script: str,
    code: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    program = tmp_path / "metfa-try"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(SystemExit) as ended:
        commands.run("metfa-try", "--steps", "4 5")
    assert ended.value.code == code
    assert capfd.readouterr().err.strip() == said
