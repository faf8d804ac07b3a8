"""The dashboard of one source, or of several, each with a sink."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import OutputError
from ..base import Sink
from .access import Access
from .server import DashboardServer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...frame import Observation, PlaneEvent
    from .access import Address
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
        sinks: of the sources, in the order of their boards.
    """

    def __init__(self, address: Address, boards: Sequence[Board], *, token: str | None = None) -> None:
        listening = address.listen()
        try:
            access = Access(listening, token)
        except OutputError:
            listening.close()
            raise
        self.url = access.url
        self._server = DashboardServer(listening, access, boards)
        self._open = set(boards)
        self.sinks = [DashboardSink(board, self) for board in boards]

    def refuse_to_go_on_broken(self) -> None:
        """Do nothing while the server is well.

        Raises:
            OutputError: it made a mistake.
        """
        if self._server.error is not None:
            raise OutputError(
                expected="the dashboard to go on",
                received=f"{type(self._server.error).__name__}: {self._server.error}",
                remedy="report this as a bug",
            )

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
