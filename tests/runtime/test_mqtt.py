"""``metfa-stream --mqtt`` beside Mosquitto: what the broker passes on, and what happens when it is away."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("paho.mqtt")

from metfa.runtime import Frame, PlaneEvent
from metfa.runtime.sinks import mqtt
from metfa.runtime.sinks.mqtt import Broker, MqttSink

from .conftest import grey, make_observation, make_prediction
from .test_sinks import predict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATH = f"{os.environ['PATH']}:/usr/sbin"  # where Debian has Mosquitto, and users' paths do not
MOSQUITTO = shutil.which("mosquitto", path=PATH)
needs_mosquitto = pytest.mark.skipif(
    MOSQUITTO is None or shutil.which("mosquitto_sub") is None, reason="needs mosquitto and mosquitto-clients"
)
COMMAND = [sys.executable, "-c", "from metfa.runtime.cli import run; run()"]
HEADLESS = {name: value for name, value in os.environ.items() if name not in {"DISPLAY", "WAYLAND_DISPLAY"}}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "_RECONNECT_SECONDS", (1, 1))


def until(condition: Callable[[], object]) -> None:
    while not condition():
        time.sleep(0.01)


class Mosquitto:
    """A broker that can be stopped and started again on its port; what is retained is lost with it."""

    def __init__(self, directory: Path, *settings: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self._settings = directory / "mosquitto.conf"
        self._settings.write_text("\n".join([f"listener {self.port} 127.0.0.1", *settings, ""]))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert MOSQUITTO is not None
        self._process = subprocess.Popen([MOSQUITTO, "-c", self._settings], stderr=subprocess.DEVNULL)
        until(self._answers)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _answers(self) -> bool:
        with socket.socket() as attempt:
            return attempt.connect_ex(("127.0.0.1", self.port)) == 0


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    running = Mosquitto(tmp_path, "allow_anonymous true")
    running.start()
    yield running
    running.kill()


class Subscriber:
    """``mosquitto_sub``, which is told of each message below a topic."""

    def __init__(self, port: int, topic: str = "#") -> None:
        # %r: whether the broker had kept it, %t: topic, %p: payload
        self._process = subprocess.Popen(
            ["mosquitto_sub", "-p", str(port), "-t", topic, "-F", "%r %t %p"],
            stdout=subprocess.PIPE,
            text=True,
        )

    def next(self) -> tuple[bool, str, str]:
        assert self._process.stdout is not None
        retained, topic, payload = self._process.stdout.readline().rstrip("\n").split(" ", 2)
        return retained == "1", topic, payload

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@contextmanager
def subscribed(port: int, topic: str = "#") -> Iterator[Subscriber]:
    subscriber = Subscriber(port, topic)
    try:
        yield subscriber
    finally:
        subscriber.close()


@contextmanager
def streaming(bundle: Path, url: str, *options: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Stream raw frames of 64 × 48 from standard input."""
    process = subprocess.Popen(
        [*COMMAND, "--bundle", bundle, "--device", "-", "--size", "64x48", "--format", "gray", "--mqtt", url, *options],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=HEADLESS | environment,
    )
    with process:
        yield process
        process.kill()


@contextmanager
def showing_bright(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Let the stream see a bright picture meanwhile, with some noise."""
    assert process.stdin is not None
    pipe, ended, random = process.stdin, threading.Event(), np.random.default_rng(0)
    still = random.integers(180, 240, (48, 64), np.uint8)

    def feed() -> None:
        while not ended.wait(0.02):
            pipe.write((still + random.integers(0, 9, still.shape, np.uint8)).tobytes())
            pipe.flush()

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def line_of(process: subprocess.Popen[bytes], beginning: str) -> str:
    """Return the next line of stderr that begins like that."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.decode().startswith(beginning):
            return line.decode().rstrip("\n")
    raise AssertionError(beginning)


def event(number: int = 0) -> PlaneEvent:
    return PlaneEvent("bright", 0.2, 1.2, 6, 36, 0.9, Frame(grey(9), 20 + number, 1.0, "scan.mp4"))


@pytest.mark.parametrize(
    ("text", "broker"),
    [
        ("mqtt://ward", Broker("ward", 1883, False, "metfa")),
        ("mqtts://ward/", Broker("ward", 8883, True, "metfa")),
        ("mqtt://[::1]:99/a/b/", Broker("::1", 99, False, "a/b")),
        ("mqtts://n%40h:p%3A%2F@ward/room%201", Broker("ward", 8883, True, "room 1", "n@h", "p:/")),
        ("mqtt://nurse@ward", Broker("ward", 1883, False, "metfa", "nurse", None)),
    ],
)
def test_a_broker_is_named_by_a_url(text: str, broker: Broker) -> None:
    assert Broker.parse(text) == broker


@pytest.mark.parametrize(
    "text",
    [
        "ward",
        "ward:1883",
        "http://ward",
        "mqtt://",
        "mqtt://ward:99999",
        "mqtt://ward:port",
        "mqtt://ward/a/#",
        "mqtt://ward/+/b",
        "mqtt://ward/$SYS",
        "mqtt://ward/a%00b",
        "mqtt://ward/" + "a" * 1001,
        "mqtt://ward?ca=x",
        "mqtt://a..b",
        "mqtt://[::1",
    ],
)
def test_other_names_are_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # which of them does not matter
        Broker.parse(text)


def test_what_is_mistyped_is_not_repeated_as_there_may_be_a_password_in_it(bundle: Path) -> None:
    command = [*COMMAND, "--device", "-", "--mqtt", "mqtt://nurse:secret@ward/#", "--bundle", str(bundle)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "expected mqtt[s]://" in done.stderr
    assert "secret" not in done.stderr


@needs_mosquitto
def test_subscribers_are_told_of_the_stream_its_decisions_and_its_events(
    bundle: Path, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    records = tmp_path / "events.jsonl"
    with (
        subscribed(mosquitto.port) as now,
        streaming(
            bundle, f"mqtt://127.0.0.1:{mosquitto.port}/ward/1", "--dwell", "0", "--events", str(records)
        ) as process,
    ):
        assert now.next() == (False, "ward/1/state", "online")
        heard: dict[str, dict[str, Any]] = {}
        with showing_bright(process):
            while heard.get("ward/1/decision", {}).get("plane") is None:
                retained, topic, payload = now.next()
                assert not retained
                heard[topic] = json.loads(payload)
        assert heard["ward/1/model"]["bundle"]
        assert heard["ward/1/decision"].items() >= {"status": "plane", "plane": "bright"}.items()
        assert process.stdin is not None
        process.stdin.close()
        process.wait()
        _, topic, payload = now.next()
        *_, written = map(json.loads, records.read_text().splitlines())
        assert (topic, written.pop("type")) == ("ward/1/event", "event")
        assert json.loads(payload).items() >= written.items()
        assert now.next() == (False, "ward/1/state", "offline")
    with subscribed(mosquitto.port) as later:
        kept = {topic: (retained, payload) for retained, topic, payload in (later.next() for _ in range(3))}
    assert kept["ward/1/state"] == (True, "offline")
    assert kept.keys() == {"ward/1/state", "ward/1/model", "ward/1/decision"}


@needs_mosquitto
def test_the_broker_says_that_a_stream_is_gone_that_was_killed(bundle: Path, mosquitto: Mosquitto) -> None:
    with (
        subscribed(mosquitto.port, "metfa/state") as subscriber,
        streaming(bundle, f"mqtt://127.0.0.1:{mosquitto.port}") as process,
    ):
        assert subscriber.next()[2] == "online"
        process.kill()
        assert subscriber.next() == (False, "metfa/state", "offline")


def test_each_of_several_sources_has_topics_of_its_own() -> None:
    broker = Broker.parse("mqtt://ward/floor")
    assert broker.of("room-1").prefix == "floor/room-1"
    assert broker.of("") == broker


@needs_mosquitto
def test_events_wait_for_a_broker_that_is_not_there_yet_and_for_one_that_is_restarted(tmp_path: Path) -> None:
    mosquitto, told = Mosquitto(tmp_path, "allow_anonymous true"), list[str]()
    address = f"mqtt://127.0.0.1:{mosquitto.port}"
    with MqttSink(Broker.parse(address), told.append) as sink:
        until(lambda: told)
        assert told == [f"mqtt: {address} cannot be reached ([Errno 111] Connection refused); events wait"]
        sink.write(make_observation(Frame(grey(9), 0, 1.0, "scan"), predict(), plane="Θώραξ"))
        sink.write_event(event(0))
        mosquitto.start()
        until(lambda: len(told) == 2)
        with subscribed(mosquitto.port, "metfa/decision") as subscriber:
            assert json.loads(subscriber.next()[2])["plane"] == "Θώραξ"
        mosquitto.kill()
        until(lambda: len(told) == 3)
        sink.write_event(event(1))
        mosquitto.start()
        with subscribed(mosquitto.port) as subscriber:
            heard = {topic: payload for _, topic, payload in (subscriber.next() for _ in range(3))}
        assert heard["metfa/state"] == "online"
        assert json.loads(heard["metfa/event"])["best_index"] == 21
        assert json.loads(heard["metfa/decision"])["plane"] == "Θώραξ"
    mosquitto.kill()
    assert told[1:] == [
        f"mqtt: {address}/metfa",
        f"mqtt: {address} is away; events wait",
        f"mqtt: {address}/metfa",
    ]


@needs_mosquitto
def test_what_does_not_change_is_published_once(mosquitto: Mosquitto) -> None:
    with subscribed(mosquitto.port) as subscriber:
        with MqttSink(Broker.parse(f"mqtt://127.0.0.1:{mosquitto.port}"), lambda _: None) as sink:
            assert subscriber.next()[1:] == ("metfa/state", "online")
            for index, plane in enumerate(["a", "a", "a", "b"]):
                prediction = make_prediction("a", predict().probabilities, grey(9))
                observation = make_observation(Frame(grey(9), index, 1.0, "scan"), prediction, plane=plane, time=index)
                sink.write(observation)
        heard = []
        while (message := subscriber.next()[1:]) != ("metfa/state", "offline"):
            heard.append(json.loads(message[1]))
    assert [(each["plane"], each["time"]) for each in heard] == [("a", 0.0), ("b", 3.0)]


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """An authority, and the certificate that it gave 127.0.0.1."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl, which makes certificates")
    directory = tmp_path / "certificates"
    directory.mkdir()
    new = "openssl req -x509 -newkey rsa:2048 -nodes -days 2"
    for command in (
        f"{new} -subj /CN=authority -keyout authority.key -out authority.pem -addext keyUsage=critical,keyCertSign",
        "openssl req -newkey rsa:2048 -nodes -subj /CN=127.0.0.1 -keyout server.key -out server.csr "
        "-addext subjectAltName=IP:127.0.0.1",
        "openssl x509 -req -in server.csr -CA authority.pem -CAkey authority.key -days 2 -out server.pem "
        "-copy_extensions copy",
    ):
        subprocess.run(command.split(), cwd=directory, check=True, capture_output=True)
    return directory


@needs_mosquitto
def test_a_broker_can_ask_for_encryption_and_a_password(
    bundle: Path, certificates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passwords = tmp_path / "passwords"
    password_tool = shutil.which("mosquitto_passwd")
    assert password_tool is not None
    subprocess.run([password_tool, "-b", "-c", passwords, "nurse", "secret"], check=True, capture_output=True)
    passwords.chmod(0o644)
    for file in (tmp_path, certificates, *certificates.iterdir()):  # Mosquitto gives up the rights of root
        file.chmod(0o755)
    mosquitto = Mosquitto(
        tmp_path,
        f"certfile {certificates / 'server.pem'}",
        f"keyfile {certificates / 'server.key'}",
        f"password_file {passwords}",
        "user root",
    )
    mosquitto.start()
    address = f"127.0.0.1:{mosquitto.port}"
    trust = {"SSL_CERT_FILE": str(certificates / "authority.pem")}
    try:
        with streaming(bundle, f"mqtts://nurse@{address}", METFA_MQTT_PASSWORD="secret", **trust) as process:
            assert line_of(process, "mqtt:") == f"mqtt: mqtts://{address}/metfa"
        with streaming(bundle, f"mqtts://nurse:wrong@{address}", **trust) as process:
            refusal = line_of(process, "mqtt:")
            assert refusal == f"mqtt: mqtts://{address} refuses the connection: Not authorized; events wait"
        with streaming(bundle, f"mqtts://nurse:secret@{address}") as process:
            assert "certificate verify failed" in line_of(process, "mqtt:")
    finally:
        mosquitto.kill()


@contextmanager
def serving(answer: bytes) -> Iterator[tuple[int, threading.Event]]:
    """Take connections and what they send, and say ``answer``, whatever MQTT asks for."""
    ended, heard = threading.Event(), threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.02)

        def serve() -> None:
            held = []
            while not ended.is_set():
                try:
                    connection, _ = listening.accept()
                except TimeoutError:
                    continue
                connection.settimeout(1)
                held.append(connection)
                connection.recv(1 << 16)
                connection.sendall(answer)
                heard.set()
            for connection in held:
                connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1], heard
        finally:
            ended.set()
            thread.join()


CONNECTED = bytes([0x20, 2, 0, 0])  # CONNACK


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="silent"),
        pytest.param(CONNECTED, id="silent once it has accepted"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", id="no MQTT"),
        pytest.param(bytes([0x20, 0xFF, 0xFF, 0xFF, 0x7F]), id="a forged length of 256 MB"),
        pytest.param(bytes([0x20, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]), id="a length that does not end"),
    ],
)
def test_a_broker_that_hangs_or_errs_costs_the_stream_nothing(answer: bytes) -> None:
    told: list[str] = []
    with serving(answer) as (port, heard):
        address = f"mqtt://127.0.0.1:{port}"
        with MqttSink(Broker.parse(address), told.append) as sink:
            assert heard.wait(60)
            for number in range(3):
                sink.write_event(event(number))
        assert told[-1] == f"mqtt: 3 events may not have reached {address}"


def test_of_events_that_wait_a_thousand_are_kept_and_the_others_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "_CLOSE_SECONDS", 0.0)
    told: list[str] = []
    with serving(b"") as (port, _), MqttSink(Broker.parse(f"mqtt://127.0.0.1:{port}"), told.append) as sink:
        for number in range(1500):
            sink.write_event(event(number))
        assert len(sink._on_their_way()) == 1000
    assert told == [f"mqtt: 1500 events may not have reached mqtt://127.0.0.1:{port}"]
