"""What scanners send: by DCMTK's storescu and echoscu, and by senders that misbehave."""

from __future__ import annotations

import errno
import io
import os
import socket
import subprocess
import threading
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("pynetdicom", reason="needs the extra pacs")

import pydicom  # after the skip
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
    UltrasoundImageStorage,
    UltrasoundMultiFrameImageStorage,
)
from pynetdicom import AE
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE

from metfa.runtime import PlaneEvent, StreamStatistics, open_source, stream
from metfa.runtime.errors import SourceError
from metfa.runtime.sources import dicom_receiver
from metfa.runtime.sources.dicom_listener import DicomListener

from ..conftest import FakeClassifier, make_contract, make_prediction
from ..test_dicom import write
from .dcmtk import free_port, program, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from metfa.runtime import Frame, Prediction

CINE = np.random.default_rng(0).integers(0, 256, (5, 20, 30)).astype(np.uint8)


class Listening:
    """A listener that LOGIQ may send to, with the lines that it said."""

    def __init__(self, query: str = "?from=LOGIQ") -> None:
        self.port = free_port()
        self.lines: list[str] = []
        self.source = DicomListener(f"METFA@127.0.0.1:{self.port}{query}", self.lines.append)

    def take(self, number: int) -> list[Frame]:
        return list(islice(self.source, number))

    @property
    def files(self) -> list[Path]:
        return sorted(self.source._receiver._directory.iterdir())


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "metfa"


@pytest.fixture
def listening() -> Iterator[Listening]:
    made = Listening()
    with made.source:
        yield made


@pytest.fixture
def cine(tmp_path: Path) -> Path:
    return write(tmp_path / "cine.dcm", CINE, "MONOCHROME2")


@pytest.fixture
def still(tmp_path: Path) -> Path:
    path = write(tmp_path / "still.dcm", CINE[:1], "MONOCHROME2")
    dataset = pydicom.dcmread(path)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = UltrasoundImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID("1.2.4")
    dataset.StudyInstanceUID, dataset.PatientID = "1.2", "4711"
    dataset.save_as(path)
    return path


def send(port: int, *files: Path, options: tuple[str, ...] = (), calling: str = "LOGIQ", called: str = "METFA") -> int:
    """Press "Send"; return what storescu returns."""
    command = [program("storescu"), *options, "-aet", calling, "-aec", called, "127.0.0.1", str(port)]
    return subprocess.run([*command, *map(str, files)], capture_output=True, check=False).returncode


def test_cines_and_images_become_frames_one_after_another(listening: Listening, cine: Path, still: Path) -> None:
    assert send(listening.port, cine, still, cine) == 0
    frames = listening.take(11)
    assert [frame.index for frame in frames] == list(range(11))
    assert [frame.session for frame in frames] == [0] * 5 + [1] + [2] * 5
    assert [frame.last for frame in frames] == ([False] * 4 + [True]) + [True] + ([False] * 4 + [True])
    assert [frame.source for frame in frames] == ["LOGIQ 1"] * 5 + ["LOGIQ 2"] + ["LOGIQ 3"] * 5
    assert np.array_equal(np.stack([frame.image for frame in frames[:6]]), [*CINE, CINE[0]])
    times = [listening.source.seconds_of(frame) for frame in frames]
    assert np.allclose(np.diff(times), 0.04)  # each at its own pace, one after another
    assert (frames[5].origin is not None, frames[0].origin) == (True, None)  # only the image names a study


@pytest.mark.parametrize("option", ["-xr", "-xt"], ids=["run-length encoded", "JPEG-LS"])
def test_what_is_compressed_is_taken_as_it_is(listening: Listening, cine: Path, option: str) -> None:
    dataset = pydicom.dcmread(cine)
    dataset.compress(RLELossless if option == "-xr" else JPEGLSLossless)
    dataset.save_as(cine)
    assert send(listening.port, cine, options=(option,)) == 0
    assert np.array_equal(np.stack([frame.image for frame in listening.take(5)]), CINE)


def test_an_echo_is_answered(listening: Listening) -> None:
    command = [program("echoscu"), "-aet", "LOGIQ", "-aec", "METFA", "127.0.0.1", str(listening.port)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_strangers_are_refused_and_named_once(listening: Listening, still: Path) -> None:
    assert send(listening.port, still, calling="VOLUSON") != 0
    assert send(listening.port, still, calling="VOLUSON") != 0
    assert send(listening.port, still, called="ANY-SCP") != 0
    assert listening.lines == [
        "refused 'VOLUSON' at 127.0.0.1; ?from=LOGIQ,VOLUSON lets it send",
        "refused 'LOGIQ', which calls 'ANY-SCP'; let it call 'METFA'",
    ]
    assert listening.files == []


def test_without_titles_nobody_may_send_and_with_a_star_everybody_on_this_machine(still: Path) -> None:
    for query, may_send in (("", False), ("?from=*", True)):
        made = Listening(query)
        with made.source:
            assert (send(made.port, still) == 0) == may_send


def test_what_is_aborted_leaves_nothing(listening: Listening, cine: Path) -> None:
    entity: Any = AE("LOGIQ")
    entity.add_requested_context(UltrasoundMultiFrameImageStorage, ExplicitVRLittleEndian)
    for end in ("abort", "vanish"):
        association = entity.associate("127.0.0.1", listening.port, ae_title="METFA", max_pdu=1024)
        request: Any = C_STORE()
        message = C_STORE_RQ()
        request.MessageID, request.Priority = 1, 2
        request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = UltrasoundMultiFrameImageStorage, "1.2.3"
        request.DataSet = io.BytesIO(cine.read_bytes())
        message.primitive_to_message(request)
        for data in islice(message.encode_msg(association.accepted_contexts[0].context_id, 512), 3):
            association.dul.send_pdu(data)
        with association.dul.socket.socket as connection:
            if end == "vanish":
                connection.shutdown(socket.SHUT_RDWR)
            association.abort()
    assert send(listening.port, cine) == 0
    assert [frame.source for frame in listening.take(5)] == ["LOGIQ 1"] * 5
    assert listening.files == []
    wait_until(lambda: not listening.source._receiver._incoming)  # nor does what was received count for ever


def test_files_go_once_they_are_read_and_when_the_listener_is_closed(cine: Path, cache: Path) -> None:
    made = Listening()
    with made.source:
        assert send(made.port, cine, cine) == 0
        assert len(made.files) == 2
        assert len(made.take(6)) == 6
        assert len(made.files) <= 1
    assert list(cache.rglob("*")) == []


def test_what_a_killed_listener_left_goes_with_the_next(cache: Path, still: Path) -> None:
    left = cache / "dicom-received" / "listener-killed"
    left.mkdir(parents=True)
    (left / "1.dcm").write_bytes(still.read_bytes())
    with Listening().source:
        assert not left.exists()


def test_a_damaged_object_is_told_and_the_next_goes_on(listening: Listening, cine: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.dcm"
    dataset = pydicom.dcmread(cine)
    dataset.PixelData = dataset.PixelData[:-600]  # the last of five frames
    dataset.save_as(damaged)
    nothing = tmp_path / "nothing.dcm"
    del dataset.PixelData
    dataset.save_as(nothing)
    assert send(listening.port, nothing, damaged, cine) == 0
    assert any(frame.source == "LOGIQ 3" for frame in listening.source)
    assert all(line.startswith(("LOGIQ 1: left out: ", "LOGIQ 2: ")) for line in listening.lines)
    assert len(listening.lines) == 2


def test_more_than_may_wait_is_refused(listening: Listening, cine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_receiver, "_MAX_WAITING_BYTES", 5000)  # one cine
    assert send(listening.port, cine) == 0
    assert send(listening.port, cine) != 0
    assert listening.lines == ["LOGIQ 2: refused: too much waits for the model"]
    assert len(listening.take(5)) == 5


def test_more_than_memory_is_meant_for_is_cut_off(
    listening: Listening, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dicom_receiver, "_MAX_INCOMING_BYTES", 50_000)
    assert send(listening.port, write(tmp_path / "long.dcm", np.tile(CINE, (100, 1, 1)), "MONOCHROME2")) != 0
    assert listening.lines[0].startswith("cut off 'LOGIQ': more than")
    assert listening.files == []


def test_a_length_that_is_forged_takes_no_memory(listening: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_receiver, "_MAX_INCOMING_BYTES", 50_000)
    with socket.create_connection(("127.0.0.1", listening.port)) as stranger, suppress(ConnectionError):
        stranger.sendall(b"\x01\x00\xff\xff\xff\xff" + bytes(60_000))  # an association request of 4 GB
        assert stranger.recv(1) == b""
    assert listening.lines == ["cut off '': more than 0 MB at once"]


def test_who_is_silent_in_the_middle_is_cut_off(still: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_receiver, "_QUIET_SECONDS", 0.2)
    made = Listening()
    with made.source, socket.create_connection(("127.0.0.1", made.port)) as silent:
        silent.sendall(b"\x01\x00\x00\x00\xff\xff" + bytes(100))
        assert silent.recv(1) == b""
        assert send(made.port, still) == 0


def test_associations_are_few(still: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_receiver, "_MAX_ASSOCIATIONS", 1)
    made = Listening()
    entity = AE("LOGIQ")
    entity.add_requested_context(UltrasoundImageStorage, ExplicitVRLittleEndian)
    with made.source:
        association = entity.associate("127.0.0.1", made.port, ae_title="METFA")
        assert association.is_established
        assert send(made.port, still) != 0
        association.release()
        wait_until(lambda: not made.source._receiver._sockets)
        assert send(made.port, still) == 0


def test_connections_without_an_association_are_few(
    listening: Listening, still: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dicom_receiver, "_MAX_CONNECTIONS", 2)
    address = ("127.0.0.1", listening.port)
    with socket.create_connection(address), socket.create_connection(address):
        wait_until(lambda: len(listening.source._receiver._sockets) == 2)
        with socket.create_connection(address) as third:
            assert third.recv(1) == b""
    wait_until(lambda: not listening.source._receiver._sockets)
    assert send(listening.port, still) == 0


def test_a_full_disk_is_told_to_the_scanner(listening: Listening, cine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(dicom_receiver, "write_file_meta_info", fail)
        assert send(listening.port, cine) != 0
    assert (listening.lines, listening.files) == (["LOGIQ 1: refused: No space left on device"], [])
    assert send(listening.port, cine) == 0


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("METFA", "dicom-listen:AE@HOST:PORT"),
        ("METFA@127.0.0.1:0", "dicom-listen:AE@HOST:PORT"),
        ("a title that is long@127.0.0.1:11112", "dicom-listen:AE@HOST:PORT"),
        ("METFA@127.0.0.1:11112?allow=X", "dicom-listen:AE@HOST:PORT"),
        ("METFA@0.0.0.0:11112?from=*", "the titles of those who may send"),
        ("METFA@203.0.113.1:11112?from=X", "to be able to listen on METFA@203.0.113.1:11112"),
    ],
)
def test_what_no_listener_can_be_is_refused(spec: str, expected: str) -> None:
    with pytest.raises(SourceError, match=r"^expected .+, received .+; .+") as error:
        open_source(f"dicom-listen:{spec}")
    assert str(error.value).startswith(f"expected {expected}")


def test_a_port_in_use_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SourceError, match="already in use"):
        open_source(f"dicom-listen:METFA@127.0.0.1:{taken.getsockname()[1]}")


def test_a_closed_listener_ends_its_stream(listening: Listening) -> None:
    threading.Timer(0.1, listening.source.close).start()
    assert list(listening.source) == []


def bright(_: NDArray[np.uint8]) -> Prediction:
    return make_prediction("plane 1", np.array([0.001, 0.999], np.float32), CINE[0])


def test_an_image_is_a_plane_at_once_and_no_change_of_size(listening: Listening, still: Path) -> None:
    assert send(listening.port, still, still) == 0
    statistics = StreamStatistics()
    classifier = FakeClassifier(bright, make_contract(("plane 0", "plane 1")))
    items = []
    for item in stream(listening.source, classifier, stop=lambda: statistics.frames == 2):
        statistics.add(item)
        items.append(item)
    assert [isinstance(item, PlaneEvent) for item in items] == [False, True, False, True]
    assert [(item.start_index, item.end_index) for item in items if isinstance(item, PlaneEvent)] == [(0, 0), (1, 1)]
    assert statistics.summary().size_changes == 0
