"""Planes as DICOM objects, in a directory or at a peer such as a PACS."""

from __future__ import annotations

import re
import tempfile
from typing import TYPE_CHECKING

from ...errors import OutputError
from ...files import make_directory, remove_empty, state_directory, writing_to
from ..base import Sink
from .delivery import Delivery
from .queue import Queue, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ...application_entity import StorePeer
    from ...frame import Observation, PlaneEvent
    from .documents import Documents


class DicomFilesSink(Sink):
    """Writes an image and a report for each event to a directory.

    ::

        20261126T215511.123Z-Femur-5be0cd19-image.dcm
        20261126T215511.123Z-Femur-5be0cd19-report.dcm

    Names begin with the time of the frame, UTC. Files are whole or not there, and none is replaced.

    Args:
        directory: made if it is missing.
        documents: makes them.

    Raises:
        OutputError: the directory cannot be written.
    """

    name = "dicom"
    kind = "pictures"
    required = True

    def __init__(self, directory: Path, documents: Documents) -> None:
        self._directory = directory
        self._documents = documents
        with writing_to(directory):
            self._made = make_directory(directory)
            tempfile.TemporaryFile(dir=directory).close()  # better now than at the first event

    def write(self, observation: Observation) -> None:
        """Note what events do not tell."""
        self._documents.observe(observation)

    def write_event(self, event: PlaneEvent) -> None:
        """Write the image and the report."""
        write(self._directory, self._documents.make(event))

    def close(self) -> None:
        """Leave no folder behind that was made for nothing."""
        remove_empty(self._made)


class DicomStoreSink(Sink):
    """Sends an image and a report for each event to a peer, by way of a queue on disk.

    A peer that is away neither ends nor delays the stream. What cannot be put into the queue is left out, and counted.

    Args:
        peer: who gets it.
        documents: makes them.
        say: told in a line what happens to the peer and to the queue.

    Raises:
        OutputError: the queue cannot be written.
    """

    name = "dicom"
    kind = "pictures"

    def __init__(self, peer: StorePeer, documents: Documents, say: Callable[[str], object]) -> None:
        self._documents = documents
        self._say = say
        name = re.sub(r"[^\w.@-]", "-", str(peer.entity)).lstrip(".")  # of letters that file names may have
        self._queue = Queue(state_directory() / "dicom" / name)
        self._lost = 0
        self._is_full = False
        if waiting := len(self._queue.waiting()):
            say(f"objects that wait for {peer.entity} since an earlier stream: {waiting}")
        self._delivery = Delivery(self._queue, peer.entity, peer.calling, say)

    def write(self, observation: Observation) -> None:
        """Note what events do not tell."""
        self._documents.observe(observation)

    def write_event(self, event: PlaneEvent) -> None:
        """Let the image and the report wait for the peer."""
        document = self._documents.make(event)
        try:
            self._queue.put(document)
        except OutputError as error:
            self._lost += 1
            if not self._is_full:
                self._say(f"planes are left out: {error}")
            self._is_full = True
            return
        self._is_full = False
        self._delivery.wake()

    def close(self) -> None:
        """Deliver what waits as long as the peer takes it, and tell what is left."""
        self._delivery.close()
        if self._lost:
            self._say(f"planes that were left out: {self._lost}")
            self._lost = 0
