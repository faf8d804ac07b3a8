"""The CUDA runtime of a GPU that is not here."""

from __future__ import annotations

from types import SimpleNamespace

SUCCESS, FAILURE = 0, 35


class StandInCuda(SimpleNamespace):
    """The CUDA runtime of a GPU whose every event is 2.5 ms after the one before."""

    def __init__(self) -> None:
        super().__init__(cudaError_t=SimpleNamespace(cudaSuccess=SUCCESS), done=[])
        self.times: dict[int, float] = {}
        self.events = 0

    def cudaEventCreate(self) -> tuple[int, int]:  # noqa: N802
        self.events += 1
        return SUCCESS, self.events

    def cudaEventDestroy(self, _: int) -> tuple[int]:  # noqa: N802
        self.events -= 1
        return (SUCCESS,)

    def cudaEventRecord(self, event: int, stream: int) -> tuple[int]:  # noqa: N802
        self.done.append(f"event {event} on {stream}")
        self.times[event] = 2.5 * len(self.times)
        return (SUCCESS,)

    def cudaEventSynchronize(self, event: int) -> tuple[int]:  # noqa: N802
        self.done.append(f"wait for {event}")
        return (SUCCESS,)

    def cudaEventElapsedTime(self, start: int, end: int) -> tuple[int, float]:  # noqa: N802
        return SUCCESS, self.times[end] - self.times[start]

    def cudaGetErrorString(self, _: int) -> tuple[int, bytes]:  # noqa: N802
        return SUCCESS, b"an illegal memory access"
