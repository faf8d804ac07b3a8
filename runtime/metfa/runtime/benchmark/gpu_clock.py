"""How long a GPU works on a call of a backend, by its own clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..bundle.engine_record import cuda_bindings_installed

if TYPE_CHECKING:
    from ..backends import Backend
    from ..bundle.directory import Bundle

Clock = Callable[[NDArray[np.uint8]], float]
"""Frames → milliseconds of one call, from the first copy to the GPU to the last one back."""


def gpu_clock(name: str, backend: Backend, bundle: Bundle) -> Clock | None:
    """Return what times calls of ``backend``, which is a ``name``; None where no CUDA bindings tell of its GPU."""
    if name not in {"cuda", "tensorrt"} or not cuda_bindings_installed():
        return None
    return _time_cuda(bundle, backend.artefact) if name == "cuda" else _time_tensorrt(backend)


def _time_tensorrt(backend: Backend) -> Clock:
    """Time what is enqueued for frames that lie in page-locked memory: two copies, and the engine or its CUDA graph."""
    from ..backends.gpu import Stopwatch
    from ..backends.tensorrt import TensorRtBackend

    assert isinstance(backend, TensorRtBackend)
    stopwatch = Stopwatch(backend.stream)

    def time(frames: NDArray[np.uint8]) -> float:
        most = backend.batch.maximum
        counts = [len(frames[start : start + most]) for start in range(0, len(frames), most)]
        backend.infer(frames[:most])  # they are in its memory from now on
        return sum(stopwatch.time(lambda count=count: backend.enqueue(count)) for count in counts)  # type: ignore[misc]

    return time


def _time_cuda(bundle: Bundle, artefact: str) -> Clock:
    """Time a session of the same file on a stream that is known, which the backend leaves to ONNX Runtime.

    Between the events are the copies and the kernels, and the gaps while the next of them is launched.
    """
    import onnxruntime

    from ..backends.gpu import Stopwatch, Stream

    stream = Stream()
    stopwatch = Stopwatch(stream)
    provider = ("CUDAExecutionProvider", {"user_compute_stream": str(stream.handle)})
    session = onnxruntime.InferenceSession(bundle.read(artefact), providers=[provider])

    def time(frames: NDArray[np.uint8]) -> float:
        return stopwatch.time(lambda: session.run(["logits", "embedding"], {"frame": frames}))

    return time
