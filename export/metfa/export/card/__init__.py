"""The model card of a bundle: what its own records say of it, for whoever decides whether to use it.

Headings follow Mitchell et al., Model Cards for Model Reporting (2019). What was not recorded is shown as not recorded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from metfa.runtime.bundle.directory import CARD, CARD_PAGE, updating
from metfa.training.curves.picture import CURVES

from .metadata import front_matter
from .page import to_page
from .sections import SECTIONS, title

if TYPE_CHECKING:
    from metfa.runtime.bundle.directory import Bundle


def write_card(bundle: Bundle) -> None:
    """Write ``MODEL_CARD.md`` and ``MODEL_CARD.html`` into a bundle; the first has the Hub's metadata above it.

    Raises:
        BundleError: a file of the bundle is damaged.
        OutputError: the bundle cannot be written.
    """
    heading = title(bundle)
    blocks = [f"# {heading}"]
    for name, describe in SECTIONS.items():
        blocks += [f"## {name}", *describe(bundle)]
    text = "\n\n".join(blocks) + "\n"
    pictures = {CURVES: bundle.read(CURVES)} if CURVES in bundle.files else {}
    with updating(bundle.directory, keep=lambda _: True) as stage:
        (stage / CARD).write_text(f"{front_matter(bundle)}\n\n{text}", encoding="utf-8", newline="\n")
        (stage / CARD_PAGE).write_text(to_page(heading, text, pictures), encoding="utf-8", newline="\n")
