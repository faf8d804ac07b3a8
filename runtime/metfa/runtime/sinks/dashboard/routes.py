"""Which path is answered with what."""

from __future__ import annotations

import asyncio
import re
from functools import cache
from http import HTTPStatus
from importlib.resources import files
from typing import TYPE_CHECKING

from ...streaming.metrics import to_prometheus
from .events import follow, follow_all
from .http import TEXT, RefusalError, Response

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .access import Access
    from .board import Board
    from .http import Request

_SCRIPT = "text/javascript; charset=utf-8"
_FILES = {
    "page.css": "text/css; charset=utf-8",
    "page.js": _SCRIPT,
    "grid.js": _SCRIPT,
    "common.js": _SCRIPT,
}
_OF_A_SOURCE = re.compile(r"/([1-9]\d{0,3})(/.*)")


async def answer(request: Request, access: Access, boards: Sequence[Board], ended: asyncio.Event) -> Response:
    """Return the response to a request of somebody who may look.

    Args:
        request: what is asked for.
        access: who may look.
        boards: what is shown.
        ended: that the boards show the last that there was.

    Raises:
        RefusalError: there is nothing of that name.
    """
    path = request.path
    if path == "/" and "token" in request.query and access.token:
        # From the URL, which ends up in histories and pictures of the screen, into a cookie.
        return Response(b"", TEXT, HTTPStatus.SEE_OTHER, {"Location": "./", "Set-Cookie": access.cookie()})
    if path == "/metrics":
        summaries = {board.about.name: board.summary() for board in boards}
        return Response(to_prometheus(summaries).encode(), "text/plain; version=0.0.4; charset=utf-8")
    if len(boards) == 1:
        return await _of_source(path, boards[0], ended)
    if path == "/":
        return _page("grid.html")
    if path == "/overview":
        return Response(follow_all(boards, ended), "text/event-stream")
    if (match := _OF_A_SOURCE.fullmatch(path)) and int(match[1]) <= len(boards):
        return await _of_source(match[2], boards[int(match[1]) - 1], ended)
    return _file(path)


async def _of_source(path: str, board: Board, ended: asyncio.Event) -> Response:
    if path == "/":
        return _page("page.html")
    if path == "/events":
        return Response(follow(board, ended), "text/event-stream")
    # Pictures in a thread: encoding takes milliseconds, in which the other viewers can be served.
    if path == "/picture":
        return _jpeg(await asyncio.to_thread(board.picture))
    if path == "/thumbnail":
        return _jpeg(await asyncio.to_thread(board.thumbnail))
    if match := re.fullmatch(r"/snapshots/([1-9]\d{0,17})", path):
        return _jpeg(board.best_frame(int(match[1])))
    return _file(path)


def _page(name: str) -> Response:
    return Response(_read(name), "text/html; charset=utf-8")


def _file(path: str) -> Response:
    if (name := path.removeprefix("/")) in _FILES:
        return Response(_read(name), _FILES[name])
    raise RefusalError(HTTPStatus.NOT_FOUND, "there is nothing of that name")


def _jpeg(picture: bytes | None) -> Response:
    if picture is None:
        return Response(b"there is no such picture\n", TEXT, HTTPStatus.NOT_FOUND)
    return Response(picture, "image/jpeg")


@cache
def _read(name: str) -> bytes:
    return files(__package__).joinpath(name).read_bytes()
