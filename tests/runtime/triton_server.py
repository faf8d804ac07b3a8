"""A server that speaks Triton's protocol, on the client's generated schema, with ONNX Runtime behind it.

It answers as Triton 2.51 does, also to what it does not know. It is no proof of that: ``backends/test_real_triton.py``
asks a real one, where there is one.
"""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import onnxruntime
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

from metfa.export.serving.triton import write_triton_repository
from metfa.runtime.bundle.directory import Bundle

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray


class TritonServer(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]  # no types are shipped
    """Serves a bundle; use as a context manager. What it says and does may be changed while it runs.

    Attributes:
        port: stays the same when it stops and starts again.
        config: of the model, as it is told.
        version: of the model.
        ready: whether it says that the model is.
        status: with which it answers frames; None where it classifies them.
        answer: called before each answer to frames, which waits for it.
        spoil: changes what it answers to frames.
        frames: how many it has classified.
        batches: of how many frames each request was.
    """

    def __init__(self, bundle: Path, repository: Path, *, port: int = 0) -> None:
        model = write_triton_repository(Bundle.open(bundle), repository)
        self.config = text_format.Parse((model / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
        (version,) = (path for path in model.iterdir() if path.is_dir())
        self.version = version.name
        self.ready = True
        self.status: grpc.StatusCode | None = None
        self.answer: Callable[[], object] = lambda: None
        self.spoil: Callable[[Any], object] = lambda response: None
        self.frames = 0
        self.batches: list[int] = []
        self.port = port
        self._session = onnxruntime.InferenceSession(version / "model.onnx")
        self._changed = threading.Condition()
        self._server: grpc.Server | None = None

    def start(self) -> None:
        self._server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        self._server.start()

    def stop(self) -> None:
        """End at once, as if it were killed: requests that it works on get no answer."""
        if self._server is not None:
            self._server.stop(grace=None).wait()
            self._server = None

    def __enter__(self) -> TritonServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def address(self) -> str:
        """What ``--backend`` calls it."""
        return f"triton:127.0.0.1:{self.port}/{self.config.name}"

    def wait_for_frames(self, number: int) -> None:
        """Wait until it has classified so many more frames."""
        with self._changed:
            wanted = self.frames + number
            assert self._changed.wait_for(lambda: self.frames >= wanted, timeout=60)

    def ServerLive(self, request: Any, context: Any) -> Any:  # noqa: N802  # the protocol's names
        return service_pb2.ServerLiveResponse(live=True)

    def ServerMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        return service_pb2.ServerMetadataResponse(name="triton", version="0.0.0")

    def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        return service_pb2.ModelReadyResponse(ready=self.ready and request.name == self.config.name)

    def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._require_known(request.name, request.version, context)
        return service_pb2.ModelMetadataResponse(
            name=self.config.name,
            versions=[self.version],
            platform=self.config.platform,
            inputs=map(_metadata, self.config.input),
            outputs=map(_metadata, self.config.output),
        )

    def ModelConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._require_known(request.name, request.version, context)
        return service_pb2.ModelConfigResponse(config=self.config)

    def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._require_known(request.model_name, request.model_version, context)
        self.answer()
        if self.status is not None:
            context.abort(self.status, "it went wrong")
        (frame,) = request.inputs
        if frame.shape[0] > self.config.max_batch_size:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"batch-size must be <= {self.config.max_batch_size}")
        frames = np.frombuffer(request.raw_input_contents[0], np.uint8).reshape(tuple(frame.shape))
        names = [output.name for output in self.config.output]
        response = _response(dict(zip(names, self._session.run(names, {"frame": frames}), strict=True)))
        self.spoil(response)
        with self._changed:
            self.batches.append(len(frames))
            self.frames += len(frames)
            self._changed.notify_all()
        return response

    def _require_known(self, name: str, version: str, context: Any) -> None:
        if name != self.config.name:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Request for unknown model: '{name}' is not found")
        if version not in {"", self.version}:
            message = f"Request for unknown model: '{name}' version {version} is not found"
            context.abort(grpc.StatusCode.NOT_FOUND, message)


class Network:
    """What lies between: it forwards connections to a port, until it swallows all that they carry."""

    def __init__(self, port: int) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._to = port
        self._sockets: list[socket.socket] = []
        self._swallowed: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def swallow(self) -> None:
        """Lose what the present connections carry from now on; nobody is told. Later ones are forwarded."""
        self._swallowed.update(self._sockets)

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        for end in (self._listening, *self._sockets):
            end.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
                self._sockets += near, far
                for ends in ((near, far), (far, near)):
                    threading.Thread(target=self._forward, args=ends, daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if source not in self._swallowed:
                    sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


def _metadata(tensor: Any) -> Any:
    kind = model_config_pb2.DataType.Name(tensor.data_type).removeprefix("TYPE_")
    return service_pb2.ModelMetadataResponse.TensorMetadata(name=tensor.name, datatype=kind, shape=[-1, *tensor.dims])


def _response(outputs: dict[str, NDArray[np.float32]]) -> Any:
    response = service_pb2.ModelInferResponse()
    for name, values in outputs.items():
        response.outputs.add(name=name, datatype="FP32", shape=values.shape)
        response.raw_output_contents.append(values.tobytes())
    return response


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
