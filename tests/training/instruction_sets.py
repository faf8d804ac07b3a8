"""Code that runs in a process of its own under each instruction set that this CPU has, as far as oneDNN can be told."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.processes import Interpreter

_FLAGS = {
    "avx2": "AVX2",
    "avx512bw": "AVX512_CORE",
    "avx512_vnni": "AVX512_CORE_VNNI",
    "avx512_bf16": "AVX512_CORE_BF16",
}


def instruction_sets() -> list[str]:
    """What ``ONEDNN_MAX_CPU_ISA`` can be set to here; the last is all that the CPU has."""
    described = Path("/proc/cpuinfo").read_text()
    return [*[name for flag, name in _FLAGS.items() if f" {flag}" in described][:-1], "DEFAULT"]


def run_under(instruction_set: str, interpreter: Interpreter, script: str) -> str:
    """Run a script and return what it prints; the error names the signal that ended it and what it printed last."""
    ended = interpreter.run(script, ONEDNN_MAX_CPU_ISA=instruction_set)  # which is read at the first convolution
    how = signal.Signals(-ended.returncode).name if ended.returncode < 0 else f"exit code {ended.returncode}"
    assert ended.returncode == 0, f"{how} under {instruction_set} after {ended.stdout[-200:]!r}: {ended.stderr[-2000:]}"
    return ended.stdout
