"""C-STORE: gives DICOM files to a peer, through pynetdicom."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from pydicom.errors import InvalidDicomError
from pydicom.uid import EnhancedSRStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian, SecondaryCaptureImageStorage
from pynetdicom import AE, evt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pynetdicom.association import Association

    from ...application_entity import ApplicationEntity

_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 60.0  # to a request of any kind, which includes the time to send it
# Classes of status: DICOM PS3.4 B.2.3. 0x0124 is "not authorised", which whoever looks after the peer can change.
_SUCCESS, _WARNING, _OUT_OF_RESOURCES, _NOT_AUTHORISED = 0x0000, 0xB000, 0xA700, 0x0124


class AwayError(Exception):
    """A peer does not take anything at present; the message says why, in words that fit in brackets."""


class RefusedError(Exception):
    """A peer does not want an object; the message says why, in words that fit behind a colon."""


@contextmanager
def connected(peer: ApplicationEntity, calling: str) -> Iterator[Callable[[Path], None]]:
    """Yield what gives a file to a peer; after that call, the peer has it, or it raises why not.

    Args:
        peer: whom to call.
        calling: the title of the one who calls.

    Raises:
        AwayError: nobody is there, it does not answer, it does not talk to this one, or it has no room now.
        RefusedError: of a file: the peer does not want it, or it is damaged.
    """
    entity = AE(calling)
    for storage in (SecondaryCaptureImageStorage, EnhancedSRStorage):
        entity.add_requested_context(storage, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    entity.connection_timeout = _CONNECT_SECONDS
    entity.acse_timeout = entity.dimse_timeout = _ANSWER_SECONDS
    entity.network_timeout = 2 * _ANSWER_SECONDS  # later than those: pynetdicom fails where two limits end at once
    sockets: list[socket.socket] = []
    try:  # pynetdicom does not tell why it cannot connect, and tries one address of a name only
        with socket.create_connection((peer.host, peer.port), _CONNECT_SECONDS) as connection:
            address = connection.getpeername()[0]
    except OSError as error:
        raise AwayError((error.strerror or str(error)).lower()) from None
    association = entity.associate(
        address, peer.port, ae_title=peer.title, evt_handlers=[(evt.EVT_CONN_OPEN, _keep_socket, [sockets])]
    )
    try:
        if not association.is_established:
            raise AwayError(_why_not(association))
        yield partial(_store, association)
    finally:
        if association.is_established:
            association.release()
        elif association.is_alive():
            association.abort()
        for each in sockets:  # pynetdicom leaves open what the other side has closed
            each.close()


def _store(association: Association, path: Path) -> None:
    try:
        status = association.send_c_store(path)
    except RuntimeError:
        raise AwayError("it ended the association") from None
    except ValueError:
        raise RefusedError("it takes no objects of this kind") from None
    except (InvalidDicomError, AttributeError, EOFError):
        raise RefusedError("the file is damaged") from None
    if "Status" not in status:
        raise AwayError(f"it ended the association, or did not answer within {_ANSWER_SECONDS:g} s")
    code = int(status.Status)
    if code == _SUCCESS or code & 0xF000 == _WARNING:
        return
    if code & 0xFF00 == _OUT_OF_RESOURCES or code == _NOT_AUTHORISED:
        raise AwayError(f"it takes nothing now, status 0x{code:04X}")
    raise RefusedError(f"its status is 0x{code:04X}")


def _keep_socket(event: Any, sockets: list[socket.socket]) -> None:
    """Let no peer that stops reading hold the connection for ever."""
    connection: socket.socket = event.assoc.dul.socket.socket
    connection.settimeout(_ANSWER_SECONDS / 2)
    sockets.append(connection)


def _why_not(association: Association) -> str:
    answer = association.acceptor.primitive
    if association.is_rejected and answer is not None:
        return f"it rejects the association: {answer.reason_str}"
    return "it ends the association, or takes nothing that metfa sends"
