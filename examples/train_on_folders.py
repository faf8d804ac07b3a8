"""Adapt a classifier to another scanner's images.

python examples/train_on_folders.py images/A images/B runs/B

images/A has a folder for each class; images/B has images without labels.
"""

from __future__ import annotations

import sys
from typing import Any

from metfa.training import TrainingConfig, train


def main(source: str, target: str, bundle: str, **settings: Any) -> None:
    """Train, and print the scores that the labels allow."""
    config = TrainingConfig(source=source, target=target, **settings)
    evaluation = train(config, bundle)
    if evaluation is None:
        print(f"Interrupted. To go on: metfa-train --resume --bundle {bundle}")
        return
    for role, scores in (("source", evaluation.source), ("target", evaluation.target)):
        if scores is not None:
            print(f"{evaluation.method}: macro F1 on the {role} {scores.f1:.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:4])
