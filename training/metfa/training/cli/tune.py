"""``metfa-tune``: hyper-parameters for a new scanner, found without labels for it → options for metfa-train."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from metfa.runtime.command import Command, InterruptedCommand, require_extra, say
from metfa.runtime.files import write_text
from metfa.runtime.text import aligned

from .run_options import in_section, make_config, plain_options, run_options

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..tuning.trials import Trial

TUNED = "tuned.json"
BEST = 5
"""Trials in the table at the end."""


@click.command(cls=Command, context_settings={"show_default": True, "max_content_width": 120})
@run_options
@in_section(
    "Run",
    "--study",
    "directory",
    type=click.Path(path_type=Path),
    default=Path("runs/tune"),
    help="Directory of the search; one that was begun goes on.",
)
@in_section(
    "Run",
    "--storage",
    help="URL of the database of the search, for several machines: postgresql://user@host/name.  [default: a file in "
    "--study]",
)
@in_section(
    "Run",
    "--trials",
    type=click.IntRange(min=1),
    default=30,
    help="Training runs of the search, those of earlier calls and of other processes included.",
)
@in_section(
    "Run", "--output", type=click.Path(path_type=Path), help=f"File of options to write.  [default: {TUNED} in --study]"
)
@click.pass_context
def main(
    ctx: click.Context,
    /,
    *,
    directory: Path,
    storage: str | None,
    trials: int,
    output: Path | None,
    device: str | None,
    **options: Any,
) -> None:
    """Search the weights of the method's terms, the learning rate and the size of the embedding, without target labels.

    The search begins at the values of their options; all other options hold for every trial. Several processes with
    the same options share the trials.
    """
    require_extra("tune", "torch", "safetensors", "sklearn", "tqdm", "optuna", "sqlalchemy")
    from ..data.pair import list_pair, read_pair

    config = make_config(**options)
    if config.rivals:
        raise click.UsageError("expected one method to tune, received auto; choose another --method, such as metfa-vi")
    listed = list_pair(config)  # what is misspelt is told before PyTorch is there

    from tqdm import tqdm

    from ..methods import METHODS
    from ..parallel import make_fabric, with_precision
    from ..tuning.study import open_study
    from ..tuning.trials import winner

    if "target" in METHODS[config.method].supervision:
        raise click.UsageError(
            f"expected a method that needs no target labels, received {config.method}; choose another --method"
        )
    config = with_precision(config, device)
    fabric = make_fabric(device, precision=config.precision)
    pair = read_pair(config, listed)
    try:
        with open_study(config, directory, storage) as study:
            finished = study.finished()
            with tqdm(total=trials, initial=len(finished), desc="tuning", unit="trial", disable=None) as bar:
                while len(finished) < trials:
                    trial = study.run_trial(pair, fabric, trials)
                    finished = study.finished()
                    bar.update(len(finished) - bar.n)
                    if trial is not None:
                        with bar.external_write_mode():
                            say([_line(trial, trials)])
            best = winner(finished, adapts=study.adapts)
            say(_summary(finished, best, adapts=study.adapts))
    except KeyboardInterrupt:
        raise InterruptedCommand("the same command goes on") from None
    path = output or directory / TUNED
    tuned = {**plain_options(ctx.command, options), **best.parameters}
    write_text(path, json.dumps(tuned, indent=2, ensure_ascii=False) + "\n")
    say([f"Next: metfa-train --config {path}"])


def _line(trial: Trial, trials: int) -> str:
    """Return what the user is told of a trial when it ends."""
    outcome = trial.ending
    if trial.model is not None:
        judged = trial.model.validators
        outcome = f"AMI {judged.ami:.3f}, accuracy {judged.supervised_accuracy:.3f}, diversity {judged.diversity:.2f}"
    parameters = ", ".join(f"{name} {number:.3g}" for name, number in trial.parameters.items())
    return f"trial {trial.number} of {trials}: {outcome} ({parameters})"


def _summary(trials: Sequence[Trial], best: Trial, *, adapts: bool) -> Iterator[str]:
    """Yield a table of the best trials, and why one of them is chosen."""
    from ..selection.rule import is_sound
    from ..tuning.trials import best_accuracy, models, value

    accuracy = best_accuracy(models(trials))
    ended = [(trial, trial.model.validators) for trial in trials if trial.model is not None]
    ended.sort(key=lambda pair: value(pair[1], accuracy, adapts=adapts), reverse=True)
    rows = [("trial", "AMI", "accuracy", "diversity", *best.parameters)]
    rows += [
        (
            str(trial.number),
            f"{judged.ami:.3f}",
            f"{judged.supervised_accuracy:.3f}",
            f"{judged.diversity:.2f}",
            *(f"{number:.3g}" for number in trial.parameters.values()),
        )
        for trial, judged in ended[:BEST]
    ]
    yield from aligned(rows, indent=2)
    yield f"{len(trials)} trials, {len(ended)} to their end"
    sound = sum(is_sound(judged, accuracy) for _, judged in ended)
    if adapts and sound:
        yield (
            f"chosen: trial {best.number}, the highest AMI among those that keep the accuracy on labelled frames "
            f"(at best {accuracy:.3f}) and have not collapsed, {sound} of {len(ended)}"
        )
    else:
        reason = "all have collapsed or lost accuracy" if adapts else "the method does not adapt to target frames"
        yield f"chosen: trial {best.number}, the highest accuracy on labelled frames, as {reason}"
