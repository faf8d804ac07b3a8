"""On a workstation: labelled frames of a source device and unlabelled frames of a target device → an adapted bundle."""

import os

# OpenMP's threads would wait in a loop, and take the cores from each other where another program needs one.
# PyTorch reads this when it is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
