"""What makes a finished model doubtful: its scores on the source, and the terms of its objective. No target label."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .evaluation.scores import guessing
from .selection.rule import keeps_accuracy

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .outcome import Evaluation

SLIGHT = 0.2
"""Agreement beyond chance, of what there could be, up to which it is called slight (Landis and Koch 1977)."""


def doubtful_scores(evaluation: Evaluation) -> Iterator[str]:
    """Yield a warning for each reason to doubt a model that was trained on the source's labels."""
    scores = evaluation.source
    chance, deviation = guessing(scores) if scores else (0.0, 0.0)
    if scores and scores.recall <= chance + max(2 * deviation, SLIGHT * (1 - chance)):
        yield (
            f"warning: hardly better than guessing on the source's own test frames (mean recall {scores.recall:.2f} on "
            f"{scores.images}; guessing gives {chance:.2f} ± {deviation:.2f}): raise --steps, and see with --preview "
            "whether frames and labels are right"
        )
    best = max(evaluation.candidates, key=lambda each: (each.validators.supervised_accuracy, each.step))
    taken = next(each for each in evaluation.candidates if each.step == evaluation.selected_step)
    had, has = best.validators.supervised_accuracy, taken.validators.supervised_accuracy
    if not keeps_accuracy(taken.validators, had):
        yield (
            f"warning: the model has lost what it knew of the source (accuracy {has:.2f} in validation, after "
            f"{best.step} steps {had:.2f}): leave out --select last, or lower --learning-rate"
        )


GROWTH = 10.0
"""How many times as large as it began a term may become. Terms that begin below 1 are taken to begin there."""

_PARTS = 10
"""Into which a run is divided, to compare means instead of single steps."""


def exploded_terms(metrics: Sequence[dict[str, float]]) -> Iterator[str]:
    """Yield a warning for each term of the objective that exploded, though it stayed finite.

    A term begins where it is first computed.

    Args:
        metrics: of each step, its number as ``step`` and the value of each term, in the order of the steps.
    """
    parts = [part.tolist() for part in np.array_split(np.arange(len(metrics)), _PARTS) if len(part)]
    names = {name for line in metrics for name in line} - {"step"}
    for name in sorted(names):
        values = {part[-1]: [metrics[row][name] for row in part if name in metrics[row]] for part in parts}
        means = {last: float(np.mean(of_part)) for last, of_part in values.items() if of_part}
        began, highest = next(iter(means.values())), max(means, key=lambda last: means[last])
        if means[highest] > GROWTH * max(1.0, began):
            yield (
                f"warning: the term {name} exploded: {began:.3g} at first, {means[highest]:.3g} near step "
                f"{metrics[highest]['step']:.0f}: lower --learning-rate or its weight, or raise "
                "--images-per-class"
            )
