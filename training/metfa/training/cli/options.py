"""Files of options, in place of a long command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from metfa.runtime.files import reading

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path


def read_options(path: Path, known: Collection[str]) -> dict[str, Any]:
    """Return the options in a JSON object such as ``{"steps": 2000, "lambda-h": 3.2}``.

    Args:
        path: the file.
        known: names that may be in it, without dashes in front.

    Raises:
        SourceError: the file cannot be read.
        UsageError: it holds no JSON object, or an option that is not known.
    """
    with reading(path):
        text = path.read_bytes()
    try:
        options = json.loads(text)
    except ValueError as cause:
        raise click.UsageError(f"expected JSON in {path}, received text that is not ({cause}); correct it") from None
    if not isinstance(options, dict):
        raise click.UsageError(f"expected a JSON object in {path}, received {type(options).__name__}; correct it")
    for name in options:
        if name not in known:
            raise click.UsageError(
                f"expected options of this command in {path}, received {name!r}; remove it or correct its name"
            )
    return options
