"""Which path is answered with what."""

from __future__ import annotations

import asyncio
import re
from functools import cache
from http import HTTPStatus
from importlib.resources import files
from typing import TYPE_CHECKING

from .events import follow
from .http import TEXT, RefusalError, Response

if TYPE_CHECKING:
    from .access import Access
    from .board import Board
    from .http import Request

_PAGES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}


async def answer(request: Request, access: Access, board: Board, ended: asyncio.Event) -> Response:
    """Return the response to a request of somebody who may look.

    Args:
        request: what is asked for.
        access: who may look.
        board: what is shown.
        ended: that the board shows the last that there was.

    Raises:
        RefusalError: there is nothing of that name.
    """
    path = request.path
    if path == "/" and "token" in request.query and access.token:
        # From the URL, which ends up in histories and pictures of the screen, into a cookie.
        return Response(b"", TEXT, HTTPStatus.SEE_OTHER, {"Location": "./", "Set-Cookie": access.cookie()})
    if path in _PAGES:
        name, content_type = _PAGES[path]
        return Response(_read(name), content_type)
    if path == "/events":
        return Response(follow(board, ended), "text/event-stream")
    if path == "/picture":
        # In a thread: encoding takes milliseconds, in which the other viewers can be served.
        return _jpeg(await asyncio.to_thread(board.picture))
    if path == "/metrics":
        return Response(board.metrics().encode(), "text/plain; version=0.0.4; charset=utf-8")
    if match := re.fullmatch(r"/snapshots/([1-9]\d{0,17})", path):
        return _jpeg(board.best_frame(int(match[1])))
    raise RefusalError(HTTPStatus.NOT_FOUND, "there is nothing of that name")


def _jpeg(picture: bytes | None) -> Response:
    if picture is None:
        return Response(b"there is no such picture\n", TEXT, HTTPStatus.NOT_FOUND)
    return Response(picture, "image/jpeg")


@cache
def _read(name: str) -> bytes:
    return files(__package__).joinpath(name).read_bytes()
