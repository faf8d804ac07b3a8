"""Where a bundle is that a user named: a directory, or ``hf://OWNER/NAME@REVISION`` on the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path

HUB = "hf://"


def is_on_hub(named: str) -> bool:
    """Return whether a bundle on the Hub is meant."""
    return named.startswith(HUB)


def find_bundle(named: str, *, allow_download: bool = False) -> Path:
    """Return the directory of a bundle; of one on the Hub, that in the Hub's cache.

    Args:
        named: as a user names it.
        allow_download: whether to download what is not in the cache. Otherwise nobody is asked anything.

    Raises:
        BundleError: a bundle of the Hub is not in the cache, cannot be downloaded, or is damaged.
        MissingExtraError: the extra ``hub`` is needed and not installed.
    """
    if not is_on_hub(named):
        return Path(named)
    from .hub import find_on_hub

    return find_on_hub(named, allow_download=allow_download)
