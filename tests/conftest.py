"""For every test: the same examples every time, no judging by the clock, one thread a worker, and Ctrl-C as usual."""

import os
import signal

from hypothesis import settings

# Workers side by side have a core each: more threads would only wait for each other. Read when NumPy and PyTorch load.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell that runs the tests in the background has them ignore Ctrl-C, and what they start would, too.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("metfa", deadline=None, derandomize=True, max_examples=30)
settings.load_profile("metfa")
