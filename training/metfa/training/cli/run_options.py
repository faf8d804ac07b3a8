"""The options that describe a training run, shared by the commands that train, and the run that they describe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args

import click

from metfa.runtime.contract import Region
from metfa.runtime.parameters import NamedType, NumberRange, RoiType

from ..config import (
    AUTO,
    AUTO_METHODS,
    DEFAULTS,
    PAPER_METHODS,
    PRESETS,
    Augmentation,
    EncoderName,
    MethodName,
    TrainingConfig,
    TrainingPrecision,
    Weights,
)
from ..initial_weights import identify
from .options import read_options

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from metfa.runtime.contract import Roi

    Function = TypeVar("Function", bound=Callable[..., Any])

LAMBDA = Weights()


class InputSizeType(NamedType):
    """``HEIGHTxWIDTH`` in pixels → two integers; frames of cameras are ``WIDTHxHEIGHT``."""

    name = "HEIGHTxWIDTH"

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


def _together(*options: Callable[[Function], Function]) -> Callable[[Function], Function]:
    """Return one decorator in place of several, in the order in which ``--help`` lists them."""

    def decorate(function: Function) -> Function:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


domain_options = _together(
    click.option(
        "--config",
        type=click.Path(path_type=Path),
        is_eager=True,
        expose_value=False,
        callback=_read_config,
        help="JSON of options and values, as metfa-tune writes it; the command line wins over it.",
    ),
    click.option(
        "--source",
        default="phantom:A",
        help="Labelled domain: class folders, TABLE.csv?COLUMN=VALUE, fetal-planes-db:DIR, or phantom:NAME.",
    ),
    click.option(
        "--target",
        default="phantom:B",
        help="Domain to adapt to: likewise, or a folder of images, recordings or DICOM files. Its labels, if any, only "
        "score the result.",
    ),
    click.option(
        "--source-roi",
        type=RoiType(),
        default="full",
        help="Part of the source's images that the model sees: auto finds the ultrasound in them.",
    ),
    click.option("--target-roi", type=RoiType(), default="full", help="The same for the target's."),
    click.option("--strict", is_flag=True, help="End where a file of either cannot be used, in place of skipping it."),
)
"""The two domains, and a file of options."""

run_options = _together(
    click.option(
        "--method",
        type=click.Choice((*get_args(MethodName), AUTO)),
        default="metfa-vi",
        help="How to adapt. fine-tuned and fully-supervised are references that need the target's labels. auto trains "
        "source-only, adabn, mcc and metfa-vi, and takes what a rule without target labels prefers.",
    ),
    click.option(
        "--preset", type=click.Choice(list(PRESETS)), default="edge", help="Encoder, embedding and input size."
    ),
    click.option("--encoder", type=click.Choice(get_args(EncoderName)), help="[default: the preset's]"),
    click.option(
        "--init",
        "initial",
        type=click.Path(),
        help="Weights that the encoder begins with: a bundle with the same encoder, or SonoNet16.npz for sononet16.",
    ),
    click.option("--freeze-encoder", is_flag=True, help="Leave those as they are, and train what follows, in seconds."),
    click.option(
        "--embedding", type=click.IntRange(min=1), help="Dimensions of the embedding.  [default: the preset's]"
    ),
    click.option("--input-size", type=InputSizeType(), help="What the model sees.  [default: the preset's]"),
    click.option("--steps", type=click.IntRange(min=1), default=1500, help="Optimisation steps."),
    click.option(
        "--images-per-class",
        type=click.IntRange(min=2),
        help="Labelled images of each class in a batch.  [default: 5, or as many as make up a batch of 30]",
    ),
    click.option("--learning-rate", type=NumberRange(min=0, min_open=True), help="[default: the method's own]"),
    click.option("--momentum", type=NumberRange(0, 1, min_open=True, max_open=True), default=0.9),
    click.option("--weight-decay", type=NumberRange(min=0), help="[default: the method's own]"),
    click.option("--lambda-ce", type=NumberRange(min=0), default=LAMBDA.ce, help="λ₁, cross-entropy on source labels."),
    click.option("--lambda-prior", type=NumberRange(min=0), default=LAMBDA.prior, help="λ₂, prior of the embedding."),
    click.option("--lambda-m", type=NumberRange(min=0), default=LAMBDA.metric, help="λ₃, cross-domain metric."),
    click.option("--lambda-rec", type=NumberRange(min=0), default=LAMBDA.reconstruction, help="λ₄, reconstruction."),
    click.option("--lambda-kl", type=NumberRange(min=0), default=LAMBDA.alignment, help="λ₅, class alignment."),
    click.option(
        "--lambda-h",
        type=NumberRange(min=0),
        help=f"λ₆, minimax entropy.  [default: {LAMBDA.entropy}; 0 with metfa-vi, which has --lambda-mcc]",
    ),
    click.option(
        "--lambda-consistency",
        type=NumberRange(min=0),
        default=LAMBDA.consistency,
        help="Weight of the consistency with the mean teacher (metfa-vi).",
    ),
    click.option(
        "--lambda-mcc",
        type=NumberRange(min=0),
        default=LAMBDA.confusion,
        help="Weight of the minimum class confusion (metfa-vi).",
    ),
    click.option(
        "--confidence",
        type=NumberRange(0, 1),
        default=0.8,
        help="From which on a pseudo-label of the mean teacher counts (metfa-vi).",
    ),
    click.option(
        "--balance/--no-balance",
        default=True,
        help="Draw the target's frames evenly over the classes that the mean teacher gives them (metfa-vi).",
    ),
    click.option(
        "--ramp/--no-ramp", default=True, help="Grow what rests on pseudo-labels from zero, as they become meaningful."
    ),
    click.option(
        "--game",
        type=click.Choice(["one-pass", "alternating"]),
        default="one-pass",
        help="Update the prototypes and everything else together, or one after the other at twice the cost.",
    ),
    click.option("--tau0", type=NumberRange(min=0, min_open=True), default=0.05, help="Temperature of the prototypes."),
    click.option("--tau1", type=NumberRange(min=0, min_open=True), default=2.0, help="Temperature of the alignment."),
    click.option("--noise", type=NumberRange(min=0), default=0.1, help="σ of the noise on the normalised input."),
    click.option("--flip/--no-flip", default=True, help="Mirror images at random; not where that changes the class."),
    click.option(
        "--extended-augmentation/--paper-augmentation",
        "extended",
        default=None,
        help="Also turn, scale, shift, brighten and blur images a little; not in the paper.  [default: the paper's for "
        "its own methods, extended for the others]",
    ),
    click.option(
        "--candidates", type=click.IntRange(min=1), default=10, help="Networks kept over the run, to choose one from."
    ),
    click.option(
        "--select",
        "selection",
        type=click.Choice(["validators", "last"]),
        default="validators",
        help="Take the last candidate that has neither collapsed nor lost the source, or the last.",
    ),
    click.option("--seed", type=click.IntRange(min=0), default=0),
    click.option(
        "--precision",
        type=click.Choice(get_args(TrainingPrecision)),
        default="fp32",
        help="Of the encoder in training: bf16 on a GPU that has it.",
    ),
    click.option(
        "--compile/--no-compile",
        "compiled",
        default=False,
        help="Compile the encoder in the first step, for minutes at most; later ones are faster.",
    ),
    click.option(
        "--threads",
        type=click.IntRange(min=1),
        help="Threads of the CPU that compute.  [default: as many as are fastest when the run begins]",
    ),
    click.option("--device", default=None, help="cpu, cuda or cuda:N.  [default: cuda where there is one]"),
)
"""What is done with them, and on which device."""


def make_config(
    *,
    source_roi: Roi,
    target_roi: Roi,
    preset: str,
    encoder: EncoderName | None,
    initial: str | None,
    freeze_encoder: bool,
    embedding: int | None,
    input_size: tuple[int, int] | None,
    learning_rate: float | None,
    weight_decay: float | None,
    lambda_ce: float,
    lambda_prior: float,
    lambda_m: float,
    lambda_rec: float,
    lambda_kl: float,
    lambda_h: float | None,
    lambda_consistency: float,
    lambda_mcc: float,
    tau0: float,
    tau1: float,
    noise: float,
    flip: bool,
    extended: bool | None,
    method: str,
    **options: Any,
) -> TrainingConfig:
    """Return the run that the values of the options describe."""
    if freeze_encoder and initial is None:
        raise click.UsageError(
            "expected --init with --freeze-encoder, received none; name the weights that are to stay, or leave it out"
        )
    usual = PRESETS[preset]
    encoder = encoder or usual.encoder
    height, width = input_size or (usual.height, usual.width)
    methods = AUTO_METHODS if method == AUTO else (cast("MethodName", method),)
    own = DEFAULTS[methods[0]]
    return TrainingConfig(
        source_region=source_roi,
        target_region=target_roi,
        method=methods[0],
        rivals=methods[1:],
        encoder=encoder,
        embedding=usual.embedding if embedding is None else embedding,
        height=height,
        width=width,
        learning_rate=own.learning_rate if learning_rate is None else learning_rate,
        weight_decay=own.weight_decay if weight_decay is None else weight_decay,
        prototype_temperature=tau0,
        alignment_temperature=tau1,
        augmentation=Augmentation(
            flip=flip, noise=noise, extended=methods[0] not in PAPER_METHODS if extended is None else extended
        ),
        weights=Weights(
            lambda_ce,
            lambda_prior,
            lambda_m,
            lambda_rec,
            lambda_kl,
            own.entropy if lambda_h is None else lambda_h,
            lambda_consistency,
            lambda_mcc,
        ),
        initial_weights=None if initial is None else identify(initial, encoder),
        freeze_encoder=freeze_encoder,
        **options,
    )


def plain_options(command: click.Command, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a command's options as a file of options holds them; those without a value are left out."""
    return {
        parameter.opts[-1].removeprefix("--"): _plain(values[parameter.name])
        for parameter in command.params
        if parameter.name in values and values[parameter.name] is not None
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Region):
        return f"{value.x},{value.y},{value.width},{value.height}"
    if isinstance(value, tuple):
        height, width = value
        return f"{height}x{width}"
    return value
