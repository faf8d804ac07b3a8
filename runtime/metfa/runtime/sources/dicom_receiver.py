"""A C-STORE SCP, through pynetdicom: receives DICOM objects as files."""

from __future__ import annotations

import secrets
import socket
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from pydicom.filebase import DicomIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import (
    UID,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
    UltrasoundImageStorage,
    UltrasoundMultiFrameImageStorage,
)
from pynetdicom import AE, evt

from ..errors import SourceError
from ..handoff import Handoff, Limit
from .dicom_pixels import decodable_syntaxes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ..application_entity import ApplicationEntity
    from .base import Notify

_VERIFICATION = UID("1.2.840.10008.1.1")  # C-ECHO
_KINDS = (
    UltrasoundImageStorage,
    UltrasoundMultiFrameImageStorage,
    UID("1.2.840.10008.5.1.4.1.1.6"),  # both as they were before 1993, which old scanners still send
    UID("1.2.840.10008.5.1.4.1.1.3"),
    SecondaryCaptureImageStorage,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
)
_MAX_INCOMING_BYTES = 1 << 29  # of objects that are being received, together: they are in memory
_MAX_WAITING_BYTES = 4 << 30  # of objects that wait on disk for the model
_MAX_WAITING = 1000  # of them
_MAX_ASSOCIATIONS, _MAX_CONNECTIONS = 4, 20  # the former of these that a scanner may use
_MAX_TOLD = 20  # strangers that are named
_QUIET_SECONDS = 30.0  # of a scanner, after which its association is aborted
_SUCCESS, _OUT_OF_RESOURCES = 0x0000, 0xA700


class Received(NamedTuple):
    """What was received and waits.

    Attributes:
        path: its file.
        name: what it is called in messages and records.
        size: of its data set, in bytes.
    """

    path: Path
    name: str
    size: int


class Receiver:
    """Receives objects in threads of its own, until it is closed.

    Args:
        own: what it is called, and where it listens.
        allowed: the titles of those who may send; None for everybody.
        directory: of the files, of nobody else.
        notify: told in a line who and what is refused.

    Raises:
        SourceError: nobody can listen there.
    """

    def __init__(
        self, own: ApplicationEntity, allowed: tuple[str, ...] | None, directory: Path, notify: Notify
    ) -> None:
        self._own, self._allowed = own, allowed
        self._directory = directory
        self._notify = notify
        self._strangers: set[str] = set()
        self._received = 0
        self._sockets: dict[int, socket.socket] = {}  # of each association
        self._incoming: dict[int, int] = {}  # bytes of the object that it receives
        self._waiting_bytes = 0
        self._counting = threading.Lock()
        self._waiting: Handoff[Received] = Handoff()
        handlers = [
            (evt.EVT_CONN_OPEN, self._begin),
            (evt.EVT_REJECTED, self._tell_stranger),
            (evt.EVT_C_STORE, self._receive),
            (evt.EVT_CONN_CLOSE, self._end),
        ]
        self._server = _start(_entity(own, allowed), own, handlers)

    def take(self) -> Received | None:
        """Wait for the next object, and return it; None where the receiver was closed."""
        return self._waiting.take()

    def forget(self, received: Received) -> None:
        """Remove an object that was read, or will not be."""
        received.path.unlink(missing_ok=True)
        with self._counting:
            self._waiting_bytes -= received.size

    def close(self) -> None:
        """Listen no more, and forget what was not taken. May be called while another thread waits in :meth:`take`."""
        self._waiting.close(discard=True)
        self._server.shutdown()
        with self._counting:
            sockets = list(self._sockets.values())
        for each in sockets:
            each.close()

    def _tell_stranger(self, event: Any) -> None:
        """Say who wanted to send, so that the user can let it."""
        calling, called = event.assoc.requestor.ae_title, event.assoc.requestor.primitive.called_ae_title
        if calling in self._strangers or len(self._strangers) >= _MAX_TOLD:
            return
        self._strangers.add(calling)
        if called != self._own.title:
            self._notify(f"refused {calling!r}, which calls {called!r}; let it call {self._own.title!r}")
        elif self._allowed is not None and calling not in self._allowed:
            titles = ",".join((*self._allowed, calling))
            self._notify(f"refused {calling!r} at {event.assoc.requestor.address}; ?from={titles} lets it send")

    def _begin(self, event: Any) -> None:
        """Watch over a connection: pynetdicom would receive whatever a length announces, and wait for it for ever."""
        watched = event.assoc.dul.socket
        watched.socket = _CountedSocket(watched.socket, partial(self._count, event.assoc))
        with self._counting:
            self._sockets[id(event.assoc)] = watched.socket
            too_many = len(self._sockets) > _MAX_CONNECTIONS
        if too_many:
            watched.socket.close()

    def _count(self, association: Any, received: int) -> bool:
        """Take note of bytes that were received; return False where they are more than memory is meant for."""
        with self._counting:
            self._incoming[id(association)] = self._incoming.get(id(association), 0) + received
            if sum(self._incoming.values()) <= _MAX_INCOMING_BYTES:
                return True
        limit = _MAX_INCOMING_BYTES >> 20
        self._notify(f"cut off {association.requestor.ae_title!r}: more than {limit} MB at once")
        return False

    def _end(self, event: Any) -> None:
        """Forget a connection, and close what pynetdicom leaves open where the other side vanished."""
        with self._counting:
            self._incoming.pop(id(event.assoc), None)
            connection = self._sockets.pop(id(event.assoc), None)
        if connection is not None:
            connection.close()

    def _receive(self, event: Any) -> int:
        """Let a received object wait on disk; return the status that the scanner is told."""
        data = event.request.DataSet.getbuffer()
        with self._counting:
            self._incoming[id(event.assoc)] = 0
            self._received += 1
            name = f"{event.assoc.requestor.ae_title} {self._received}"
            received = Received(self._directory / f"{self._received}.dcm", name, len(data))
            self._waiting_bytes += received.size
            is_full = self._waiting_bytes > _MAX_WAITING_BYTES or len(self._waiting) >= _MAX_WAITING
        try:
            if is_full:
                raise OSError("too much waits for the model")
            with received.path.open("xb") as file:
                file.write(b"\0" * 128 + b"DICM")
                write_file_meta_info(DicomIO(file), event.file_meta)
                file.write(data)
            if self._waiting.put(received, Limit(_MAX_WAITING, "refuse")) == "added":
                return _SUCCESS
            raise OSError("nothing more is wanted")
        except OSError as error:
            self._notify(f"{received.name}: refused: {error.strerror or error}")
            self.forget(received)
            return _OUT_OF_RESOURCES


class _CountedSocket(socket.socket):
    """A connection that is given up where nothing comes for long, and whose bytes are counted.

    Args:
        connection: which it takes the place of.
        count: told how many bytes came; returns whether more may come.
    """

    def __init__(self, connection: socket.socket, count: Callable[[int], bool]) -> None:
        super().__init__(fileno=connection.detach())
        self.settimeout(_QUIET_SECONDS)
        self._count = count

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Receive, and count."""
        data = super().recv(size, flags)
        if not self._count(len(data)):
            self.close()
        return data


def _entity(own: ApplicationEntity, allowed: tuple[str, ...] | None) -> AE:
    entity = AE(own.title)
    entity.add_supported_context(_VERIFICATION)
    syntaxes = decodable_syntaxes()
    for kind in _KINDS:
        entity.add_supported_context(kind, syntaxes)
    entity.require_called_aet = True
    if allowed is not None:
        entity.require_calling_aet = list(allowed) or [secrets.token_hex(8)]  # an empty list would let everybody in
    entity.maximum_associations = _MAX_ASSOCIATIONS
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = _QUIET_SECONDS
    return entity


def _start(entity: AE, own: ApplicationEntity, handlers: list[Any]) -> Any:
    """Return a server that listens from now on, in threads of its own.

    Raises:
        SourceError: it cannot.
    """
    try:
        address = socket.getaddrinfo(own.host, own.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][4]
        return entity.start_server((str(address[0]), own.port), block=False, evt_handlers=handlers)
    except (OSError, UnicodeError) as cause:
        raise SourceError(
            expected=f"to be able to listen on {own}",
            received=str(getattr(cause, "strerror", None) or cause),
            remedy="give an address of this machine and a port that is free, such as 127.0.0.1:11112",
        ) from None
