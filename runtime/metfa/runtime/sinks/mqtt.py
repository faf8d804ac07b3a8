"""Decisions and events for an MQTT broker, from which dashboards and hospital systems take them."""

from __future__ import annotations

import os
import re
import ssl
import sys
import threading
import time
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from ..address import Address
from .base import Sink
from .events import decision_record, event_record, to_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from paho.mqtt.client import ConnectFlags, DisconnectFlags
    from paho.mqtt.reasoncodes import ReasonCode

    from ..frame import Decision, ModelIdentity, Observation, PlaneEvent

_PORTS = {"mqtt": 1883, "mqtts": 8883}
_AT_LEAST_ONCE = 1  # quality of service
_KEEP_ALIVE_SECONDS = 15  # a broker that is silent for so long is away
_RECONNECT_SECONDS = (1, 30)  # from, to
_MAX_WAITING = 1000  # messages that wait for the broker
_CLOSE_SECONDS = 0.8  # a stream that a signal ends gives its sinks a second


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker, and where on it the messages of metfa go.

    Attributes:
        host: a name or an IP address, without brackets.
        port: of MQTT over TCP.
        encrypted: whether over TLS, with the certificates that OpenSSL trusts.
        prefix: of all topics; no slash at its end.
        user: None for nobody.
        password: of the text, or else of the environment; None for none.
    """

    host: str
    port: int
    encrypted: bool
    prefix: str
    user: str | None = None
    password: str | None = None

    @classmethod
    def parse(cls, text: str) -> Broker:
        """Return what ``mqtt[s]://[USER[:PASSWORD]@]HOST[:PORT][/PREFIX]`` says; the prefix is ``metfa`` without one.

        Raises:
            ValueError: it is not spelt so, or the prefix cannot begin a topic.
        """
        parts = urlsplit(text)
        prefix = unquote(parts.path).strip("/") or "metfa"
        if parts.scheme not in _PORTS or not parts.hostname or not {"?", "#"}.isdisjoint(text):
            raise ValueError("it is not spelt so")
        parts.hostname.encode("idna")  # what no name server is asked
        if re.search(r"[+#\x00-\x1f\x7f]", prefix) or prefix.startswith("$") or len(prefix.encode()) > 1000:
            raise ValueError("its topics cannot begin like that")
        return cls(
            parts.hostname,
            parts.port or _PORTS[parts.scheme],
            parts.scheme == "mqtts",
            prefix,
            None if parts.username is None else unquote(parts.username),
            unquote(parts.password) if parts.password else _password_of_user(),
        )

    def of(self, source: str) -> Broker:
        """Return the same for one of several sources, whose name follows the prefix; an empty name changes nothing."""
        return replace(self, prefix=f"{self.prefix}/{source}") if source else self

    def __str__(self) -> str:
        return f"mqtt{'s' * self.encrypted}://{Address(self.host, self.port)}"


def _password_of_user() -> str | None:
    """Take the password out of the environment; no program that this one starts is to know it."""
    return os.environ.pop("METFA_MQTT_PASSWORD", None)


class MqttSink(Sink):
    """Publishes what one source shows. A broker that is away is tried again until the end; the stream does not wait.

    ::

        PREFIX/state      online or offline                                            retained, also as the last will
        PREFIX/model      {"bundle": "…", "backend": "…"}                                                     retained
        PREFIX/decision   {"status": "plane", "plane": "…", "confidence": 0.97, "time": 12.3, "sent": "…"}    retained
        PREFIX/event      {"plane": "…", "start": 0.2, …, "source": "…", "sent": "…"}

    A decision is published where its status or plane changes; events are those of
    :class:`~metfa.runtime.sinks.events.JsonLinesSink`. ``sent`` is the time of day (UTC). Each message is delivered at
    least once; of events, a thousand wait for a broker that is away, and what is beyond is counted.

    Args:
        broker: is connected to in a thread of its own.
        say: told in a line when the broker is away and when it is back; from any thread.
    """

    name = "mqtt"
    kind = "records"

    def __init__(self, broker: Broker, say: Callable[[str], object]) -> None:
        self._broker = broker
        self._say = say
        self._told = ""  # the last line
        self._retained: dict[str, bytes] = {}  # what a broker that is new or back must know, by topic
        self._shown: Decision | None = None
        self._model: ModelIdentity | None = None
        self._sent: dict[int, str] = {}  # what the broker may not have confirmed: the name of each message
        self._confirmed: set[int] = set()  # paho says this in its own thread, perhaps before ``publish`` has returned
        self._refused = 0
        self._connected = threading.Event()
        self._closed = False
        self._client = client = Client(CallbackAPIVersion.VERSION2)
        client.max_queued_messages_set(_MAX_WAITING)
        client.reconnect_delay_set(*_RECONNECT_SECONDS)
        client.will_set(self._topic("state"), b"offline", _AT_LEAST_ONCE, retain=True)
        client.username_pw_set(broker.user, broker.password)
        if broker.encrypted:
            client.tls_set_context(ssl.create_default_context())
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_publish = lambda _, __, number, *___: self._confirmed.add(number)
        client.connect_async(broker.host, broker.port, _KEEP_ALIVE_SECONDS)
        client.loop_start()

    def write(self, observation: Observation) -> None:
        """Publish the decision and the model, where they are others than before."""
        if (model := observation.model) is not None and model != self._model:
            self._model = model
            self._retain("model", to_json({"bundle": model.bundle, "backend": model.backend}))
        decision, shown = observation.decision, self._shown
        if shown is None or (decision.status, decision.plane) != (shown.status, shown.plane):
            self._shown = decision
            record = {**decision_record(decision), "time": round(observation.time, 3), "sent": _now()}
            self._retain("decision", to_json(record))

    def write_event(self, event: PlaneEvent) -> None:
        """Publish the event."""
        self._on_their_way()
        self._publish("event", to_json({**event_record(event), "sent": _now()}))

    def close(self) -> None:
        """Give the broker a moment for what is on its way, tell it of the end, and say what it did not get."""
        if self._closed:
            return
        self._closed = True
        deadline = time.monotonic() + _CLOSE_SECONDS
        if self._connected.wait(_CLOSE_SECONDS):
            self._publish("state", b"offline", retain=True)
            while self._on_their_way() and time.monotonic() < deadline:
                time.sleep(0.01)
        self._client.disconnect()  # which ends paho's thread; one that hangs in a connection ends with the process
        if lost := self._refused + self._on_their_way().count("event"):
            self._say(f"mqtt: {lost} events may not have reached {self._broker}")

    def _topic(self, name: str) -> str:
        return f"{self._broker.prefix}/{name}"

    def _retain(self, name: str, payload: bytes) -> None:
        self._retained = {**self._retained, name: payload}
        if self._connected.is_set():
            self._publish(name, payload, retain=True)

    def _publish(self, name: str, payload: bytes, *, retain: bool = False) -> None:
        message = self._client.publish(self._topic(name), payload, _AT_LEAST_ONCE, retain)
        if message.rc != MQTTErrorCode.MQTT_ERR_QUEUE_SIZE:
            self._sent[message.mid] = name
        elif name == "event":
            self._refused += 1

    def _on_their_way(self) -> list[str]:
        """Return the names of the messages that the broker has not confirmed, and forget the others."""
        for number in tuple(self._confirmed):
            if self._sent.pop(number, None) is not None:
                self._confirmed.discard(number)
        return list(self._sent.values())

    def _on_connect(self, client: Client, _: Any, flags: ConnectFlags, reason: ReasonCode, __: Any) -> None:
        if reason.is_failure:
            self._tell(f"{self._broker} refuses the connection: {reason}; events wait")
            return
        self._tell(f"{self._broker}/{self._broker.prefix}")
        self._connected.set()
        self._publish("state", b"online", retain=True)
        for name, payload in self._retained.items():
            self._publish(name, payload, retain=True)

    def _on_connect_fail(self, client: Client, _: Any) -> None:
        self._tell(f"{self._broker} cannot be reached ({sys.exc_info()[1]}); events wait")

    def _on_disconnect(self, client: Client, _: Any, flags: DisconnectFlags, reason: ReasonCode, __: Any) -> None:
        was_connected = self._connected.is_set()
        self._connected.clear()
        if was_connected and not self._closed:
            self._tell(f"{self._broker} is away; events wait")

    def _tell(self, line: str) -> None:
        """Say what happened, once for all attempts that end alike."""
        if line != self._told:
            self._told = line
            self._say(f"mqtt: {line}")


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
