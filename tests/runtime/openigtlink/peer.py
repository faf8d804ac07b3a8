"""A server that sends what a test says, and messages as pyigtl packs them."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pyigtl

if TYPE_CHECKING:
    from numpy.typing import NDArray


def image_message(image: NDArray[Any], device: str = "Image_Reference", **fields: object) -> bytes:
    """Return an IMAGE message as pyigtl packs it, with ``image`` [H, W] or [H, W, 3] as its only slice."""
    message = pyigtl.ImageMessage(image[np.newaxis], device_name=device)
    for name, value in fields.items():
        setattr(message, name, value)
    return bytes(message.pack())


def transform_message(device: str = "ProbeToTracker") -> bytes:
    return bytes(pyigtl.TransformMessage(np.eye(4), device_name=device).pack())


class Peer:
    """Listens on the loopback, and greets who connects with the next of its greetings; the last is repeated."""

    def __init__(self, *greetings: bytes) -> None:
        self.connections: list[socket.socket] = []
        self._greetings = greetings
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"igtl://127.0.0.1:{self.port}"

    def send(self, data: bytes) -> None:
        """Send to who connected last."""
        self.connections[-1].sendall(data)

    def drop(self) -> None:
        """Close the last connection."""
        self.connections[-1].shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listening.close()
        for connection in self.connections:
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            greeting = self._greetings[min(len(self.connections), len(self._greetings) - 1)]
            self.connections.append(connection)
            connection.sendall(greeting)
