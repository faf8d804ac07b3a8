"""The NVIDIA GPU under TensorRT: which it is, its memory and its stream. Alone in importing the CUDA bindings."""

from __future__ import annotations

import ctypes
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from cuda.bindings import runtime as cuda

from ..errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import DTypeLike, NDArray


@dataclass(frozen=True, slots=True)
class Device:
    """The current GPU.

    Attributes:
        name: as the driver gives it.
        compute_capability: such as ``8.6``.
    """

    name: str
    compute_capability: str


def current_device() -> Device:
    """Return the GPU that this process uses.

    Raises:
        BackendError: there is no GPU, or its driver is missing or too old.
    """
    error, index = cuda.cudaGetDevice()
    if error != cuda.cudaError_t.cudaSuccess:
        raise BackendError(
            expected="an NVIDIA GPU with its driver",
            received=_describe(error),
            remedy="check both with nvidia-smi, or use --backend cpu",
        )
    properties = call(cuda.cudaGetDeviceProperties, index)
    return Device(properties.name.rstrip(b"\0").decode(), f"{properties.major}.{properties.minor}")


def runtime_version() -> str:
    """Return the version of the CUDA runtime, such as ``12.6``; needs no GPU."""
    major, rest = divmod(call(cuda.cudaRuntimeGetVersion), 1000)
    return f"{major}.{rest // 10}"


def driver_version() -> str:
    """Return the newest version of CUDA that the driver knows, such as ``12.8``; ``0.0`` where there is no driver."""
    major, rest = divmod(call(cuda.cudaDriverGetVersion), 1000)
    return f"{major}.{rest // 10}"


def call(function: Any, *arguments: Any) -> Any:
    """Call a function of the CUDA runtime and return its result; None where it has none.

    Raises:
        BackendError: the runtime returned an error.
    """
    error, *results = function(*arguments)
    if error != cuda.cudaError_t.cudaSuccess:
        raise BackendError(
            expected=f"{function.__name__} to succeed on an NVIDIA GPU",
            received=_describe(error),
            remedy="check the GPU and its driver with nvidia-smi, or use --backend cpu",
        )
    return results[0] if results else None


def _describe(error: Any) -> str:
    """Return what CUDA says of its own error."""
    _, text = cuda.cudaGetErrorString(error)
    return str(text.decode())


class Stream:
    """A CUDA stream; ``handle`` is what TensorRT takes."""

    def __init__(self) -> None:
        self._stream = call(cuda.cudaStreamCreate)
        self.handle = int(self._stream)
        weakref.finalize(self, cuda.cudaStreamDestroy, self._stream)

    def synchronise(self) -> None:
        """Wait until all that was enqueued is done."""
        call(cuda.cudaStreamSynchronize, self._stream)


class Stopwatch:
    """How long a stream works, by the GPU's own clock: CUDA events around what is enqueued.

    Args:
        stream: the stream.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._events = [call(cuda.cudaEventCreate) for _ in range(2)]
        for event in self._events:
            weakref.finalize(self, cuda.cudaEventDestroy, event)

    def time(self, enqueue: Callable[[], object]) -> float:
        """Return the milliseconds from before until after what ``enqueue`` puts on the stream; waits until it is done.

        Raises:
            BackendError: it failed on the GPU.
        """
        start, end = self._events
        call(cuda.cudaEventRecord, start, self._stream.handle)
        enqueue()
        call(cuda.cudaEventRecord, end, self._stream.handle)
        call(cuda.cudaEventSynchronize, end)
        return float(call(cuda.cudaEventElapsedTime, start, end))


class Graph:
    """What ``enqueue`` puts on ``stream``, recorded once: one launch in place of one for each kernel and copy.

    It repeats shapes and addresses as they were when it was recorded; nothing of it runs before :meth:`launch`.

    Raises:
        BackendError: something that was enqueued cannot be recorded.
    """

    def __init__(self, stream: Stream, enqueue: Callable[[], None]) -> None:
        self._stream = stream
        # Of this thread alone: other threads may allocate meanwhile.
        call(cuda.cudaStreamBeginCapture, stream.handle, cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal)
        try:
            enqueue()
        except BackendError:
            cuda.cudaStreamEndCapture(stream.handle)  # fails, too, but frees the stream
            raise
        graph = call(cuda.cudaStreamEndCapture, stream.handle)
        self._executable = call(cuda.cudaGraphInstantiate, graph, 0)
        call(cuda.cudaGraphDestroy, graph)
        weakref.finalize(self, cuda.cudaGraphExecDestroy, self._executable)

    def launch(self) -> None:
        """Enqueue all of it."""
        call(cuda.cudaGraphLaunch, self._executable, self._stream.handle)


class Buffer:
    """An array twice: in the GPU's memory at ``address``, and in page-locked host memory as ``host``.

    Both are allocated once and never move, so that their addresses can be bound once.
    """

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        self.address = int(call(cuda.cudaMalloc, size))
        weakref.finalize(self, cuda.cudaFree, self.address)
        page_locked = int(call(cuda.cudaMallocHost, size))
        weakref.finalize(self, cuda.cudaFreeHost, page_locked)
        memory = (ctypes.c_uint8 * size).from_address(page_locked)
        self.host: NDArray[Any] = np.ctypeslib.as_array(memory).view(dtype).reshape(shape)

    def upload(self, count: int, stream: Stream) -> None:
        """Enqueue the copy of the first ``count`` rows to the GPU."""
        size, direction = self.host[:count].nbytes, cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        call(cuda.cudaMemcpyAsync, self.address, self.host.ctypes.data, size, direction, stream.handle)

    def download(self, count: int, stream: Stream) -> None:
        """Enqueue the copy of the first ``count`` rows from the GPU."""
        size, direction = self.host[:count].nbytes, cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        call(cuda.cudaMemcpyAsync, self.host.ctypes.data, self.address, size, direction, stream.handle)
