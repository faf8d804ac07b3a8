"""A model on a server that may go away: it is found again, and meanwhile frames wait, or run on this host."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Protocol

from ..errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from . import Backend, Inference

_PATIENCE_SECONDS = 60.0  # that a frame waits for a server that is away: longer than most take to start again
_FIRST_PAUSE, _PAUSE = 0.25, 1.0  # seconds before the first attempt to connect again, and before each further one
_POLL_SECONDS = 0.1  # between two looks at whether there is something to do


class AwayError(Exception):
    """A server gives no answer, or an error; the message says why, in words that fit behind a colon."""


class Connection(Protocol):
    """A model on a server, whose answers were checked.

    Attributes:
        description: the server, its version and the model's file, in a few words.
        artefact: the name of the model's file in its bundle.
    """

    description: str
    artefact: str

    def infer(self, frames: NDArray[np.uint8]) -> Inference:
        """Run the model on ``frames``, uint8 [N, 1, H, W]; may be called by several threads.

        Raises:
            AwayError: the server is lost.
        """
        ...


class ReconnectingBackend:
    """A connection to a server, made again when it is lost. May be used by several threads.

    Args:
        name: of the model on the server, for messages.
        connect: makes a connection and checks what it leads to; called in other threads.
        trial: frames that a connection, and the fallback, must have run before they are relied on.
        fallback: runs the frames while the server is away; None to have them wait for it. A live stream drops those
            that it captures meanwhile.
        patience: seconds that a frame waits.
        notify: told in a line when the server is lost, and when it is back.

    Raises:
        BackendError: the server is away and there is no fallback, or its model is another.
    """

    concurrency = 4  # the server makes batches of what comes together, and none waits for the network alone

    def __init__(
        self,
        name: str,
        connect: Callable[[], Connection],
        *,
        trial: NDArray[np.uint8],
        fallback: Backend | None,
        notify: Callable[[str], object],
        patience: float = _PATIENCE_SECONDS,
    ) -> None:
        self._name, self._connect, self._trial, self._patience, self._notify = name, connect, trial, patience, notify
        self._fallback = None
        if fallback is not None:
            fallback.infer(trial)
            self._fallback = _InTurns(fallback)
        self._changed = threading.Condition()
        # What follows is read and written under that.
        self._connection: Connection | None = None
        self._reason = ""  # why there is none
        self._refusal: Exception | None = None  # of the model that the server came back with
        self._attempting = False
        self._lost_at = self._next_attempt = 0.0
        try:
            begun = self._connection = self._connect_and_try()
            self.description = begun.description
        except AwayError as reason:
            if self._fallback is None:
                raise BackendError(
                    expected=f"an answer of {name}",
                    received=str(reason),
                    remedy="start the server, or correct --backend; the port of Triton's gRPC is 8001 by default",
                ) from None
            begun = self._fallback
            self.description = name
            self._lose(None, str(reason))
        if self._fallback is not None:
            self.description += f"; while that is away, {self._fallback.description}"
        self.artefact = begun.artefact

    def infer(self, frames: NDArray[np.uint8]) -> Inference:
        """Run the model on ``frames``, uint8 [N, 1, H, W] of the contract's size.

        Raises:
            BackendError: the server stays away for too long, comes back with another model, or answers something else
                than the contract says.
        """
        give_up_at = time.monotonic() + self._patience
        while True:
            connection = self._find(give_up_at)
            try:
                return connection.infer(frames)
            except AwayError as reason:
                self._lose(connection, str(reason))

    def _find(self, give_up_at: float) -> Connection:
        """Return the connection; where there is none, the fallback, or else wait for a connection."""
        with self._changed:
            while self._connection is None:
                if self._fallback is None and self._refusal is not None:
                    raise self._refusal
                self._connect_again()
                if self._fallback is not None:
                    return self._fallback
                if time.monotonic() > give_up_at:
                    raise BackendError(
                        expected=f"an answer of {self._name} within {self._patience:g} s",
                        received=self._reason,
                        remedy="look after the server; --backend …,cpu would run the model on this host meanwhile",
                    )
                self._changed.wait(_POLL_SECONDS)
            return self._connection

    def _connect_and_try(self) -> Connection:
        connection = self._connect()
        connection.infer(self._trial)
        return connection

    def _lose(self, connection: Connection | None, reason: str) -> None:
        """Do without a connection that failed, unless another thread has noticed that before."""
        with self._changed:
            if connection is not self._connection:
                return
            self._connection, self._reason, self._refusal = None, reason, None
            self._lost_at = time.monotonic()
            self._next_attempt = self._lost_at + _FIRST_PAUSE
        self._notify(f"away: {reason}; {self._meanwhile()}")

    def _connect_again(self) -> None:
        """Begin an attempt in a thread of its own, if it is time for one: a server may take long to answer."""
        if not self._attempting and time.monotonic() >= self._next_attempt:
            self._attempting = True
            threading.Thread(target=self._attempt, name="metfa reconnection", daemon=True).start()

    def _attempt(self) -> None:
        connection: Connection | None = None
        refusal: Exception | None = None
        reason = ""
        try:
            connection = self._connect_and_try()
        except AwayError as away:
            reason = str(away)
        except Exception as error:  # whatever it is, whoever waits must learn of it
            refusal = error
        if connection is not None:
            self._notify(f"back after {time.monotonic() - self._lost_at:.1f} s")
        elif self._fallback is not None and refusal is not None and str(refusal) != str(self._refusal):
            self._notify(f"not back: {refusal}; {self._meanwhile()}")
        with self._changed:
            self._connection, self._reason, self._refusal = connection, reason, refusal
            self._attempting = False
            self._next_attempt = time.monotonic() + _PAUSE
            self._changed.notify_all()

    def _meanwhile(self) -> str:
        if self._fallback is None:
            return f"frames wait for it, up to {self._patience:g} s"
        return f"until it is back, {self._fallback.description}"


class _InTurns:
    """A backend that is used by no more threads at once than it allows."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._turns = threading.BoundedSemaphore(backend.concurrency)
        self.description = backend.description
        self.artefact = backend.artefact

    def infer(self, frames: NDArray[np.uint8]) -> Inference:
        with self._turns:
            return self._backend.infer(frames)
