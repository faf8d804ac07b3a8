"""A hook of MkDocs: a comment such as ``<!-- metfa-train --help -->`` becomes the help of that command."""

from __future__ import annotations

import html
import importlib
import re
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterable

_COMMENT = re.compile(r"<!-- (metfa(?:-\w+| \w+)) --help -->")


class _Markdown(click.HelpFormatter):
    """Writes what ``--help`` prints as Markdown."""

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        self.write(f"```text\n{prog} {args}\n```\n")

    def write_heading(self, heading: str) -> None:
        self.write(f"### {heading}\n")

    def write_text(self, text: str) -> None:
        self.write(f"{_escaped(text)}\n")

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        for option, text in rows:
            self.write(f"\n`{option}`\n:   {_escaped(text)}\n")


def on_page_markdown(markdown: str, **_: object) -> str:
    """Write the help where a page asks for it."""
    return _COMMENT.sub(lambda comment: _help(comment[1]), markdown)


def _help(name: str) -> str:
    program, _, subcommand = name.partition(" ")
    (script,) = entry_points(group="console_scripts", name=program)
    command: click.Command = importlib.import_module(script.module).main
    if isinstance(command, click.Group):
        command = command.commands[subcommand]
    context = click.Context(command, info_name=name, **command.context_settings)
    context.formatter_class = _Markdown
    return command.get_help(context)


def _escaped(text: str) -> str:
    """Return text without what Markdown would take for marks."""
    return re.sub(r"([*_\[\]`])", r"\\\1", html.escape(text, quote=False))
