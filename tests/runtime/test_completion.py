"""Tab completes options and their values, in a real shell."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BASH = """
eval "$({variable}=bash_source {name})"
complete -p {name}
COMP_WORDS=({typed} "{word}") COMP_CWORD={count}
{function} {name} "{word}"
printf '%s\\n' "${{COMPREPLY[@]}}"
"""

COMMANDS = Path(sys.executable).parent
pytestmark = [
    pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed"),
    pytest.mark.skipif(not (COMMANDS / "metfa").exists(), reason="metfa is not installed"),
]


def complete(typed: str, word: str) -> list[str]:
    """Return what Tab offers for a word after those that were typed."""
    name = typed.split(maxsplit=1)[0]
    upper = name.replace("-", "_").upper()
    code = BASH.format(
        variable=f"_{upper}_COMPLETE",
        function=f"_{upper.lower()}_completion",
        name=name,
        typed=typed,
        word=word,
        count=len(typed.split()),
    )
    path = f"{COMMANDS}{os.pathsep}{os.environ['PATH']}"
    ended = subprocess.run(
        ["bash", "--norc", "-c", code], env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    assert ended.stderr == ""
    registered, *offered = ended.stdout.splitlines()
    assert re.fullmatch(rf"complete .*-F \w+ {name}", registered)
    return offered


@pytest.mark.parametrize(
    ("typed", "word", "offered"),
    [
        ("metfa", "do", ["doctor"]),
        ("metfa doctor", "--b", ["--bundle"]),
        ("metfa-stream", "--preci", ["--precision"]),
        ("metfa-stream --precision", "", ["auto", "fp32", "fp16", "int8"]),
        ("metfa-train --encoder", "son", ["sononet16"]),
        ("metfa-tune", "--trial", ["--trials"]),
        ("metfa-export", "--int", ["--int8"]),
        ("metfa-evaluate", "--dat", ["--data"]),
        ("metfa-benchmark", "--outp", ["--output"]),
        ("metfa-label", "--outp", ["--output"]),
    ],
)
def test_tab_completes(typed: str, word: str, offered: list[str]) -> None:
    assert complete(typed, word) == offered
