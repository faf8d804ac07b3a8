"""The dashboard as a sink."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import OutputError
from ..base import Sink
from .access import Access
from .board import Board
from .server import DashboardServer

if TYPE_CHECKING:
    from ...frame import Observation, PlaneEvent
    from ...streaming.summary import StreamStatistics
    from ..scanner import ScannerSink
    from .access import Address
    from .board import About


class DashboardSink(Sink):
    """A page that browsers show: picture, label, events, pace, until it is closed.

    Args:
        address: where it is served.
        about: what does not change while the stream goes on.
        statistics: that the stream's observations and events are added to.
        scanner: the scanner check, where there is one.
        token: what viewers must know. None: on a loopback address nothing, on any other a token that is made up.

    Raises:
        OutputError: it cannot be served there, or the token does not fit.

    Attributes:
        url: what to open in a browser, with the token.
    """

    name = "dashboard"

    def __init__(
        self,
        address: Address,
        about: About,
        statistics: StreamStatistics,
        *,
        scanner: ScannerSink | None = None,
        token: str | None = None,
    ) -> None:
        listening = address.listen()
        try:
            access = Access(listening, token)
        except OutputError:
            listening.close()
            raise
        self.url = access.url
        self._board = Board(about, statistics, scanner)
        self._server = DashboardServer(listening, access, self._board)

    def write(self, observation: Observation) -> None:
        """Show the observation as soon as it is time.

        Raises:
            OutputError: the server made a mistake.
        """
        self._refuse_to_go_on_broken()
        self._board.put(observation)

    def write_event(self, event: PlaneEvent) -> None:
        """Show the event and its best frame.

        Raises:
            OutputError: the server made a mistake.
        """
        self._refuse_to_go_on_broken()
        self._board.put_event(event)

    def close(self) -> None:
        """Tell the viewers that the stream ended, and let them go."""
        self._server.close()

    def _refuse_to_go_on_broken(self) -> None:
        if self._server.error is not None:
            raise OutputError(
                expected="the dashboard to go on",
                received=f"{type(self._server.error).__name__}: {self._server.error}",
                remedy="report this as a bug",
            )
