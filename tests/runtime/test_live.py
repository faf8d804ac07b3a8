"""Live sources in which something goes wrong; faults of sinks are in test_feeds.py, signals in test_cli.py."""

from __future__ import annotations

import threading
import time
from collections import deque
from itertools import chain, islice, repeat
from types import SimpleNamespace
from typing import TYPE_CHECKING

import cv2
import pytest

from metfa.runtime import Frame, open_source
from metfa.runtime.errors import SourceError
from metfa.runtime.sources import CaptureFormat, live
from metfa.runtime.sources.live import LiveSource, LostError
from metfa.runtime.sources.pyav import Picture

from .conftest import grey

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    Script = Sequence[Callable[[], NDArray[np.uint8]]] | Exception


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the limits be short, so that no test waits for long."""
    monkeypatch.setattr(live, "_STALL_SECONDS", 10)
    monkeypatch.setattr(live, "_STALL_FRAMES", 0)
    monkeypatch.setattr(live, "_MIN_BACK_OFF", 0.001)
    monkeypatch.setattr(live, "_MAX_BACK_OFF", 0.004)


class Device:
    """Connects as often as it has scripts: what each read does, or why there is no connection. Then it is gone.

    A read that would replace a picture that nobody has taken yet waits, unless the device is ``hasty``.
    """

    def __init__(self, scripts: Sequence[Script], *, hasty: bool = False) -> None:
        self.scripts = scripts
        self.hasty = hasty
        self.attempts = 0
        self.current: Connected | None = None
        self.waiting = 0  # pictures that were delivered and not taken
        self.changed = threading.Condition()

    def connect(self) -> Connected:
        self.attempts += 1
        script = self.scripts[self.attempts - 1] if self.attempts <= len(self.scripts) else absent()
        if isinstance(script, Exception):
            raise script
        self.current = Connected(self, deque(script))
        return self.current

    def taken(self) -> None:
        with self.changed:
            self.waiting -= 1
            self.changed.notify_all()


class Connected:
    rate = 30.0
    description = "a scripted device"

    def __init__(self, device: Device, reads: deque[Callable[[], NDArray[np.uint8]]]) -> None:
        self.device = device
        self.reads = reads

    def read(self) -> NDArray[np.uint8]:
        if not self.reads:
            raise LostError("it was pulled out")
        with self.device.changed:
            assert self.device.changed.wait_for(lambda: self.device.hasty or not self.device.waiting, 10)
        image = self.reads.popleft()()
        with self.device.changed:
            self.device.waiting += self.device.current is self
        return image

    def close(self) -> None:
        pass


def absent() -> SourceError:
    return SourceError(expected="a device", received="none", remedy="plug it in")


def picture(level: int = 7, height: int = 48, width: int = 64) -> Callable[[], NDArray[np.uint8]]:
    return lambda: grey(level, height, width)


def failing(error: Exception) -> Callable[[], NDArray[np.uint8]]:
    def fail() -> NDArray[np.uint8]:
        raise error

    return fail


def take(frames: Iterable[Frame], device: Device, number: int) -> list[Frame]:
    """Return the next frames, each delivered when the one before was taken, so that none is dropped."""
    result = []
    for frame in islice(frames, number):
        result.append(frame)
        device.taken()
    return result


@pytest.mark.parametrize(
    ("scripts", "sessions", "lost"),
    [
        ([[picture()] * 3, [picture()] * 2], [0, 0, 0, 1, 1], "it was pulled out"),
        ([[picture()] * 2, absent(), absent(), [picture()] * 2], [0, 0, 1, 1], "it was pulled out"),
        ([[picture(), failing(LostError("it repeats itself"))], [picture()]], [0, 1], "it repeats itself"),
        ([[picture(), failing(OSError(19, "No such device"))], [picture()]], [0, 1], "[Errno 19] No such device"),
        ([[picture(), failing(RuntimeError())], [picture()]], [0, 1], "RuntimeError"),
        ([[], [picture()]], [1], "it was pulled out"),
        ([[picture()], [], [], [picture()]], [0, 1], "it was pulled out"),
        ([[picture()]] * 20, list(range(20)), "it was pulled out"),
    ],
    ids=[
        "unplugged",
        "absent for a while",
        "repeats itself",
        "error of the system",
        "error without words",
        "no frame at first",
        "back without frames",
        "storm of reconnections",
    ],
)
def test_a_lost_source_is_found_again(scripts: Sequence[Script], sessions: list[int], lost: str) -> None:
    device, said = Device(scripts), list[str]()
    with LiveSource("probe", device.connect, said.append) as source:
        frames = take(source, device, len(sessions))
    assert [frame.session for frame in frames] == [frame.losses for frame in frames] == sessions
    assert [frame.index for frame in frames] == list(range(len(sessions)))
    assert all(frame.image.max() == 7 and frame.source == "probe" for frame in frames)
    losses = sessions[-1]
    assert [line.split(" after")[0] for line in said] == [f"lost: {lost}; reconnecting", "back"] * losses


@pytest.mark.parametrize("comes_back", [True, False], ids=["comes back", "never comes back"])
def test_a_driver_that_blocks_is_abandoned(monkeypatch: pytest.MonkeyPatch, comes_back: bool) -> None:
    monkeypatch.setattr(live, "_STALL_SECONDS", 0.2)
    unblock, finished = threading.Event(), threading.Event()

    def block() -> NDArray[np.uint8]:
        unblock.wait(10)
        finished.set()
        return grey(99)  # of the past

    device, said = Device([[picture(), block, picture(98)], [picture(8)] * 9]), list[str]()
    with LiveSource("probe", device.connect, said.append) as source:
        frames = iter(source)
        before = take(frames, device, 1)
        after = take(frames, device, 1)
        if comes_back:
            unblock.set()
            finished.wait(10)
        after += take(frames, device, 2)
    assert [(frame.session, int(frame.image.max())) for frame in before + after] == [(0, 7), (1, 8), (1, 8), (1, 8)]
    assert said[0] == "lost: no frame for 0.2 s; reconnecting"
    unblock.set()


@pytest.mark.parametrize("state", ["reading", "reconnecting", "connecting again"])
def test_closing_waits_for_nothing(state: str) -> None:
    asked, unblock = threading.Event(), threading.Event()

    def block() -> NDArray[np.uint8]:
        asked.set()
        unblock.wait(10)
        raise LostError("too late")

    device = Device([[block] if state == "reading" else [failing(LostError("gone"))]])
    connect = device.connect

    def connect_again() -> Connected:
        if device.attempts:
            asked.set()
            if state == "connecting again":
                unblock.wait(10)
        return connect()

    source = LiveSource("probe", connect_again, lambda _: None)
    frames: list[Frame] = []
    thread = threading.Thread(target=lambda: frames.extend(source))
    thread.start()
    asked.wait(10)
    source.close()
    thread.join(10)
    assert not thread.is_alive()
    assert frames == []
    unblock.set()


def test_closing_just_as_it_connects_again_waits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    unblock = threading.Event()
    device = Device([[failing(LostError("gone"))]])

    def connect() -> Connected:
        if device.attempts:
            unblock.wait(10)
        return device.connect()

    source = LiveSource("probe", connect, lambda _: None)
    begin = live._Reader

    def begin_and_close(connect: Callable[[], live.Connection]) -> live._Reader:
        reader = begin(connect)
        source.close()
        return reader

    monkeypatch.setattr(live, "_Reader", begin_and_close)
    monkeypatch.setattr(live, "_OPEN_SECONDS", 60)
    thread = threading.Thread(target=lambda: list(source), daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    unblock.set()


def test_a_driver_that_hangs_is_tried_ever_more_seldom_until_it_lets_go(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device([[failing(LostError("gone"))], [picture()]])
    attempts: list[float] = []  # to connect again, in seconds
    readers: list[live._Reader] = []
    late: list[Late] = []
    let_go = threading.Event()
    hangs = False

    def connect() -> live.Connection:
        if not hangs:
            return device.connect()
        let_go.wait(30)
        late.append(Late())
        return late[-1]

    class Late(Connected):
        """A connection that nobody waits for any more."""

        def __init__(self) -> None:
            super().__init__(device, deque([picture()]))
            self.is_closed = False

        def read(self) -> NDArray[np.uint8]:
            pytest.fail("it was read from")

        def close(self) -> None:
            self.is_closed = True

    class Clock(threading.Event):
        """Lets the time of whoever waits pass at once; after an hour the driver lets go."""

        now = 0.0

        def wait(self, timeout: float | None = None) -> bool:
            nonlocal hangs
            self.now += timeout or 0
            if self.now >= 3600 and hangs:
                let_go.set()
                for reader in readers:
                    reader.join(10)
                hangs = False
                monkeypatch.setattr(live, "_OPEN_SECONDS", 10)
            return self.is_set()

    def begin(
        connect: Callable[[], live.Connection], reader: Callable[..., live._Reader] = live._Reader
    ) -> live._Reader:
        attempts.append(clock.now)
        readers.append(reader(connect))
        return readers[-1]

    clock = Clock()
    source = LiveSource("probe", connect, lambda _: None)
    hangs = True
    monkeypatch.setattr(source, "_closed", clock)
    monkeypatch.setattr(live, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(live, "_Reader", begin)
    monkeypatch.setattr(live, "_OPEN_SECONDS", 0)
    monkeypatch.setattr(live, "_MAX_BACK_OFF", 1.0)
    (frame,) = take(source, device, 1)
    source.close()
    assert (frame.session, int(frame.image.max())) == (1, 7)
    assert 3600 <= attempts.pop() <= 3602
    assert 60 <= len(attempts) <= 70
    assert len(late) == len(attempts)
    assert all(connection.is_closed for connection in late)


def test_another_size_begins_another_session() -> None:
    device, said = Device([[picture(), picture(), picture(7, 24, 32), picture(7, 24, 32)]]), list[str]()
    with LiveSource("probe", device.connect, said.append) as source:
        frames = take(source, device, 4)
    assert [(frame.session, frame.losses) for frame in frames] == [(0, 0), (0, 0), (1, 0), (1, 0)]
    assert said == ["the size changed from 64x48 to 32x24 pixels"]


def test_only_the_newest_frame_is_kept() -> None:
    all_read, go_on = threading.Event(), threading.Event()

    def wait() -> NDArray[np.uint8]:
        all_read.set()
        go_on.wait(10)
        raise LostError("the end")

    device = Device([[picture(level) for level in range(240)] + [wait]], hasty=True)
    with LiveSource("probe", device.connect, lambda _: None) as source:
        all_read.wait(10)
        newest = next(iter(source))
    go_on.set()
    assert newest.index == 239 == int(newest.image.max())
    assert newest.session == 0


def test_a_slow_source_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_STALL_SECONDS", 0.01)
    monkeypatch.setattr(live, "_STALL_FRAMES", 300)  # as 3 at one frame a second, so much faster

    def slowly() -> NDArray[np.uint8]:
        time.sleep(0.03)
        return grey(7)

    device = Device([[slowly] * 4])
    with LiveSource("probe", device.connect, lambda _: None) as source:
        assert [frame.session for frame in take(source, device, 4)] == [0] * 4


def test_the_clock_of_the_computer_may_jump(monkeypatch: pytest.MonkeyPatch) -> None:
    jumps = iter([1e9, -1e9, 0.0] * 100)
    monkeypatch.setattr("time.time", lambda: next(jumps))
    device = Device([[picture()] * 5])
    with LiveSource("probe", device.connect, lambda _: None) as source:
        frames = take(source, device, 5)
    assert [frame.session for frame in frames] == [0] * 5
    times = [frame.captured_at for frame in frames]
    assert times == sorted(times)


def test_a_source_that_is_not_there_at_first_is_refused() -> None:
    with pytest.raises(SourceError, match="plug it in"):
        LiveSource("probe", Device([]).connect, lambda _: None)


def test_a_driver_that_does_not_open_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_OPEN_SECONDS", 0.05)
    unblock = threading.Event()
    device = Device([[picture()]])

    def connect() -> Connected:
        unblock.wait(10)
        return device.connect()

    with pytest.raises(SourceError, match=r"expected an answer of probe, received none within 0\.05 s"):
        LiveSource("probe", connect, lambda _: None)
    unblock.set()


@pytest.mark.parametrize("spec", ["http://127.0.0.1/scan", "rtsp://127.0.0.1/scan", "/dev/video0"])
def test_an_error_of_a_library_while_opening_is_a_refusal(monkeypatch: pytest.MonkeyPatch, spec: str) -> None:
    def fail(*_: object, **__: object) -> None:
        raise cv2.error("OpenCV: error\n in function 'open'")

    monkeypatch.setattr("cv2.VideoCapture", fail)
    monkeypatch.setattr("av.open", fail)
    refusals: list[str] = []

    def try_to_open() -> None:
        try:
            open_source(spec)
        except SourceError as refusal:
            refusals.append(str(refusal))

    thread = threading.Thread(target=try_to_open, daemon=True)
    thread.start()
    thread.join(10)
    (refusal,) = refusals
    assert refusal.startswith(f"expected an answer of {spec}, received OpenCV: error in function 'open'; check ")


class FakeVideo:
    """A network stream of pictures with times; the last is repeated for ever."""

    rate = 30.0
    duration = None
    description = "64x48 pixels, 30 frames/s"
    fault = None
    pictures: Sequence[Picture] = (Picture(grey(1), 0.0),)

    def __init__(self, *_: object) -> None:
        pass

    def __iter__(self) -> Generator[Picture, None, None]:
        for picture in chain(self.pictures, repeat(self.pictures[-1])):
            yield picture
            time.sleep(0.012)  # as a sender that waits for the next frame, if not for long

    def close(self) -> None:
        pass


class FakeCapture:
    """An OpenCV capture that reads a script: pictures, or None for a failure; the last entry is repeated for ever."""

    script: Sequence[NDArray[np.uint8] | None] = ()

    def __init__(self, *_: object) -> None:
        self.read_so_far = 0

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def set(self, key: int, value: float) -> bool:
        return True

    def get(self, key: int) -> float:
        return {cv2.CAP_PROP_FPS: 30.0}.get(key, 0.0)

    def read(self) -> tuple[bool, object]:
        image = self.script[min(self.read_so_far, len(self.script) - 1)]
        self.read_so_far += 1
        time.sleep(0.012)  # as a driver that waits for the next frame, if not for long
        return image is not None, image

    def release(self) -> None:
        pass


def read_sessions(monkeypatch: pytest.MonkeyPatch, spec: str, sessions: int) -> tuple[list[int], list[str]]:
    """Return the brightest pixel of each frame until so many sessions have begun, and what was said."""
    monkeypatch.setattr("cv2.VideoCapture", FakeCapture)
    monkeypatch.setattr("metfa.runtime.sources.pyav.open_stream", FakeVideo)
    said: list[str] = []
    levels = []
    with open_source(spec, notify=said.append) as source:
        for frame in source:
            if frame.session == sessions:
                break
            levels.append(int(frame.image.max()))
    return levels, said


def test_one_frame_that_cannot_be_decoded_is_no_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pathlib.Path.exists", lambda _: True)
    monkeypatch.setattr(FakeCapture, "script", [grey(1), None, grey(2), None, None, grey(3), None])
    levels, said = read_sessions(monkeypatch, "0", 1)
    assert levels == [1, 2, 3]
    assert said[1] == "lost: it delivers nothing any more; reconnecting"


@pytest.mark.parametrize(
    ("spec", "description"),
    [
        ("rtsp://nurse:my secret@cam/1", "live stream rtsp://cam/1"),
        ("srt://cam:9?passphrase=secret&mode=caller", "live stream srt://cam:9?passphrase=***"),
        (
            "gst:rtspsrc location=rtsp://nurse:secret@cam/1 ! appsink",
            "pipeline rtspsrc location=rtsp://cam/1 ! appsink",
        ),
        (
            """gst:rtspsrc location="rtsp://cam" user-id=nurse user-pw = 'my secret' ! appsink""",
            'pipeline rtspsrc location="rtsp://cam" user-id=*** user-pw = *** ! appsink',
        ),
        (
            'gst:souphttpsrc location=http://cam/?pwd=secret proxy-pw="my secret" ! appsink',
            "pipeline souphttpsrc location=http://cam/?pwd=*** proxy-pw=*** ! appsink",
        ),
    ],
)
def test_users_and_passwords_are_not_shown(monkeypatch: pytest.MonkeyPatch, spec: str, description: str) -> None:
    monkeypatch.setattr("cv2.VideoCapture", FakeCapture)
    monkeypatch.setattr("cv2.videoio_registry.hasBackend", lambda backend: backend == cv2.CAP_GSTREAMER)
    monkeypatch.setattr(FakeCapture, "script", [grey(1)])
    with monkeypatch.context() as patch:
        patch.setattr("metfa.runtime.sources.pyav.open_stream", FakeVideo)
        with open_source(spec) as source:
            shown = [source.description, next(iter(source)).source]
    assert shown[0].startswith(f"{description}, ")
    monkeypatch.setattr(FakeCapture, "isOpened", lambda _: False)
    for wanted in (CaptureFormat(), CaptureFormat(rate=30)):
        with pytest.raises(SourceError) as refusal:
            open_source(spec, wanted)
        shown.append(str(refusal.value))
    assert not [text for text in shown if "secret" in text or "nurse" in text]


def test_a_sender_that_was_started_again_is_another_session(monkeypatch: pytest.MonkeyPatch) -> None:
    times = {1: 8.0, 2: 9.0, 3: 9.04, 4: 0.04}
    monkeypatch.setattr(FakeVideo, "pictures", [Picture(grey(level), at) for level, at in times.items()])
    levels, said = read_sessions(monkeypatch, "udp://127.0.0.1:9", 1)
    assert set(levels) <= {1, 2, 3}  # of the first sender alone; a busy machine may drop some
    assert levels[-1] == 3
    assert said[0] == "lost: its clock went back from 9.0 s to 0.0 s; reconnecting"


def test_a_camera_that_is_pulled_out_and_goes_on_reading(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    node = tmp_path_factory.mktemp("dev") / "camera"
    monkeypatch.setattr("pathlib.Path.is_char_device", lambda path: path == node)
    node.touch()
    levels = iter(range(256))

    def read(_: FakeCapture) -> tuple[bool, object]:
        level = next(levels)
        if level == 3:
            node.unlink()
        elif level > 3:
            node.touch()  # plugged in again
        time.sleep(0.012)
        return True, grey(level)

    monkeypatch.setattr(FakeCapture, "read", read)
    levels_seen, said = read_sessions(monkeypatch, str(node), 1)
    assert levels_seen == [0, 1, 2]
    assert said[1] == "lost: the camera was pulled out; reconnecting"


def test_a_camera_that_only_repeats_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pathlib.Path.exists", lambda _: True)

    def read(capture: FakeCapture) -> tuple[bool, object]:
        capture.read_so_far += 1
        if capture.read_so_far <= 3:
            time.sleep(0.012)
        return True, grey(min(capture.read_so_far, 3))  # at once, for ever

    monkeypatch.setattr(FakeCapture, "read", read)
    levels, said = read_sessions(monkeypatch, "0", 1)
    assert levels == [1, 2, 3]
    assert said[1] == "lost: the camera only repeats its last frame; reconnecting"


def test_a_frozen_picture_at_its_pace_is_no_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pathlib.Path.exists", lambda _: True)
    monkeypatch.setattr(FakeCapture, "script", [grey(5)] * 8 + [None])
    levels, said = read_sessions(monkeypatch, "0", 1)
    assert levels == [5] * 8
    assert said[1] == "lost: it delivers nothing any more; reconnecting"
