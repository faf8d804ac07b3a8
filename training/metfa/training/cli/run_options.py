"""The options of a training run, made from the fields of its configuration, and the run that they describe."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click
from click.core import ParameterSource

from metfa.runtime.bundle.contract import Region, Roi
from metfa.runtime.bundle.location import find_bundle
from metfa.runtime.bundle_parameters import BundleType, allow_download
from metfa.runtime.parameters import NamedType, NameType, NumberRange, RoiType, SectionedOption

from ..config import Augmentation, TrainingConfig, Weights
from ..initial_weights import identify
from ..names import AUTO, AUTO_METHODS
from ..origin import identify_origin
from ..presets import PRESETS
from ..settings import SettableField, choices, settable_fields
from .options import read_options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ..settings import Section, Setting

    Function = TypeVar("Function", bound=Callable[..., Any])


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


def in_section(section: Section, *names: str, **attributes: Any) -> Callable[[Function], Function]:
    """Return a decorator like ``click.option`` whose option ``--help`` lists under a title."""
    return click.option(*names, cls=SectionedOption, section=section, **attributes)


def _from_field(settable: SettableField) -> Callable[[Function], Function]:
    """Return the option of a field of the configuration."""
    setting = settable.setting
    kind: dict[str, Any] = {"type": _type_of(settable.kind, setting), "default": settable.default}
    if settable.kind is bool:
        kind = {"is_flag": True, "default": settable.default}
    text = setting.help
    if settable.kind == Roi:
        kind["default"] = setting.shown
    elif setting.shown is not None:
        kind["default"] = None
        text += f"  [default: {setting.shown}]"
    return in_section(setting.section, setting.option, settable.name, help=text, **kind)


def _type_of(kind: Any, setting: Setting) -> Any:
    if kind == Roi:
        return RoiType()
    if setting.names is not None:
        return NameType(*setting.names)
    if words := choices(kind):
        return click.Choice(words)
    kinds = {each for each in get_args(kind) or (kind,) if each is not type(None)}
    if kinds == {int}:
        low, high = (None if bound is None else int(bound) for bound in (setting.low, setting.high))
        return click.IntRange(low, high)
    if kinds == {float}:
        return NumberRange(setting.low, setting.high, min_open=setting.low_open, max_open=setting.high_open)
    return str


def _method() -> Callable[[Function], Function]:
    """Return ``--method``, which has one more choice than the field."""
    (settable,) = (each for each in settable_fields(TrainingConfig) if each.name == "method")
    setting, names = settable.setting, settable.setting.names
    assert names is not None
    return in_section(
        setting.section,
        setting.option,
        type=NameType(names.group, (*names.own, AUTO)),
        default=settable.default,
        help=f"{setting.help} {AUTO} trains source-only, {', '.join(AUTO_METHODS)}, and takes what a rule "
        "without target labels prefers.",
    )


def _of_section(section: Section) -> Iterator[Callable[[Any], Any]]:
    """Yield the options of a section's fields; that of the method has one more choice, and is made by itself."""
    for settable in settable_fields(TrainingConfig):
        if settable.setting.section == section:
            yield _method() if settable.name == "method" else _from_field(settable)


def together(options: Sequence[Callable[[Any], Any]]) -> Callable[[Function], Function]:
    """Return one decorator in place of several, in the order in which ``--help`` lists them."""

    def decorate(function: Function) -> Function:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


run_options = together(
    [
        in_section(
            "Data",
            "--config",
            type=click.Path(path_type=Path),
            is_eager=True,
            expose_value=False,
            callback=_read_config,
            help="JSON of options and values, as metfa-tune writes it; the command line wins over it.",
        ),
        *_of_section("Data"),
        in_section(
            "Data",
            "--from",
            "origin",
            type=BundleType(as_typed=True),
            help="Adapt the model of this bundle further, without the source's images: what it knows of them stands "
            "for them. In place of --source and of what makes the model.",
        ),
        allow_download(partial(in_section, "Data")),
        *_of_section("Method"),
        in_section(
            "Model",
            "--preset",
            type=click.Choice(list(PRESETS)),
            default="edge",
            help="Encoder, embedding and input size: "
            + ", ".join(
                f"{name} ({of.encoder}, {of.embedding}, {of.height}x{of.width})" for name, of in PRESETS.items()
            )
            + ".",
        ),
        in_section("Model", "--input-size", type=InputSizeType(), help="What the model sees.  [default: the preset's]"),
        *_of_section("Model"),
        in_section(
            "Model",
            "--init",
            "initial",
            type=BundleType(as_typed=True),
            metavar="FILE|DIR|hf://OWNER/NAME@REVISION",
            help="Weights that the encoder begins with: a bundle with the same encoder, or SonoNet16.npz for "
            "sononet16.",
        ),
        *_of_section("Optimisation"),
        *_of_section("Augmentation"),
        *_of_section("Run"),
        in_section("Run", "--device", default=None, help="cpu, cuda or cuda:N.  [default: cuda where there is one]"),
    ]
)
"""What a run is, and on which compute device it is carried out."""


def make_config(
    *,
    preset: str,
    input_size: tuple[int, int] | None,
    initial: str | None,
    origin: str | None,
    method: str,
    **options: Any,
) -> TrainingConfig:
    """Return the run that the values of the options describe.

    Raises:
        MetfaError: initial weights, or the bundle to begin with, cannot be read.
    """
    if options["freeze_encoder"] and initial is None and origin is None:
        raise click.UsageError(
            "expected --init or --from with --freeze-encoder, received neither; name the weights that are to stay, or "
            "leave it out"
        )
    usual = PRESETS[preset]
    height, width = input_size or (usual.height, usual.width)
    methods = AUTO_METHODS if method == AUTO else (method,)
    for name, value in (("encoder", usual.encoder), ("embedding", usual.embedding)):
        if options[name] is None:
            options[name] = value
    groups: dict[str, dict[str, Any]] = {}
    for settable in settable_fields(TrainingConfig):
        if settable.group is not None:
            groups.setdefault(settable.group, {})[settable.name] = options.pop(settable.name)
    begins: dict[str, Any] = {"height": height, "width": width}
    if origin is not None:
        begins = _as_in(origin)
    elif initial is not None:
        begins["initial_weights"] = identify(initial, options["encoder"])
    return TrainingConfig(
        **{
            **options,
            **begins,
            "method": methods[0],
            "rivals": methods[1:],
            "weights": Weights(**groups["weights"]),
            "augmentation": Augmentation(**groups["augmentation"]),
        }
    )


_OF_ORIGIN = ("source", "source_region", "encoder", "embedding", "prototype_temperature")
"""Options that a bundle decides which a run begins with, beside those that make up the model's size."""


def _as_in(path: str) -> dict[str, Any]:
    """Return what a run takes from the bundle that it begins with.

    Raises:
        BundleError, ContractError: the bundle cannot be trained further.
    """
    if context := click.get_current_context(silent=True):
        _require_free(context, path)
    origin, before = identify_origin(path)
    taken = (*_OF_ORIGIN, "height", "width", "initial_weights")
    return {"origin": origin, **{name: getattr(before, name) for name in taken}}


def _require_free(context: click.Context, path: str) -> None:
    """Refuse options that contradict the bundle at ``path``, with which a run begins."""
    for parameter in context.command.params:
        name = parameter.name or ""
        typed = context.get_parameter_source(name) == ParameterSource.COMMANDLINE
        if typed and name in (*_OF_ORIGIN, "preset", "input_size", "initial", "source_first"):
            raise click.UsageError(
                f"expected no {parameter.opts[0]} with --from, received one; its bundle decides that, leave it out"
            )
    written: Path | None = context.params.get("bundle")  # metfa-tune writes none
    if written is not None and written.resolve() == find_bundle(path).resolve():
        raise click.UsageError(
            f"expected a new bundle beside {path}, which stays as it is, received the same; name one with --bundle"
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
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        height, width = value
        return f"{height}x{width}"
    return value
