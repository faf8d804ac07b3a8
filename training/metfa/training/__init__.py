"""On a workstation: labelled frames of a source scanner and unlabelled frames of a target scanner → an adapted bundle.

::

    from metfa.training import TrainingConfig, train

    evaluation = train(TrainingConfig(source="images/A", target="images/B"), "runs/B")
"""

import os
from typing import TYPE_CHECKING, Any

# OpenMP's threads would wait in a loop, and take the cores from each other where another program needs one.
# PyTorch reads this when it is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from .config import Augmentation, TrainingConfig, Weights
from .presets import PRESETS

if TYPE_CHECKING:
    from .outcome import Evaluation
    from .run import train

__all__ = ["PRESETS", "Augmentation", "Evaluation", "TrainingConfig", "Weights", "train"]


def __getattr__(name: str) -> Any:
    """Import what needs PyTorch when it is asked for."""
    if name == "train":
        from .run import train

        return train
    if name == "Evaluation":
        from .outcome import Evaluation

        return Evaluation
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
