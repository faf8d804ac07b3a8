"""What waits for a peer, and how it is delivered: to DCMTK's storescp, and to peers that do what it cannot."""

from __future__ import annotations

import socket
import stat
import threading
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("highdicom", reason="needs the extra pacs")
pytest.importorskip("pynetdicom", reason="needs the extra pacs")

import pydicom  # after the skip
from pydicom.uid import EnhancedSRStorage, ImplicitVRLittleEndian, SecondaryCaptureImageStorage
from pynetdicom import AE, evt

from metfa.runtime.application_entity import ApplicationEntity
from metfa.runtime.errors import OutputError
from metfa.runtime.sinks.dicom import delivery, store
from metfa.runtime.sinks.dicom.delivery import Delivery
from metfa.runtime.sinks.dicom.queue import Queue

from ..test_sinks import largest_file
from .dcmtk import Archive, free_port, wait_until
from .planes import document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "_MIN_PAUSE", 0.02)
    monkeypatch.setattr(delivery, "_MAX_PAUSE", 0.1)
    monkeypatch.setattr(store, "_ANSWER_SECONDS", 0.5)


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    return Queue(tmp_path / "queue")


@contextmanager
def delivering(queue: Queue, port: int, host: str = "127.0.0.1") -> Iterator[list[str]]:
    """Deliver what is in a queue, and yield the lines that are said."""
    lines: list[str] = []
    with closing(Delivery(queue, ApplicationEntity("PACS", host, port), "METFA", lines.append)):
        yield lines


@contextmanager
def peer(
    receive: Callable[[Any], int] = lambda _: 0, *, storages: tuple[str, ...] = (), title: str = "PACS", port: int = 0
) -> Iterator[int]:
    """A peer that does with objects what a function says; yield its port."""
    entity = AE(title)
    for storage in storages or (SecondaryCaptureImageStorage, EnhancedSRStorage):
        entity.add_supported_context(storage, ImplicitVRLittleEndian)
    entity.require_called_aet = True
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, receive)])
    assert server is not None
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


def test_objects_are_delivered_image_first(queue: Queue, tmp_path: Path) -> None:
    for _ in range(2):
        queue.put(document())
    waiting = {pydicom.dcmread(path).SOPInstanceUID for path in queue.waiting()}
    with Archive(tmp_path / "archive") as archive:
        with delivering(queue, archive.port) as lines:
            wait_until(lambda: not queue.waiting())
        received = [pydicom.dcmread(path) for path in archive.received]
    assert {dataset.SOPInstanceUID for dataset in received} == waiting
    assert len(waiting) == 4
    assert lines == []


def test_a_peer_may_be_named(queue: Queue, tmp_path: Path) -> None:
    queue.put(document())
    with Archive(tmp_path / "archive") as archive, delivering(queue, archive.port, "localhost"):
        wait_until(lambda: not queue.waiting())
    with delivering(queue, 4242, "nobody.invalid") as lines:
        queue.put(document())
        wait_until(lambda: bool(lines))
    assert lines[0].startswith("PACS@nobody.invalid:4242 is away (")


def test_what_a_peer_wants_in_another_encoding_is_encoded_so(queue: Queue) -> None:
    queue.put(document())
    received: list[Any] = []

    def receive(event: Any) -> int:
        received.append(event.dataset)
        return 0

    with peer(receive) as port, delivering(queue, port):
        wait_until(lambda: not queue.waiting())
    assert [dataset.Modality for dataset in received] == ["US", "SR"]
    assert received[1].CurrentRequestedProcedureEvidenceSequence


def test_a_peer_that_is_away_and_comes_back_is_told_in_two_lines(queue: Queue, tmp_path: Path) -> None:
    port = free_port()
    queue.put(document())
    with delivering(queue, port) as lines:
        wait_until(lambda: bool(lines))
        time.sleep(0.3)  # several attempts
        with Archive(tmp_path / "archive", port=port) as archive:
            wait_until(lambda: not queue.waiting())
            assert len(archive.received) == 2
    assert lines == [
        f"PACS@127.0.0.1:{port} is away (connection refused); what it is to get waits in {queue.directory}",
        f"PACS@127.0.0.1:{port} is back",
    ]


def test_what_is_left_at_the_end_is_told_and_waits_for_the_next_stream(queue: Queue, tmp_path: Path) -> None:
    port = free_port()
    queue.put(document())
    with delivering(queue, port) as lines:
        pass
    assert (
        lines[-1] == f"objects that wait for PACS@127.0.0.1:{port}: 2, in {queue.directory}; another stream sends them"
    )
    with Archive(tmp_path / "archive", port=port) as archive, delivering(Queue(queue.directory), port) as lines:
        wait_until(lambda: len(archive.received) == 2)
    assert (lines, queue.waiting()) == ([], [])


def test_a_peer_that_is_killed_and_restarted_gets_the_rest(queue: Queue, tmp_path: Path) -> None:
    with Archive(tmp_path / "before") as archive, delivering(queue, archive.port) as lines:
        queue.put(document())
        wait_until(lambda: not queue.waiting())
        archive.kill()
        queue.put(document())
        wait_until(lambda: bool(lines))
        with Archive(tmp_path / "after", port=archive.port) as successor:
            wait_until(lambda: not queue.waiting())
            assert (len(archive.received), len(successor.received)) == (2, 2)


def test_a_peer_that_aborts_every_association_is_away(queue: Queue, tmp_path: Path) -> None:
    queue.put(document())
    with Archive(tmp_path / "archive", "--abort-during") as archive, delivering(queue, archive.port) as lines:
        wait_until(lambda: bool(lines))
    assert "is away (it ended the association, or did not answer within 0.5 s)" in lines[0]
    assert len(queue.waiting()) == 2


def test_a_wrong_title_is_named(queue: Queue) -> None:
    queue.put(document())
    with peer(title="OTHER") as port, delivering(queue, port) as lines:
        wait_until(lambda: bool(lines))
    assert "is away (it rejects the association: Called AE title not recognised)" in lines[0]
    assert len(queue.waiting()) == 2


def test_a_peer_that_takes_no_reports_gets_the_images(queue: Queue) -> None:
    for _ in range(2):
        queue.put(document())
    with peer(storages=(SecondaryCaptureImageStorage,)) as port, delivering(queue, port) as lines:
        wait_until(lambda: not queue.waiting())
    assert [path.name.endswith("-report.dcm") for path in queue.refused.iterdir()] == [True, True]
    (line,) = lines  # once for both
    assert f": it takes no objects of this kind; what it refuses is in {queue.refused}" in line


def test_a_peer_that_takes_neither_is_away(queue: Queue) -> None:
    queue.put(document())
    with peer(storages=("1.2.840.10008.1.1",)) as port, delivering(queue, port) as lines:
        wait_until(lambda: bool(lines))
    assert "is away (it ends the association, or takes nothing that metfa sends)" in lines[0]
    assert len(queue.waiting()) == 2


@pytest.mark.parametrize(
    ("status", "waiting", "refused"),
    [(0xB000, 0, 0), (0xA700, 2, 0), (0x0124, 2, 0), (0xA900, 0, 2), (0xC000, 0, 2), (0x0110, 0, 2)],
    ids=["a warning", "no room", "not authorised", "no match", "not understood", "failed"],
)
def test_what_a_peer_answers(queue: Queue, status: int, waiting: int, refused: int) -> None:
    queue.put(document())
    with peer(lambda _: status) as port, delivering(queue, port) as lines:
        wait_until(lambda: not queue.waiting() or bool(lines))
    assert (len(queue.waiting()), len(list(queue.refused.iterdir()))) == (waiting, refused)
    assert all(f"0x{status:04X}" in line for line in lines[:1])


def test_a_peer_that_accepts_and_never_answers_is_away(queue: Queue) -> None:
    queue.put(document())
    with socket.create_server(("127.0.0.1", 0)) as silent, delivering(queue, silent.getsockname()[1]) as lines:
        wait_until(lambda: bool(lines))
    assert "is away" in lines[0]


def test_a_peer_that_hangs_in_the_middle_is_away_until_it_is_replaced(queue: Queue, tmp_path: Path) -> None:
    with Archive(tmp_path / "before") as archive, delivering(queue, archive.port) as lines:
        queue.put(document())
        wait_until(lambda: not queue.waiting())
        archive.pause()
        queue.put(document())
        wait_until(lambda: bool(lines))
        archive.kill()
        with Archive(tmp_path / "after", port=archive.port):
            wait_until(lambda: not queue.waiting())
    assert ["is away" in lines[0], "is back" in lines[-1]] == [True, True]


def test_a_peer_that_stops_reading_in_an_object_is_given_up(queue: Queue, tmp_path: Path) -> None:
    queue.put(document(np.zeros((3000, 3000, 3), np.uint8)))  # more than what lies between two programs
    peer_of = ApplicationEntity("PACS", "127.0.0.1", free_port())
    with Archive(tmp_path / "archive", port=peer_of.port) as archive, store.connected(peer_of, "METFA") as give:
        archive.pause()
        with pytest.raises(store.AwayError, match=r"within 0\.5 s"):
            give(queue.waiting()[0])


def test_a_damaged_file_is_put_aside(queue: Queue) -> None:
    queue.put(document())
    image, _ = queue.waiting()
    image.write_bytes(b"no DICOM")
    with peer() as port, delivering(queue, port) as lines:
        wait_until(lambda: not queue.waiting())
    assert "the file is damaged" in lines[0]
    assert list(queue.refused.iterdir()) == [queue.refused / image.name]


def test_of_two_streams_one_delivers_at_a_time_and_both_are_delivered(queue: Queue) -> None:
    received: list[str] = []
    at_once: list[int] = []
    inside = threading.Semaphore(0)

    def receive(event: Any) -> int:
        inside.release()
        at_once.append(inside._value)
        time.sleep(0.01)
        received.append(event.request.AffectedSOPInstanceUID)
        inside.acquire()
        return 0

    other = Queue(queue.directory)
    with peer(receive) as port, delivering(queue, port), delivering(other, port):
        for each in (queue, other) * 3:
            each.put(document())
        wait_until(lambda: not queue.waiting())
    assert len(received) == len(set(received)) == 12
    assert max(at_once) == 1


def test_a_queue_that_is_full_refuses_and_keeps_what_it_has(tmp_path: Path) -> None:
    first = document()
    queue = Queue(tmp_path, max_bytes=len(first.image) + len(first.report) + 100)
    queue.put(first)
    with pytest.raises(OutputError, match="received a queue that is full"):
        queue.put(document())
    for path in queue.waiting():  # what the peer refused takes its part of the room
        queue.refuse(path)
    with pytest.raises(OutputError, match="received a queue that is full"):
        queue.put(document())


def test_a_full_disk_leaves_nothing_half_written(queue: Queue) -> None:
    queue.put(document())
    before = sorted(queue.directory.rglob("*"))
    with largest_file(5000), pytest.raises(OutputError, match="expected to be able to write"):
        queue.put(document())
    assert sorted(queue.directory.rglob("*")) == before


def test_a_queue_is_its_users_alone(queue: Queue) -> None:
    assert stat.S_IMODE(queue.directory.stat().st_mode) == 0o700
