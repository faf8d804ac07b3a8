"""Which path is answered with what."""

from __future__ import annotations

import asyncio
import re
from http import HTTPStatus
from typing import TYPE_CHECKING

from ...streaming.metrics import to_prometheus
from ...web.http import TEXT, Response
from ...web.static import StaticFiles
from .events import follow, follow_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...web.http import Request
    from .board import Board

_FILES = StaticFiles(__package__, "page.css", "page.js", "grid.js", "common.js")
_OF_A_SOURCE = re.compile(r"/([1-9]\d{0,3})(/.*)")


async def answer(request: Request, boards: Sequence[Board], ended: asyncio.Event) -> Response:
    """Return the response to a request of somebody who may look.

    ========================  ======================================================================
    ``/``                     the page; of several sources the grid, and below ``/1/``, ``/2/``, … what follows
    ``/events``               Server-Sent Events: what changes, to viewers that take it; slow ones get the newest
    ``/picture``              the newest frame as JPEG
    ``/thumbnail``            the same, small
    ``/snapshots/N``          the best frame of event N as JPEG, as long as it is on the page
    ``/overview``             Server-Sent Events of all sources, four times a second; not below ``/1/``
    ``/metrics``              Prometheus text of all sources; likewise
    ========================  ======================================================================

    Nothing waits for a viewer in a queue: each is sent what is the newest when it has taken what came before. When the
    stream ends nothing can be asked for any more: viewers of ``/events`` are sent the last pictures unasked.

    Args:
        request: what is asked for.
        boards: what is shown.
        ended: that the boards show the last that there was.

    Raises:
        RefusalError: there is nothing of that name.
    """
    path = request.path
    if path == "/metrics":
        summaries = {board.about.name: board.summary() for board in boards}
        return Response(to_prometheus(summaries).encode(), "text/plain; version=0.0.4; charset=utf-8")
    if len(boards) == 1:
        return await _of_source(path, boards[0], ended)
    if path == "/":
        return _FILES.page("grid.html")
    if path == "/overview":
        return Response(follow_all(boards, ended), "text/event-stream")
    if (match := _OF_A_SOURCE.fullmatch(path)) and int(match[1]) <= len(boards):
        return await _of_source(match[2], boards[int(match[1]) - 1], ended)
    return _FILES.answer(path)


async def _of_source(path: str, board: Board, ended: asyncio.Event) -> Response:
    if path == "/":
        return _FILES.page("page.html")
    if path == "/events":
        return Response(follow(board, ended), "text/event-stream")
    # Pictures in a thread: encoding takes milliseconds, in which the other viewers can be served.
    if path == "/picture":
        return _jpeg(await asyncio.to_thread(board.picture))
    if path == "/thumbnail":
        return _jpeg(await asyncio.to_thread(board.thumbnail))
    if match := re.fullmatch(r"/snapshots/([1-9]\d{0,17})", path):
        return _jpeg(board.best_frame(int(match[1])))
    return _FILES.answer(path)


def _jpeg(picture: bytes | None) -> Response:
    if picture is None:
        return Response(b"there is no such picture\n", TEXT, HTTPStatus.NOT_FOUND)
    return Response(picture, "image/jpeg")
