"""How commands take a bundle: one to read, which may be on the Hugging Face Hub, or one to write."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from .bundle.location import find_bundle, is_on_hub
from .parameters import NamedType

if TYPE_CHECKING:
    from collections.abc import Callable

    Function = TypeVar("Function", bound=Callable[..., Any])

_ALLOWED, _ON_HUB = "metfa.allow-download", "metfa.on-hub"
_TO_A_DIRECTORY = "download it with: hf download OWNER/NAME --revision REVISION --local-dir DIR"


class _NamedBundleType(NamedType):
    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Let the shell complete paths."""
        return [CompletionItem(incomplete, type="file")]


class BundleType(_NamedBundleType):
    """A bundle to read: a directory, or one of the Hub → its directory; of the Hub's, that in the cache.

    Args:
        as_typed: whether the value stays as it was typed, which a record names; the bundle is there all the same.
    """

    name = "DIR|hf://OWNER/NAME@REVISION"

    def __init__(self, *, as_typed: bool = False) -> None:
        self._as_typed = as_typed

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path | str:
        """Find the bundle.

        Raises:
            MetfaError: it is of the Hub, and neither in the cache nor to be had.
        """
        if isinstance(value, str) and is_on_hub(value) and ctx and not ctx.resilient_parsing:
            directory = find_bundle(value, allow_download=downloads_allowed(ctx))
            ctx.meta[_ON_HUB] = value
            if not value.endswith(f"@{directory.name}"):
                click.echo(f"bundle: {value} is the commit {directory.name}", err=True)
            return value if self._as_typed else directory
        return str(Path(value)) if self._as_typed else Path(value)


class WrittenBundleType(_NamedBundleType):
    """A bundle to write: a directory."""

    name = "DIR"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Refuse a bundle of the Hub."""
        if isinstance(value, str) and is_on_hub(value):
            self.fail(f"expected a directory to write, received {value}; {_TO_A_DIRECTORY}", param, ctx)
        return Path(value)


def allow_download(option: Callable[..., Any] = click.option) -> Callable[[Function], Function]:
    """Return the decorator of the option without which nothing is downloaded, for commands with :class:`BundleType`.

    Args:
        option: makes an option, such as one of a section.
    """

    def remember(ctx: click.Context, _: click.Parameter, allowed: bool) -> None:  # click passes it so
        ctx.meta[_ALLOWED] = allowed

    decorate: Callable[[Function], Function] = option(
        "--allow-download",
        is_flag=True,
        is_eager=True,  # bundles are found as soon as their options are read
        expose_value=False,
        callback=remember,
        help="Download a bundle of the Hugging Face Hub (hf://…) that is not in its cache.",
    )
    return decorate


def downloads_allowed(ctx: click.Context) -> bool:
    """Return whether ``--allow-download`` was given."""
    return bool(ctx.meta.get(_ALLOWED, False))


def require_directory(ctx: click.Context, **options: object) -> None:
    """Refuse options, by name, that write to a bundle or wait for it to change, where it is one of the Hub."""
    for name, given in options.items():
        if given and _ON_HUB in ctx.meta:
            raise click.UsageError(
                f"expected a directory as the bundle with --{name}, received {ctx.meta[_ON_HUB]}, which stays as it "
                f"is; leave out --{name}, or {_TO_A_DIRECTORY}"
            )
