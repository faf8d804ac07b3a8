"""What a run came to: the record in its bundle, made when all is decided. Target labels, if any, are for this alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .class_shares import ClassShares, ShareEstimates, by_label, estimate_shares, shares_of
from .comparison import JUDGED_FRAMES
from .data.store import UNLABELLED, FrameStore, spread
from .development import ROLES
from .evaluation.model import evaluate, infer
from .evaluation.scores import Scores
from .names import MethodName
from .selection.between import Judged
from .selection.validators import Validators
from .verdict import Verdict, give_verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from lightning_fabric import Fabric
    from numpy.typing import NDArray

    from metfa.runtime.backends import Inference

    from .comparison import Contender
    from .data.pair import DomainPair
    from .methods import Role
    from .model import Network

EVALUATION = "evaluation.json"
"""The file of a bundle that holds its :class:`Evaluation`."""


@dataclass(frozen=True, slots=True)
class CandidateScores:
    """What became of one candidate: for the report, computed after one was chosen.

    Attributes:
        step: after which it was kept.
        validators: what it was judged by; no target label is in them, but of the two references that need them.
        source_f1: macro F1 on held-out source frames; None where there are none.
        target_f1: macro F1 on held-out target frames; None where the target has no labels.
    """

    step: int
    validators: Validators
    source_f1: float | None
    target_f1: float | None


@dataclass(frozen=True, slots=True)
class Compared:
    """A method beside others that were trained on the same data at the same settings.

    Attributes:
        judged: what the rule between methods knows of it.
        selected_step: of the candidate that its own rule chooses.
        target: that candidate's scores on the target's test frames; None where the target has no labels.
    """

    judged: Judged
    selected_step: int
    target: Scores | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Scores on held-out frames of each domain.

    A bundle holds the batch-norm statistics of the domain that it is for: the target's, or the source's where the
    method does not use the target.

    Attributes:
        method: of the model.
        source: with the source's statistics and, where the method trains one, the source's own network; None where the
            source's images are not there.
        source_as_exported: with the bundle's; likewise.
        target: with the bundle's; None where the target has no labels.
        selected_step: of the candidate that became the model.
        candidates: all that were kept, in the order of their steps.
        compared: the methods that were trained, the model's among them, from the simplest to the most complex.
        diverged: of the methods that diverged and so are not compared, what was no longer finite.
        class_shares: how frequent the classes are.
        verdict: whether to expect that adaptation helps; None for a method that does not adapt, or needs target labels.
    """

    method: MethodName
    source: Scores | None
    source_as_exported: Scores | None
    target: Scores | None
    selected_step: int
    candidates: tuple[CandidateScores, ...]
    compared: tuple[Compared, ...]
    diverged: dict[str, str]
    class_shares: ClassShares
    verdict: Verdict | None


def evaluate_run(
    model: Contender,
    contending: Sequence[Contender],
    diverged: dict[str, str],
    pair: DomainPair,
    fabric: Fabric,
) -> Evaluation:
    """Score a run on the frames that were held out for testing, once all is decided.

    Args:
        model: what the bundle will hold.
        contending: all that was trained, the model among them.
        diverged: of the methods that diverged, what was no longer finite.
        pair: the domains.
        fabric: where to compute.
    """
    held_out: dict[Role, FrameStore] = {role: model.training.run.seen(pair.frames(role, "test")) for role in ROLES}
    labelled = held_out["target"].labels[held_out["target"].labels != UNLABELLED]

    def on_target(network: Network) -> Scores | None:
        return evaluate(network, held_out["target"]) if len(labelled) else None

    def on_source(network: Network) -> Scores | None:
        return evaluate(network, held_out["source"]) if len(held_out["source"].frames) else None

    scored = []
    for index, (step, validators) in enumerate(zip(model.training.run.steps, model.validators, strict=True)):
        exported, source = model.networks(index, fabric)
        of_source, target = on_source(source), on_target(exported)
        scored.append(
            CandidateScores(
                step=step,
                validators=validators,
                source_f1=None if of_source is None else of_source.f1,
                target_f1=None if target is None else target.f1,
            )
        )
    exported, source = model.networks(model.selected, fabric)
    target = on_target(exported)
    return Evaluation(
        method=model.method,
        source=on_source(source),
        source_as_exported=on_source(exported),
        target=target,
        selected_step=model.step,
        candidates=tuple(scored),
        compared=tuple(
            Compared(
                each.judged,
                each.step,
                target if each is model else on_target(each.networks(each.selected, fabric)[0]),
            )
            for each in contending
        ),
        diverged=diverged,
        class_shares=_class_shares(model, contending, labelled, pair, fabric),
        verdict=give_verdict([each.judged for each in contending], model.method, model.validators),
    )


def _class_shares(
    model: Contender,
    contending: Sequence[Contender],
    of_target: NDArray[np.int64],
    pair: DomainPair,
    fabric: Fabric,
) -> ClassShares:
    labels, run = pair.labels, model.training.run
    validation = run.seen(pair.frames("source", "val"))

    def estimate(contender: Contender, candidate: int, of_target: Inference) -> ShareEstimates:
        _, source = contender.networks(candidate, fabric)
        of_source = infer(source, validation.frames)
        step = contender.training.run.steps[candidate]
        return estimate_shares(contender.method, step, labels, of_source, validation.labels, of_target)

    after = estimate(model, model.selected, model.on_training)
    unadapted = [each for each in contending if each.method == "adabn"]
    if unadapted:
        before = estimate(unadapted[0], unadapted[0].selected, unadapted[0].on_training)
    else:
        frames = run.trained_on(pair.frames("target", "train")).frames
        said = infer(model.networks(0, fabric)[0], frames[spread(len(frames), JUDGED_FRAMES)])
        before = estimate(model, 0, said)
    return ClassShares(
        source=by_label(labels, pair.source_shares()),
        before=before,
        after=after,
        target=by_label(labels, shares_of(of_target, len(labels))) if len(of_target) else None,
    )
