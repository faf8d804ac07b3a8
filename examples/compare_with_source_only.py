"""Adapt, and compare with the same training without adaptation.

python examples/compare_with_source_only.py images/A images/B runs/B
"""

from __future__ import annotations

import sys
from typing import Any

from metfa.training import TrainingConfig, train


def main(source: str, target: str, bundle: str, **settings: Any) -> None:
    """Train both, and print a line for each method, from the simplest to the adapted one."""
    evaluation = train(TrainingConfig(source=source, target=target, **settings), bundle, compare=True)
    if evaluation is None:
        print(f"Interrupted. To go on: metfa-train --resume --compare --bundle {bundle}")
        return
    for each in evaluation.compared:
        score = "no labels" if each.target is None else f"macro F1 {each.target.f1:.3f}"
        print(f"{each.judged.method}: target {score}, consistency {each.judged.consistency:.3f}")
    if evaluation.verdict is not None:
        print(evaluation.verdict.reason)


if __name__ == "__main__":
    main(*sys.argv[1:4])
