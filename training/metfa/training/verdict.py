"""Whether adaptation is to be expected to help: said at the end of a run, from source labels and validators alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .names import MethodName
from .selection.between import prefer
from .selection.rule import keeps_accuracy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .selection.between import Judged
    from .selection.validators import Validators

WITHOUT_ADAPTATION: tuple[MethodName, ...] = ("source-only", "adabn")

REFERENCES: tuple[MethodName, ...] = ("fine-tuned", "fully-supervised")

KEPT = 0.9
"""Of its accuracy on the source must a model's reverse accuracy be, or what it says of the target is doubted."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to expect of a model on the target.

    Attributes:
        take: the method to take; None where nothing was trained that would tell.
        reason: why, in one or two sentences.
    """

    take: MethodName | None
    reason: str


def give_verdict(judged: Sequence[Judged], model: MethodName, run: Sequence[Validators]) -> Verdict | None:
    """Return what to expect of a model; None of one that needs target labels, or does not adapt and stands alone.

    Args:
        judged: all methods that were trained, from the simplest to the most complex, the model's among them.
        model: its method.
        run: the validators of every candidate of the model's run.
    """
    if model in REFERENCES:
        return None
    if len(judged) > 1:
        return _beside_others(judged, model)
    return None if model in WITHOUT_ADAPTATION else _alone(judged[0], run)


def _beside_others(judged: Sequence[Judged], model: MethodName) -> Verdict:
    best = prefer(judged)
    scores = ", ".join(f"{each.method} {each.consistency:.2f}" for each in judged)
    expected = "is expected to help here"
    if best.method in WITHOUT_ADAPTATION:
        expected = f"is not expected to help here beyond {best.method}"
    advice = f"this is {model}" if best.method == model else f"take {best.method} in place of {model}"
    return Verdict(best.method, f"Adaptation {expected}: {advice}. Consistency: {scores}.")


def _alone(model: Judged, run: Sequence[Validators]) -> Verdict:
    known, reverse = model.validators.supervised_accuracy, model.reverse_accuracy
    best = max(each.supervised_accuracy for each in run)
    against = []
    if not keeps_accuracy(model.validators, best):
        against.append(f"it has lost accuracy on the source ({known:.2f}, at best {best:.2f})")
    if reverse < KEPT * known:
        against.append(f"what it says of the target does not teach the source (reverse accuracy {reverse:.2f})")
    if against:
        return Verdict(None, f"Adaptation may have done harm: {' and '.join(against)}.")
    return Verdict(
        None,
        f"Nothing speaks against the adapted model (reverse accuracy {reverse:.2f}, accuracy on the source "
        f"{known:.2f}), but nothing was trained beside it.",
    )
