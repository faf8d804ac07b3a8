"""An extension of Griffe: docstrings as Markdown, and settings with the help that ``--help`` shows."""

from __future__ import annotations

import re
from typing import Any

from griffe import Attribute, Docstring, Extension, Object

from metfa.training.config import Augmentation, TrainingConfig, Weights
from metfa.training.settings import settable_fields

_ROLE = re.compile(r":(?:class|func|meth|mod):`~?\.?([\w.]+)`")
_SETTINGS = {
    f"{configuration.__module__}.{configuration.__name__}.{field.name}": field
    for configuration in (TrainingConfig, Weights, Augmentation)
    for field in settable_fields(configuration)
    if field.group is None
}


class Docstrings(Extension):
    """What MkDocs cannot read in this project's docstrings, and what is not in them."""

    def on_attribute_instance(self, *, attr: Attribute, **_: Any) -> None:
        """Show the default and the help of a setting, in place of the call that makes it a field."""
        if field := _SETTINGS.get(attr.path):
            setting = field.setting
            default = f" Default: {setting.shown}." if setting.shown else ""
            attr.value = repr(field.default)
            attr.docstring = Docstring(f"{setting.help}{default} `{setting.option}`", parent=attr)

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Turn roles of Sphinx into code, and a ``::`` before code into nothing."""
        if obj.docstring:
            text = _ROLE.sub(r"`\1`", obj.docstring.value)
            obj.docstring.value = re.sub(r"(^|(?<=\w))::$", lambda colons: ":" if colons[1] else "", text, flags=re.M)
