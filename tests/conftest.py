"""For every test: the same examples every time, no judging by the clock, and one thread in each of several workers."""

import os

from hypothesis import settings

# Workers side by side have a core each: more threads would only wait for each other. Read when NumPy and PyTorch load.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("metfa", deadline=None, derandomize=True, max_examples=30)
settings.load_profile("metfa")
