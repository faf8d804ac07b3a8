"""Files of options, in place of a long command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from metfa.runtime.files import reading

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path


def read_options(path: Path, known: Collection[str]) -> dict[str, str]:
    """Return the options in a JSON object such as ``{"steps": 2000, "lambda-h": 3.2}``, as one would type them.

    Args:
        path: the file.
        known: names that may be in it, without dashes in front.

    Raises:
        SourceError: the file cannot be read.
        UsageError: it holds no JSON object, an option that is not known, or a value that no option takes.
    """
    with reading(path):
        text = path.read_bytes()
    try:
        options = json.loads(text)
    except ValueError as cause:
        raise click.UsageError(f"expected JSON in {path}, received text that is not ({cause}); correct it") from None
    if not isinstance(options, dict):
        raise click.UsageError(f"expected a JSON object in {path}, received {type(options).__name__}; correct it")
    for name, value in options.items():
        if name not in known:
            raise click.UsageError(
                f"expected options of this command in {path}, received {name!r}; remove it or correct its name"
            )
        if not isinstance(value, (str, int, float)):  # true and false are integers
            raise click.UsageError(
                f"expected text, a number, true or false for {name} in {path}, received {json.dumps(value)}; correct it"
            )
    return {name: str(value) for name, value in options.items()}
