"""The dashboard of one source, or of several, each with a sink."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from ...web import WebServer, listen
from ..base import Sink
from .board import FRAME_SECONDS
from .routes import answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...frame import Observation, PlaneEvent
    from ...web import Address
    from ...web.http import Request, Response
    from .board import Board


class Dashboard:
    """A page that browsers show: picture, label, events, pace, until its last sink is closed.

    Of several sources, all in a grid, and each on a page of its own.

    Args:
        address: where it is served.
        boards: of the sources.
        token: what viewers must know. None: on a loopback address nothing, on any other a token that is made up.

    Raises:
        OutputError: it cannot be served there, or the token does not fit.

    Attributes:
        url: what to open in a browser, with the token.
        invitation: the same for people; see :class:`~metfa.runtime.web.Access`.
        sinks: of the sources, in the order of their boards.
    """

    def __init__(self, address: Address, boards: Sequence[Board], *, token: str | None = None) -> None:
        listening, access = listen(address, token)
        self.url, self.invitation = access.url, access.invitation
        self._boards = boards
        self._server = WebServer(listening, access, self._answer, run=self._tick)
        self._open = set(boards)
        self.sinks = [DashboardSink(board, self) for board in boards]

    def refuse_to_go_on_broken(self) -> None:
        """Do nothing while the server is well.

        Raises:
            OutputError: it made a mistake.
        """
        self._server.refuse_to_go_on_broken()

    async def _answer(self, request: Request, ended: asyncio.Event) -> Response:
        return await answer(request, self._boards, ended)

    async def _tick(self, closing: asyncio.Event) -> None:
        """Let the boards change as time goes by; at the end they show the last that there was."""
        while not closing.is_set():
            for board in self._boards:
                board.tick()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(closing.wait(), FRAME_SECONDS)
        for board in self._boards:
            board.tick()

    def end(self, board: Board) -> None:
        """Show that a source has ended; after the last, tell the viewers so and let them go."""
        board.end()
        self._open.discard(board)
        if not self._open:
            self._server.close()


class DashboardSink(Sink):
    """A source on a dashboard.

    Args:
        board: of the source.
        dashboard: that shows it.
    """

    name = "dashboard"

    def __init__(self, board: Board, dashboard: Dashboard) -> None:
        self._board = board
        self._dashboard = dashboard

    def write(self, observation: Observation) -> None:
        """Show the observation as soon as it is time.

        Raises:
            OutputError: the server made a mistake.
        """
        self._dashboard.refuse_to_go_on_broken()
        self._board.put(observation)

    def write_event(self, event: PlaneEvent) -> None:
        """Show the event and its best frame.

        Raises:
            OutputError: the server made a mistake.
        """
        self._dashboard.refuse_to_go_on_broken()
        self._board.put_event(event)

    def close(self) -> None:
        """Show that the source has ended."""
        self._dashboard.end(self._board)
