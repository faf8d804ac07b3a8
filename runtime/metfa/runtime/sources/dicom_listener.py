"""What a scanner sends with its "Send" button, as a source."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from ..application_entity import ApplicationEntity, is_title
from ..errors import SourceError
from ..files import cache_directory
from ..lock import own_directory, remove_abandoned
from .base import Notify, Source
from .dicom import DicomCine
from .dicom_receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..frame import Frame
    from .dicom_receiver import Received

_DEFAULT_RATE = 30.0
_FOLDER, _PREFIX = "dicom-received", "listener-"


class DicomListener(Source):
    """The frames of each image and cine that is sent to it, one object after another, until it is closed.

    Each object is a session of its own, and the last frame of each says so. No frame is left out: objects wait on disk.

    Args:
        spec: ``AE@HOST:PORT?from=AE,AE``: its own title and address, and the titles of those who may send; ``*`` for
            everybody on this machine.
        notify: told in a line who is refused, and what is left out.

    Raises:
        SourceError: ``spec`` says something else, or nobody can listen there.
    """

    live = False  # what was received waits

    def __init__(self, spec: str, notify: Notify) -> None:
        own, allowed = _parse(spec)
        self.rate = _DEFAULT_RATE
        self._notify = notify
        with ExitStack() as stack:
            parent = cache_directory() / _FOLDER
            remove_abandoned(parent, _PREFIX)
            directory = stack.enter_context(own_directory(parent, _PREFIX))
            self._receiver = Receiver(own, allowed, directory, notify)
            stack.callback(self._receiver.close)
            self._stack = stack.pop_all()
        senders = "everybody" if allowed is None else ", ".join(allowed) or "nobody; ?from=AE lets a scanner send"
        self.description = f"DICOM listener {own}, from {senders}"

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames of what is received, until it is closed."""
        index, begin = 0, 0.0
        session = 0
        while (received := self._receiver.take()) is not None:
            frames = 0
            try:
                for frame in self._frames(received):
                    seconds = frame.time or 0.0
                    yield replace(frame, index=index + frames, time=begin + seconds, session=session)
                    frames += 1
            finally:
                self._receiver.forget(received)
            if frames:
                index, begin, session = index + frames, begin + seconds + 1 / self.rate, session + 1

    def close(self) -> None:
        """Listen no more, and remove what was not read. May be called while another thread waits for a frame."""
        self._stack.close()

    def _frames(self, received: Received) -> Iterator[Frame]:
        """Yield the frames of an object; what is damaged of it is told, and left out."""
        held: Frame | None = None
        try:
            with DicomCine(received.path) as cine:
                self.rate = cine.rate
                for frame in cine:
                    if held is not None:
                        yield held
                    held = replace(frame, source=received.name, time=cine.seconds_of(frame))
        except SourceError as error:
            self._notify(f"{received.name}: {'its rest is ' if held else ''}left out: {error.received}")
        if held is not None:
            yield replace(held, last=True)


def _parse(spec: str) -> tuple[ApplicationEntity, tuple[str, ...] | None]:
    """Return what the listener is called and where it listens, and the titles of those who may send; None for all.

    Raises:
        SourceError: ``spec`` does not say that, or lets everybody on other machines send.
    """
    address, separator, query = spec.partition("?")
    name, _, titles = query.partition("=") if separator else ("from", "=", "")
    allowed = tuple(title.strip() for title in titles.split(",") if title)
    try:
        own = ApplicationEntity.parse(address)
    except ValueError:
        own = None
    if own is None or name != "from" or not all(map(is_title, allowed)):
        raise SourceError(
            expected="dicom-listen:AE@HOST:PORT?from=AE,AE, with titles of at most 16 letters",
            received=repr(f"dicom-listen:{spec}"),
            remedy="give for example dicom-listen:METFA@127.0.0.1:11112?from=LOGIQ",
        )
    if titles != "*":
        return own, allowed
    if not _is_loopback(own.host):
        raise SourceError(
            expected="the titles of those who may send, where other machines reach the listener",
            received="?from=*, which lets everybody send",
            remedy=f"name them, such as ?from=LOGIQ, or listen on 127.0.0.1:{own.port}",
        )
    return own, None


def _is_loopback(host: str) -> bool:
    try:
        return all(ipaddress.ip_address(str(found[4][0])).is_loopback for found in socket.getaddrinfo(host, None))
    except (OSError, ValueError):
        return False
