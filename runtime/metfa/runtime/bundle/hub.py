"""Bundles on the Hugging Face Hub, through its cache: whoever downloads one has said so, and its hashes are checked.

Of a repository, only what the bundle's manifest names is taken.
"""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..command import require_extra
from ..errors import BundleError
from .directory import MANIFEST, Bundle, read_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAMED = re.compile(r"hf://(?P<repository>[\w.-]+/[\w.-]+)@(?P<revision>\w[\w./-]*)", re.ASCII)


class HubBundle(NamedTuple):
    """What ``hf://OWNER/NAME@REVISION`` means.

    Attributes:
        repository: ``OWNER/NAME``.
        revision: a commit's hash, a tag or a branch.
    """

    repository: str
    revision: str

    @classmethod
    def parse(cls, named: str) -> HubBundle:
        """Take a name apart.

        Raises:
            BundleError: it is of another form. Without a revision, it would mean another bundle every time that its
                owner changes it.
        """
        parts = _NAMED.fullmatch(named)
        if parts is None or ".." in named:
            raise BundleError(
                expected="a bundle of the Hub as hf://OWNER/NAME@REVISION",
                received=named,
                remedy="name a commit's hash or a tag, which the Hub lists under Files and versions",
            )
        return cls(**parts.groupdict())

    @property
    def download_command(self) -> str:
        """Return the command of the Hub's own program that downloads it."""
        return f"hf download {self.repository} --revision {self.revision}"


def find_on_hub(named: str, *, allow_download: bool) -> Path:
    """Return the directory in the Hub's cache that holds a bundle, all of whose files are those of its manifest.

    The name of the directory is the hash of the commit.

    Args:
        named: ``hf://OWNER/NAME@REVISION``.
        allow_download: whether to download what is not in the cache.

    Raises:
        BundleError: it is not in the cache, cannot be downloaded, or is damaged.
        ContractError: its contract is of another version or invalid.
        MissingExtraError: huggingface_hub is not installed.
    """
    wanted = HubBundle.parse(named)
    require_extra("hub", "huggingface_hub")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # or the library tells and asks more than a download needs
    find = _download if allow_download else _find_cached
    directory = find(wanted, MANIFEST).parent
    commit = wanted._replace(revision=directory.name)
    with _blaming(commit, directory):
        names = read_manifest(directory)
    for name in names:
        find(commit, name)
    with _blaming(commit, directory):
        bundle = Bundle.open(directory)
        for name in names:
            bundle.read(name)
    return directory


@contextmanager
def _blaming(commit: HubBundle, directory: Path) -> Iterator[None]:
    """Say what to do about a bundle that is damaged, in the cache or before: nobody here has made it."""
    held = directory.parents[1]  # of the repository, with the files that the directory links to
    try:
        yield
    except BundleError as damage:
        raise BundleError(
            expected=damage.expected,
            received=damage.received,
            remedy=f"delete {held} and download it again; if it stays so, tell the owner of {commit.repository}",
        ) from None


def _find_cached(wanted: HubBundle, name: str) -> Path:
    """Return where a file is in the cache; nothing but the disk is asked."""
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(wanted.repository, name, revision=wanted.revision)
    if isinstance(path, str):
        return Path(path)
    raise BundleError(
        expected=f"{name} of {wanted.repository} at {wanted.revision} in the cache of the Hub",
        received="no such file",
        remedy=f"add --allow-download to download it, or run: {wanted.download_command}",
    )


def _download(wanted: HubBundle, name: str) -> Path:
    """Return where a file is in the cache, downloaded if it was not there."""
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(wanted.repository, name, revision=wanted.revision, library_name="metfa"))
    except Exception as cause:  # whatever its HTTP client, the operating system or the Hub's state come up with
        received, remedy = _explain(cause, wanted, name)
    raise BundleError(
        expected=f"{name} of {wanted.repository} at {wanted.revision} on the Hub", received=received, remedy=remedy
    )


def _explain(cause: Exception, wanted: HubBundle, name: str) -> tuple[str, str]:
    """Return what came in place of a file, and what to do."""
    from huggingface_hub import errors

    if isinstance(cause, errors.RevisionNotFoundError):
        return "no such revision", "name a commit's hash or a tag that is there"
    if isinstance(cause, errors.RepositoryNotFoundError):  # that is private, or is not there: the Hub does not tell
        return "no repository that you may read", "correct its name, or log in with: hf auth login"
    if isinstance(cause, errors.EntryNotFoundError) and not isinstance(cause, errors.LocalEntryNotFoundError):
        remedy = "name a repository that holds a bundle" if name == MANIFEST else "tell its owner"
        return "a repository without it", remedy
    return _first_line(cause), f"try again, or see what this says: {wanted.download_command}"


def _first_line(cause: Exception) -> str:
    """Return what the root of an error says."""
    while isinstance(cause.__cause__, Exception):
        cause = cause.__cause__
    return next(iter(str(cause).splitlines()), "") or type(cause).__name__
