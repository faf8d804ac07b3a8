"""What ``metfa-train`` says of a run that has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metfa.runtime.bundle.directory import Bundle
from metfa.runtime.text import aligned, printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from ..ancestry import Origin
    from ..class_shares import ClassShares
    from ..config import TrainingConfig
    from ..evaluation.scores import Scores
    from ..outcome import Evaluation


def summarise(evaluation: Evaluation, config: TrainingConfig, bundle: Path) -> list[str]:
    """Return what there is to say of a run that has ended, line by line; its bundle is written."""
    from metfa.runtime.decisions.decider import why_nothing_is_shown

    from ..methods import METHODS
    from ..metrics import read_metrics
    from ..warnings import doubtful_scores, exploded_terms

    lines = [f"{evaluation.method}: macro scores on held-out frames"]
    for role, name, scores in (
        ("source", config.source, evaluation.source),
        ("target", config.target, evaluation.target),
    ):
        if scores is None:
            lines.append(f"  {role} {name}: no {'images' if role == 'source' else 'labels'}, no scores")
        else:
            lines.append(f"  {role} {name}: {_scores(scores)} on {scores.images} frames")
    if evaluation.source_as_exported and evaluation.source != evaluation.source_as_exported:
        lines.append(
            f"  source as exported, with the target's batch-norm statistics: {_scores(evaluation.source_as_exported)}"
        )
    lines += _comparison(evaluation)
    lines += _class_shares(evaluation.class_shares)
    lines.append(
        f"  model of step {evaluation.selected_step} of {config.steps}, chosen " + _how_chosen(evaluation, config)
    )
    if evaluation.verdict is not None:
        lines.append(evaluation.verdict.reason)
    if config.origin is not None:
        lines.append(_keep_both(config.origin))
    if "target" not in METHODS[config.method].supervision:  # the references are not for the source
        lines += doubtful_scores(evaluation)
    lines += exploded_terms(read_metrics(bundle))
    if doubt := why_nothing_is_shown(Bundle.open(bundle).contract.decision):
        lines.append(f"{doubt}: raise --steps, or lower that on the stream with --enter")
    return lines


def _keep_both(origin: Origin) -> str:
    last = origin.chain[-1]
    return (
        f"One bundle for each scanner: keep {origin.path} for {last.target or last.source}, "
        "whose images this model is likely to label worse"
    )


def _how_chosen(evaluation: Evaluation, config: TrainingConfig) -> str:
    from ..development import adapts
    from ..methods import METHODS
    from ..selection.rule import sound_ones

    if config.selection == "last":
        return "as the last"
    if adapts(METHODS[evaluation.method]) and not sound_ones([each.validators for each in evaluation.candidates]):
        return "by the accuracy on the source alone, as all candidates name too few classes or have lost accuracy"
    return "by validators that see no target label"


def _scores(scores: Scores) -> str:
    return (
        f"F1 {scores.f1:.3f}, recall {scores.recall:.3f}, precision {scores.precision:.3f}, "
        f"accuracy {scores.accuracy:.3f}"
    )


def _comparison(evaluation: Evaluation) -> Iterator[str]:
    """Yield what each method comes to, line below line; nothing where there is only one."""
    for method, reason in evaluation.diverged.items():
        yield f"  {method} diverged ({reason}) and is left out"
    if len(evaluation.compared) < 2:
        return
    width = max(len(each.judged.method) for each in evaluation.compared)
    if evaluation.target is not None:
        yield f"  compared on the same {evaluation.target.images} held-out frames of the target:"
        for each in evaluation.compared:
            if each.target is not None:
                yield f"    {each.judged.method:{width}}  {_scores(each.target)}"
    yield "  compared without labels of the target:"
    for each in evaluation.compared:
        judged = each.judged
        yield (
            f"    {judged.method:{width}}  consistency {judged.consistency:.3f}, reverse accuracy "
            f"{judged.reverse_accuracy:.3f}, agreement (AMI) {judged.validators.ami:.3f}, diversity "
            f"{judged.validators.diversity:.3f}"
        )


def _class_shares(shares: ClassShares) -> Iterator[str]:
    """Yield how frequent the classes are, a column each."""
    estimates = (shares.before,) if shares.after == shares.before else (shares.before, shares.after)
    rows = [
        ("", *map(printable, shares.source)),
        ("source, by its labels", *_percent(shares.source)),
        *(
            (f"target, by {each.method} of step {each.step}, {name}", *_percent(estimated))
            for each in estimates
            for name, estimated in (("BBSE", each.bbse), ("MLLS", each.mlls))
        ),
    ]
    if shares.target is not None:
        rows.append(("target's test frames, by their labels", *_percent(shares.target)))
    yield "  how frequent the classes are:"
    yield from aligned(rows, indent=4)


def _percent(shares: Mapping[str, float]) -> Iterator[str]:
    return (f"{share:.0%}" for share in shares.values())
