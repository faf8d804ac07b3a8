"""A hook of MkDocs: what pages link to outside docs/ is on the site, too, so that a link leads there as on GitHub."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
DOCS = "docs/"
OUTSIDE = "repository/"
"""The folder of the site for what is outside docs/; it has the repository's layout."""
NOT_SHOWN = {"__pycache__", "runs"}
"""Folders that git ignores."""

_LINK = re.compile(r"(?<=\]\()([^)\s#:]+)(?=[)#])")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files and folders outside docs/ that pages link to, and what these link to."""
    pages = list(files.documentation_pages())
    while pages:
        page = pages.pop()
        for target in _targets(page):
            added = [file for file in _publish(target, config) if file.src_uri not in files.src_uris]
            for file in added:
                files.append(file)
            pages += [file for file in added if file.is_documentation_page()]
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Have each link lead to where its target is on the site."""
    folder = posixpath.dirname(page.file.src_uri)

    def on_site(link: re.Match[str]) -> str:
        target = _resolve(link[1], page.file)
        return posixpath.relpath(_uri(target), folder) if target else link[1]

    return _LINK.sub(on_site, markdown)


def _targets(page: File) -> Iterator[str]:
    """Yield what a page links to outside docs/, as paths from the repository's root."""
    for link in _LINK.findall(page.content_string):
        target = _resolve(link, page)
        if target and not target.startswith(DOCS):
            yield target


def _resolve(link: str, page: File) -> str | None:
    """Return the path from the repository's root that a link leads to; None where there is nothing."""
    uri = page.src_uri
    source = uri.removeprefix(OUTSIDE) if uri.startswith(OUTSIDE) else DOCS + uri
    target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
    return target if (ROOT / target).exists() else None


def _uri(target: str) -> str:
    """Return where something of the repository is on the site; a folder is a page that lists it."""
    uri = target.removeprefix(DOCS) if target.startswith(DOCS) else OUTSIDE + target
    return f"{uri}/index.md" if (ROOT / target).is_dir() else uri


def _publish(target: str, config: MkDocsConfig) -> Iterator[File]:
    """Yield the file, or the folder's page and its files."""
    path = ROOT / target
    if not path.is_dir():
        yield File.generated(config, _uri(target), abs_src_path=str(path))
        return
    held = sorted(each for each in path.rglob("*") if each.is_file())
    names = [each.relative_to(path) for each in held if not NOT_SHOWN & set(each.relative_to(path).parts)]
    lines = [f"- [`{name.as_posix()}`]({name.as_posix()})" for name in names]
    yield File.generated(config, _uri(target), content="\n".join([f"# {target}", "", *lines, ""]))
    for name in names:
        yield from _publish(f"{target}/{name.as_posix()}", config)
