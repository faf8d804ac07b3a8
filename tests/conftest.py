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

# A shell that runs the tests in the background has them ignore Ctrl-C, and what they start would, too.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("metfa", deadline=None, derandomize=True, max_examples=30)
settings.load_profile("metfa")


@pytest.fixture(scope="session")
def interpreter() -> Iterator[Interpreter]:
    """Starts processes that have PyTorch and metfa loaded."""
    with loaded_interpreter() as interpreter:
        yield interpreter
