"""``metfa-train``: labelled frames of one device and unlabelled frames of another → an adapted bundle."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click
from click.core import ParameterSource

from metfa.runtime.bundle import DEFAULT_DIRECTORY
from metfa.runtime.command import Command, RegionType, require_extra
from metfa.runtime.errors import TrainingError

from ..config import EMBEDDINGS, MethodName, TrainingConfig, Weights

if TYPE_CHECKING:
    import torch

    from metfa.runtime.contract import Region

    from ..train import Evaluation

PAPER = Weights()
INTERRUPTED = 130


class SizeType(click.ParamType):  # type: ignore[type-arg]  # not generic before click 8.4
    """``HEIGHTxWIDTH`` in pixels → two integers."""

    name = "HxW"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Parse ``value``."""
        height, _, width = str(value).partition("x")
        if not (height.isdecimal() and width.isdecimal() and min(int(height), int(width)) >= 28):
            self.fail(
                f"expected HEIGHTxWIDTH of at least 28x28, received {value!r}; give for example 224x288", param, ctx
            )
        return int(height), int(width)


@click.command(cls=Command, context_settings={"show_default": True, "max_content_width": 120})
@click.option("--source", default="phantom:A", help="Labelled domain: a folder of class folders, or phantom:NAME.")
@click.option(
    "--target", default="phantom:B", help="Domain to adapt to; its labels, if any, are used for reporting only."
)
@click.option("--source-roi", type=RegionType(), help="Part of the source's images that holds the ultrasound.")
@click.option("--target-roi", type=RegionType(), help="The same for the target's.")
@click.option("--bundle", type=click.Path(path_type=Path), default=DEFAULT_DIRECTORY, help="Directory to write.")
@click.option("--method", type=click.Choice(get_args(MethodName)), default="metfa-v", help="Row of the paper's tables.")
@click.option("--preset", type=click.Choice(list(EMBEDDINGS)), default="compact", help="Size of the embedding.")
@click.option("--input-size", type=SizeType(), default="224x288", help="Height and width that the model sees.")
@click.option("--steps", type=click.IntRange(min=1), default=3000, help="Optimisation steps.")
@click.option(
    "--images-per-class", type=click.IntRange(min=2), default=5, help="Labelled images of each class in a batch."
)
@click.option("--learning-rate", type=click.FloatRange(min=0, min_open=True), default=1e-3)
@click.option("--momentum", type=click.FloatRange(0, 1, max_open=True), default=0.9)
@click.option("--weight-decay", type=click.FloatRange(min=0), default=1e-5)
@click.option("--lambda-ce", type=click.FloatRange(min=0), default=PAPER.ce, help="λ₁, cross-entropy on source labels.")
@click.option("--lambda-prior", type=click.FloatRange(min=0), default=PAPER.prior, help="λ₂, prior of the embedding.")
@click.option("--lambda-metric", type=click.FloatRange(min=0), default=PAPER.metric, help="λ₃, cross-domain metric.")
@click.option("--lambda-reconstruction", type=click.FloatRange(min=0), default=PAPER.reconstruction, help="λ₄.")
@click.option("--lambda-alignment", type=click.FloatRange(min=0), default=PAPER.alignment, help="λ₅, class alignment.")
@click.option("--lambda-entropy", type=click.FloatRange(min=0), default=PAPER.entropy, help="λ₆, minimax entropy.")
@click.option(
    "--ramp/--no-ramp", default=True, help="Grow λ₃, λ₅ and λ₆ from zero, as pseudo-labels become meaningful."
)
@click.option(
    "--tau0", type=click.FloatRange(min=0, min_open=True), default=0.05, help="Temperature of the prototypes."
)
@click.option("--tau1", type=click.FloatRange(min=0, min_open=True), default=2.0, help="Temperature of the alignment.")
@click.option("--noise", type=click.FloatRange(min=0), default=0.1, help="σ of the noise on the normalised input.")
@click.option("--flip/--no-flip", default=True, help="Mirror images at random.")
@click.option("--seed", type=click.IntRange(min=0), default=0)
@click.option("--device", default=None, help="cpu, cuda or cuda:N.  [default: cuda where there is one]")
@click.option("--resume", is_flag=True, help="Go on with the unfinished run in the bundle; its own options apply.")
@click.option("--overwrite", is_flag=True, help="Replace what is in the bundle.")
@click.pass_context
def main(
    ctx: click.Context, /, *, bundle: Path, device: str | None, resume: bool, overwrite: bool, **options: Any
) -> None:
    """Adapt an ultrasound plane classifier to a new device, without labels for it.

    With no arguments, from the phantom's device A to its device B.
    """
    require_extra("train", "torch", "safetensors", "sklearn", "tqdm")
    from ..fit import UNFINISHED, read_config
    from ..train import train

    if resume:
        _refuse_options(ctx)
        config = read_config(bundle / UNFINISHED)
    else:
        config = _config(**options)
    evaluation = train(config, bundle, _device(device), resume=resume, overwrite=overwrite)
    if evaluation is None:
        click.echo(f"Interrupted; go on with: metfa-train --resume --bundle {bundle}", err=True)
        sys.exit(INTERRUPTED)
    click.echo(_summary(evaluation, config))
    click.echo(f"Next: metfa-export {bundle} --fp16")


def _config(
    *,
    source_roi: Region | None,
    target_roi: Region | None,
    preset: str,
    input_size: tuple[int, int],
    tau0: float,
    tau1: float,
    **options: Any,
) -> TrainingConfig:
    weights = {field.name: options.pop(f"lambda_{field.name}") for field in fields(Weights)}
    height, width = input_size
    return TrainingConfig(
        source_region=source_roi,
        target_region=target_roi,
        embedding=EMBEDDINGS[preset],
        height=height,
        width=width,
        prototype_temperature=tau0,
        alignment_temperature=tau1,
        weights=Weights(**weights),
        **options,
    )


def _refuse_options(ctx: click.Context) -> None:
    """Refuse options that a resumed run would not heed."""
    heeded = {"bundle", "device", "resume"}
    for parameter in ctx.command.params:
        name = parameter.name or ""
        if name not in heeded and ctx.get_parameter_source(name) == ParameterSource.COMMANDLINE:
            raise click.UsageError(
                f"expected only --bundle and --device beside --resume, which goes on as the run was begun; "
                f"received {parameter.opts[0]}; leave it out"
            )


def _device(name: str | None) -> torch.device:
    import torch

    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as cause:
        raise TrainingError(
            expected=f"the device {name}", received=str(cause).splitlines()[0], remedy="use --device cpu"
        ) from None
    return device


def _summary(evaluation: Evaluation, config: TrainingConfig) -> str:
    lines = [f"{config.method}: macro scores on held-out frames"]
    for role, name, scores in (
        ("source", config.source, evaluation.source),
        ("target", config.target, evaluation.target),
    ):
        if scores is None:
            lines.append(f"  {role} {name}: no labels, no scores")
        else:
            lines.append(
                f"  {role} {name}: F1 {scores.f1:.3f}, recall {scores.recall:.3f}, "
                f"precision {scores.precision:.3f} on {scores.images} frames"
            )
    if config.method != "source-only":
        lines.append(
            f"  (on the source with its own batch-norm statistics; with the target's, as exported, "
            f"F1 {evaluation.source_as_exported.f1:.3f})"
        )
    return "\n".join(lines)
