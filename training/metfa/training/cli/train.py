"""``metfa-train``: labelled frames of one device and unlabelled frames of another → an adapted bundle."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click
from click.core import ParameterSource

from metfa.runtime.bundle import DEFAULT_DIRECTORY
from metfa.runtime.command import Command, RegionType, require_extra
from metfa.runtime.errors import TrainingError

from ..config import OPTIMISATION, PRESETS, Augmentation, MethodName, TrainingConfig, Weights
from .options import read_options

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


def _read_config(ctx: click.Context, _: click.Parameter, path: Path | None) -> None:
    """Let a file of options stand in for the defaults."""
    if path is not None:
        known = {parameter.opts[-1].removeprefix("--"): parameter.name for parameter in ctx.command.params}
        ctx.default_map = {known[name]: value for name, value in read_options(path, known).items()}


@click.command(cls=Command, context_settings={"show_default": True, "max_content_width": 120})
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    is_eager=True,
    expose_value=False,
    callback=_read_config,
    help="JSON of options and values, as metfa-tune writes it; the command line wins over it.",
)
@click.option(
    "--source", default="phantom:A", help="Labelled domain: a folder of class folders, a manifest, or phantom:NAME."
)
@click.option(
    "--target", default="phantom:B", help="Domain to adapt to; its labels, if any, are used for reporting only."
)
@click.option("--source-roi", type=RegionType(), help="Part of the source's images that holds the ultrasound.")
@click.option("--target-roi", type=RegionType(), help="The same for the target's.")
@click.option("--bundle", type=click.Path(path_type=Path), default=DEFAULT_DIRECTORY, help="Directory to write.")
@click.option(
    "--method",
    type=click.Choice(get_args(MethodName)),
    default="metfa-v",
    help="Row of the paper's tables. fine-tuned and fully-supervised are references that need the target's labels.",
)
@click.option("--preset", type=click.Choice(list(PRESETS)), default="compact", help="Encoder and embedding.")
@click.option("--input-size", type=SizeType(), default="224x288", help="Height and width that the model sees.")
@click.option("--steps", type=click.IntRange(min=1), default=3000, help="Optimisation steps.")
@click.option(
    "--images-per-class", type=click.IntRange(min=2), default=5, help="Labelled images of each class in a batch."
)
@click.option("--learning-rate", type=click.FloatRange(min=0, min_open=True), help="[default: the method's own]")
@click.option("--momentum", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.9)
@click.option("--weight-decay", type=click.FloatRange(min=0), help="[default: the method's own]")
@click.option("--lambda-ce", type=click.FloatRange(min=0), default=PAPER.ce, help="λ₁, cross-entropy on source labels.")
@click.option("--lambda-prior", type=click.FloatRange(min=0), default=PAPER.prior, help="λ₂, prior of the embedding.")
@click.option("--lambda-m", type=click.FloatRange(min=0), default=PAPER.metric, help="λ₃, cross-domain metric.")
@click.option("--lambda-rec", type=click.FloatRange(min=0), default=PAPER.reconstruction, help="λ₄, reconstruction.")
@click.option("--lambda-kl", type=click.FloatRange(min=0), default=PAPER.alignment, help="λ₅, class alignment.")
@click.option("--lambda-h", type=click.FloatRange(min=0), default=PAPER.entropy, help="λ₆, minimax entropy.")
@click.option(
    "--ramp/--no-ramp", default=True, help="Grow λ₃, λ₅ and λ₆ from zero, as pseudo-labels become meaningful."
)
@click.option(
    "--game",
    type=click.Choice(["one-pass", "alternating"]),
    default="one-pass",
    help="Update the prototypes and everything else together, or one after the other at twice the cost.",
)
@click.option(
    "--tau0", type=click.FloatRange(min=0, min_open=True), default=0.05, help="Temperature of the prototypes."
)
@click.option("--tau1", type=click.FloatRange(min=0, min_open=True), default=2.0, help="Temperature of the alignment.")
@click.option("--noise", type=click.FloatRange(min=0), default=0.1, help="σ of the noise on the normalised input.")
@click.option("--flip/--no-flip", default=True, help="Mirror images at random; not where that changes the class.")
@click.option(
    "--extended-augmentation/--paper-augmentation",
    "extended",
    default=False,
    help="Also turn, scale, shift, brighten and blur images a little; not in the paper.",
)
@click.option(
    "--candidates", type=click.IntRange(min=1), default=10, help="Networks kept over the run, to choose one from."
)
@click.option(
    "--select",
    "selection",
    type=click.Choice(["validators", "last"]),
    default="validators",
    help="Take the candidate that the validators prefer, which see no target label, or the last.",
)
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
        config = make_config(**options)
    evaluation = train(config, bundle, find_device(device), resume=resume, overwrite=overwrite)
    if evaluation is None:
        click.echo(f"Interrupted; go on with: metfa-train --resume --bundle {bundle}", err=True)
        sys.exit(INTERRUPTED)
    click.echo(_summary(evaluation, config))
    click.echo(f"Next: metfa-export {bundle} --fp16")


def make_config(
    *,
    source_roi: Region | None,
    target_roi: Region | None,
    preset: str,
    input_size: tuple[int, int],
    learning_rate: float | None,
    weight_decay: float | None,
    lambda_ce: float,
    lambda_prior: float,
    lambda_m: float,
    lambda_rec: float,
    lambda_kl: float,
    lambda_h: float,
    tau0: float,
    tau1: float,
    noise: float,
    flip: bool,
    extended: bool,
    method: MethodName,
    **options: Any,
) -> TrainingConfig:
    """Return the run that the values of the options describe."""
    height, width = input_size
    own = OPTIMISATION[method]
    return TrainingConfig(
        source_region=source_roi,
        target_region=target_roi,
        method=method,
        encoder=PRESETS[preset].encoder,
        embedding=PRESETS[preset].embedding,
        height=height,
        width=width,
        learning_rate=own.learning_rate if learning_rate is None else learning_rate,
        weight_decay=own.weight_decay if weight_decay is None else weight_decay,
        prototype_temperature=tau0,
        alignment_temperature=tau1,
        augmentation=Augmentation(flip=flip, noise=noise, extended=extended),
        weights=Weights(lambda_ce, lambda_prior, lambda_m, lambda_rec, lambda_kl, lambda_h),
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


def find_device(name: str | None) -> torch.device:
    """Return the device called ``name``, or a GPU where there is one.

    Raises:
        TrainingError: there is no such device.
    """
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
    if evaluation.source != evaluation.source_as_exported:
        lines.append(
            f"  (on the source with its own batch-norm statistics; as exported for the target, "
            f"F1 {evaluation.source_as_exported.f1:.3f})"
        )
    lines.append(
        f"  model of step {evaluation.selected_step} of {config.steps}, chosen "
        + ("as the last" if config.selection == "last" else "by validators that see no target label")
    )
    return "\n".join(lines)
