"""For every test: the same examples every time, no judging by the clock, one thread a worker, and Ctrl-C as usual."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from tests.processes import Interpreter, loaded_interpreter

if TYPE_CHECKING:
    from collections.abc import Iterator

# Workers side by side have a core each: more threads would only wait for each other. Read when NumPy and PyTorch load.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Run in the background, tests may ignore Ctrl-C or the end of a terminal, and what they start would, too.
for name, usual in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
    number = getattr(signal, name, None)  # Windows has no SIGHUP
    if number is not None and signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, usual)

settings.register_profile("metfa", deadline=None, derandomize=True, max_examples=30)
settings.load_profile("metfa")


@pytest.fixture(scope="session")
def interpreter() -> Iterator[Interpreter]:
    """Starts processes that have PyTorch and metfa loaded."""
    with loaded_interpreter() as interpreter:
        yield interpreter
