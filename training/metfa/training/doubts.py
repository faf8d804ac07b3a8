"""What makes a finished model doubtful, by the source's labels: of the target, nobody is to need any."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .evaluation.scores import guessing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .train import Evaluation

SLIGHT = 0.2
"""Agreement beyond chance, of what there could be, up to which it is called slight (Landis and Koch 1977)."""

LOSS = 0.1
"""Accuracy on the source's validation frames that a model may lack of the run's best; the rule of selection keeps to a
fifth of it."""


def doubts(evaluation: Evaluation) -> Iterator[str]:
    """Yield a warning for each reason to doubt a model that was trained on the source's labels."""
    scores = evaluation.source
    chance, deviation = guessing(scores)
    if scores.recall <= chance + max(2 * deviation, SLIGHT * (1 - chance)):
        yield (
            f"warning: hardly better than guessing on the source's own test frames (mean recall {scores.recall:.2f} on "
            f"{scores.images}; guessing gives {chance:.2f} ± {deviation:.2f}): raise --steps, and see with --preview "
            "whether frames and labels are right"
        )
    accuracies = {each.step: each.validators.supervised_accuracy for each in evaluation.candidates}
    best = max(accuracies, key=lambda step: (accuracies[step], step))
    taken = evaluation.selected_step
    if accuracies[taken] < accuracies[best] - LOSS:
        yield (
            f"warning: the model has lost what it knew of the source (accuracy {accuracies[taken]:.2f} on validation "
            f"frames, after {best} steps {accuracies[best]:.2f}): leave out --select last, or lower --learning-rate"
        )
