"""``metfa-train``: labelled frames of one scanner and unlabelled frames of another → an adapted bundle."""

from __future__ import annotations

import shlex
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from metfa.runtime.bundle.directory import CHECKPOINT, DEFAULT_DIRECTORY, UNFINISHED
from metfa.runtime.bundle.location import find_bundle
from metfa.runtime.bundle_parameters import WrittenBundleType, downloads_allowed
from metfa.runtime.command import INTERRUPTED, Command, InterruptedCommand, require_extra, say, typed_arguments
from metfa.runtime.errors import DivergenceError, MetfaError

from ..names import defaults_of
from .run_options import in_section, make_config, run_options
from .summary import summarise

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lightning_fabric import Fabric

    from ..config import TrainingConfig
    from ..data.preview import Group
    from ..methods import Role

_LABELS = "--labelled-target"

_RESUMED_OTHERWISE = ("compiled", "threads")
"""What of a run may change when it is resumed."""


@click.command(cls=Command, context_settings={"show_default": True, "max_content_width": 120})
@run_options
@in_section("Run", "--bundle", type=WrittenBundleType(), default=DEFAULT_DIRECTORY, help="Directory to write.")
@in_section(
    "Run",
    "--devices",
    type=click.IntRange(min=1),
    default=1,
    help="Processes that train together: one for each GPU, or for its share of the CPU's cores.",
)
@in_section(
    "Run",
    "--compare",
    is_flag=True,
    help="Also train on the source alone, and score source-only and adabn beside the adapted model.",
)
@in_section(
    "Run",
    "--tensorboard",
    is_flag=True,
    help="Also write event files into the bundle, for: tensorboard --logdir BUNDLE.",
)
@in_section("Run", "--resume", is_flag=True, help="Go on with the unfinished run in the bundle; its own options apply.")
@in_section("Run", "--overwrite", is_flag=True, help="Replace what is in the bundle.")
@in_section(
    "Run",
    "--preview",
    type=click.Path(path_type=Path),
    metavar="SHEET.png",
    help="Draw what the model would see, and stop before training: of the domain that is named, or of both.",
)
@click.pass_context
def main(
    ctx: click.Context,
    /,
    *,
    bundle: Path,
    device: str | None,
    devices: int,
    compare: bool,
    tensorboard: bool,
    resume: bool,
    overwrite: bool,
    preview: Path | None,
    **options: Any,
) -> None:
    """Adapt an ultrasound plane classifier to a new scanner, without labels for it.

    With no arguments, from the phantom's scanner A to its scanner B.
    """
    require_extra("train", "torch", "lightning_fabric", "safetensors", "sklearn", "tqdm")
    if tensorboard:
        require_extra("tensorboard", "tensorboard")
    from ..data.pair import list_pair

    begun = None if resume else make_config(**options)
    if begun and preview:
        say(_preview(begun, _previewed_roles(ctx, begun), preview))
        return
    listed = list_pair(begun) if begun else None  # what is misspelt is told before PyTorch is there

    from ..data.report import describe
    from ..parallel import make_fabric, with_precision
    from ..run import train
    from ..verdict import WITHOUT_ADAPTATION

    config = begun or _unfinished(ctx, bundle, options)
    if compare and config.rivals:
        raise click.UsageError("expected --compare with one method, received auto, which compares all; leave it out")
    if compare and config.method in WITHOUT_ADAPTATION:
        raise click.UsageError(
            f"expected --compare with a method that adapts, received {config.method}, which is what is compared with; "
            "leave it out"
        )
    fabric = make_fabric(device, devices, (config := with_precision(config, device)).precision)
    again = _how_to_resume(bundle, compare=compare, tensorboard=tensorboard)
    with _launched(fabric), _interruptible(bundle, again), _divergent(config, resume=resume):
        if config.compiled and fabric.is_global_zero:
            say(["The first step compiles the encoder: a minute or two, or seconds where it was done before"])
        evaluation = train(
            config,
            bundle,
            fabric,
            listed=listed,
            resume=resume,
            overwrite=overwrite,
            compare=compare,
            tensorboard=tensorboard,
            on_data=lambda pair: say(describe(pair)),
        )
    if not fabric.is_global_zero:
        return
    if evaluation is None:
        raise _interrupted(bundle, again)
    say(summarise(evaluation, config, bundle))
    if not compare and config.method not in WITHOUT_ADAPTATION:
        say(_how_to_compare(bundle, config, resume=resume))
    say([f"Next: metfa-export {bundle} --fp16"])


@contextmanager
def _launched(fabric: Fabric) -> Iterator[None]:
    """Let the first of several processes alone say what went wrong; the others end with it."""
    from ..parallel import launched

    try:
        with launched(fabric):
            yield
    except (MetfaError, RuntimeError, InterruptedCommand) as cause:  # RuntimeError where another process has gone
        if fabric.is_global_zero:
            raise
        sys.exit(INTERRUPTED if isinstance(cause, InterruptedCommand) else 1)


@contextmanager
def _interruptible(bundle: Path, again: str) -> Iterator[None]:
    """Tell how to go on where Ctrl-C or SIGTERM ends what cannot end between two steps, such as decoding."""
    try:
        yield
    except KeyboardInterrupt:
        raise _interrupted(bundle, again) from None


@contextmanager
def _divergent(config: TrainingConfig, *, resume: bool) -> Iterator[None]:
    """Tell how to begin anew where a run diverges: more slowly, and no faster than is usual for the method."""
    try:
        yield
    except DivergenceError as cause:
        usual = defaults_of(
            config.method, frozen=config.freeze_encoder, source_free=config.origin is not None
        ).learning_rate
        slower = f"--learning-rate {usual if config.learning_rate > usual else config.learning_rate / 3:.1g}"
        anew = (
            f"its own command and {slower}"
            if resume
            else f"metfa-train {shlex.join([*_without('--learning-rate', typed_arguments()), *slower.split()])}"
        )
        raise DivergenceError(
            expected=cause.expected,
            received=cause.received,
            remedy=f"{cause.remedy}; nothing of the run is kept, begin anew with: {anew}",
        ) from None


def _without(option: str, arguments: Sequence[str]) -> Iterator[str]:
    """Yield the arguments but an option and its value."""
    remaining = iter(arguments)
    for argument in remaining:
        if argument == option:
            next(remaining)
        elif not argument.startswith(f"{option}="):
            yield argument


def _how_to_resume(bundle: Path, *, compare: bool, tensorboard: bool) -> str:
    """Return the command that goes on with a run."""
    given = [option for option, on in (("--compare", compare), ("--tensorboard", tensorboard)) if on]
    return shlex.join(["metfa-train", "--resume", "--bundle", str(bundle), *given])


def _interrupted(bundle: Path, again: str) -> InterruptedCommand:
    if (bundle / UNFINISHED / CHECKPOINT).exists():
        return InterruptedCommand(f"go on with: {again}")
    return InterruptedCommand("nothing was saved yet, the same command begins anew")


def _previewed_roles(ctx: click.Context, config: TrainingConfig) -> tuple[Role, ...]:
    """Return whether a source or a target was named; both where neither was. A bundle has no images to draw."""
    if config.origin:
        return ("target",)
    roles: tuple[Role, ...] = ("source", "target")
    named = tuple(role for role in roles if ctx.get_parameter_source(role) != ParameterSource.DEFAULT)
    return named or roles


def _preview(config: TrainingConfig, roles: Sequence[Role], path: Path) -> Iterator[str]:
    """Draw domains, which need not be fit to be trained on, and yield what there is to say."""
    from ..data.decoding import Preparation
    from ..data.prepared import read_domain
    from ..data.preview import sample_groups, write_sheet
    from ..data.readers import list_domain

    settings = {"source": (config.source, config.source_region), "target": (config.target, config.target_region)}
    listings = {role: list_domain(settings[role][0]) for role in roles}  # what is misspelt is told first
    groups: list[Group] = []
    for role, listing in listings.items():
        preparation = Preparation(config.height, config.width, settings[role][1])
        domain = read_domain(listing, preparation, strict=config.strict)
        groups += sample_groups(role, domain)
        if domain.skipped:
            first = domain.skipped[0]
            yield f"{role} {listing.name}: skipped {len(domain.skipped)}, such as {first.name}: {first.reason}"
    write_sheet(path, groups, height=config.height, width=config.width)
    missing = "".join(f" and with --{role}" for role in settings if role not in listings and not config.origin)
    yield f"Wrote {path}. Where the frames hold the ultrasound, train: the same command without --preview{missing}."


def _unfinished(ctx: click.Context, bundle: Path, options: dict[str, Any]) -> TrainingConfig:
    """Return the configuration of the run that goes on."""
    from ..fit import read_config

    _refuse_options(ctx)
    config = read_config(bundle / UNFINISHED)
    for begun_with in (config.origin, config.initial_weights):
        if begun_with is not None:
            find_bundle(begun_with.path, allow_download=downloads_allowed(ctx))
    for name in _RESUMED_OTHERWISE:
        if ctx.get_parameter_source(name) == ParameterSource.COMMANDLINE:
            config = replace(config, **{name: options[name]})
    return config


def _refuse_options(ctx: click.Context) -> None:
    """Refuse options that a resumed run would not heed."""
    heeded = {"allow_download", "bundle", "compare", "device", "devices", "resume", "tensorboard", *_RESUMED_OTHERWISE}
    for parameter in ctx.command.params:
        name = parameter.name or ""
        if name not in heeded and ctx.get_parameter_source(name) == ParameterSource.COMMANDLINE:
            raise click.UsageError(
                "expected only --bundle, --device, --devices, --threads, --compile, --compare, --tensorboard and "
                "--allow-download beside --resume, which goes on as the run was begun; received "
                f"{parameter.opts[0]}; leave it out"
            )


def _how_to_compare(bundle: Path, config: TrainingConfig, *, resume: bool) -> Iterator[str]:
    """Yield how to train without adaptation beside a model that has adapted, and without the target's labels."""
    augmentation = "--extended-augmentation" if config.augmentation.extended else "--paper-augmentation"
    without = "adabn" if config.origin else "source-only"
    of_baseline = ["--method", without, augmentation, "--bundle", f"{bundle}-{without}"]
    labels = () if config.labelled_target is None else (_LABELS,)
    command = _same_without(("--method", *labels), of_baseline, resume=resume)
    yield f"What did adaptation bring? The same without it: {command} (or train with --compare, which prints both)"
    if labels:
        command = _same_without(labels, ["--bundle", f"{bundle}-without-labels"], resume=resume)
        yield f"What did the labels of the target bring? The same without them: {command}"


def _same_without(options: Sequence[str], instead: Sequence[str], *, resume: bool) -> str:
    """Return the command that was typed, without some options and the bundle, and with others."""
    if resume:
        return f"its own command and {shlex.join(instead)}" + (f", without {_LABELS}" if _LABELS in options else "")
    typed = list(typed_arguments())
    for option in (*options, "--bundle"):
        typed = list(_without(option, typed))
    return shlex.join(["metfa-train", *(each for each in typed if each not in ("--overwrite", *instead)), *instead])
