"""The stream as Server-Sent Events: what changes, and at its end the pictures that nobody can ask for any more."""

from __future__ import annotations

import asyncio
import base64
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from .board import FRAME_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from .board import Board

_OVERVIEW_SECONDS = 0.25  # between two looks at all sources
_FETCH_SECONDS = 3.0  # that a viewer may take to ask for the best frame of an event that it was told of


async def follow(board: Board, ended: asyncio.Event) -> AsyncGenerator[bytes]:
    """Yield what changes until the stream ends; whoever takes long for it misses what is no longer the newest.

    Args:
        board: what is shown.
        ended: that the board shows the last that there was.
    """
    clock = asyncio.get_running_loop().time
    yield b"retry: 1000\n\n"  # milliseconds, after which to ask again where it ends without ``end``
    messages = [_message("hello", board.greeting())]
    number, event, statistics_at = 0, 0, -1.0
    told_at: dict[int, float] = {}  # of events
    while True:
        is_end = ended.is_set()  # before looking, so that the last frame is not missed
        if board.frame is not None and board.frame["number"] != number:
            number = board.frame["number"]
            messages.append(_message("frame", board.frame))
        for message in board.events_after(event):
            event = message["number"]
            told_at = {each: told for each, told in told_at.items() if clock() - told < _FETCH_SECONDS}
            told_at[event] = clock()
            messages.append(_message("event", message))
        if board.statistics and board.statistics["time"] != statistics_at:
            statistics_at = board.statistics["time"]
            messages.append(_message("statistics", board.statistics))
        if is_end:
            break
        if messages:
            yield b"".join(messages)
        messages = []
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(ended.wait(), FRAME_SECONDS)
    yield b"".join([*messages, _message("end", {})])
    for number, told in told_at.items():
        best = board.best_frame(number)
        if best is not None and clock() - told < _FETCH_SECONDS:
            yield _message("best", {"number": number, "jpeg": base64.b64encode(best).decode()})
    picture = await asyncio.to_thread(board.picture)
    if picture is not None:
        yield _message("picture", {"jpeg": base64.b64encode(picture).decode()})


async def follow_all(boards: Sequence[Board], ended: asyncio.Event) -> AsyncGenerator[bytes]:
    """Yield what the grid shows of each source, until all streams end; as above.

    Args:
        boards: what is shown.
        ended: that the boards show the last that there was.
    """
    yield b"retry: 1000\n\n"
    while True:
        is_end = ended.is_set()
        message = _message("overview", {"sources": [board.overview() for board in boards]})
        if is_end:
            break
        yield message
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(ended.wait(), _OVERVIEW_SECONDS)
    yield message + _message("end", {})


def _message(name: str, data: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()
