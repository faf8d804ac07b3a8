"""The files of a page, which lie in the package of its site."""

from __future__ import annotations

from functools import cache
from http import HTTPStatus
from importlib.resources import files
from pathlib import PurePath

from .http import RefusalError, Response

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}


class StaticFiles:
    """Some files of a package, by their names; nothing else can be asked for.

    Args:
        package: the site's.
        names: of the files.
    """

    def __init__(self, package: str, *names: str) -> None:
        self._package = package
        self._names = frozenset(names)

    def answer(self, path: str) -> Response:
        """Return the file of a path.

        Raises:
            RefusalError: there is none.
        """
        name = path.removeprefix("/")
        if name not in self._names:
            raise RefusalError(HTTPStatus.NOT_FOUND, "there is nothing of that name")
        return self.page(name)

    def page(self, name: str) -> Response:
        """Return a file of the package, which need not be among those that can be asked for by name."""
        return Response(_read(self._package, name), _TYPES[PurePath(name).suffix])


@cache
def _read(package: str, name: str) -> bytes:
    return files(package).joinpath(name).read_bytes()
