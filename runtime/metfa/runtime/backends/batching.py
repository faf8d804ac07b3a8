"""One model for several threads: frames that wait together are inferred as one batch."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from . import Inference

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from . import Backend

MAX_BATCH = 8
"""Frames that are inferred at once: as many as an engine takes unless ``metfa-export --batch`` says otherwise."""


class BatchingBackend:
    """A backend that any number of threads share.

    Nobody waits for a batch to fill: whoever comes while the backend is free runs at once, and what comes meanwhile
    makes up the next batch. One of the threads that wait runs it, so that there is no thread between.

    Args:
        backend: what infers; as many threads are in it at once as it says.
    """

    def __init__(self, backend: Backend) -> None:
        self.description = backend.description
        self.artefact = backend.artefact
        self.concurrency = backend.concurrency
        self._backend = backend
        self._changing = threading.Lock()  # of the two below
        self._waiting: deque[_Request] = deque()
        self._running = 0

    def infer(self, frames: NDArray[np.uint8]) -> Inference:
        """Run the model on ``frames``, uint8 [N, 1, H, W] of the contract's size, perhaps with those of others.

        Raises:
            BackendError: as the backend raises it, in each thread whose frames were in the batch.
        """
        request = _Request(frames)
        with self._changing:
            request.leads = self._running < self.concurrency
            if request.leads:
                self._running += 1
            else:
                self._waiting.append(request)
        if not request.leads:
            request.woken.wait()
        if request.leads:
            self._run_batch(request)
        if request.error is not None:
            raise request.error
        assert request.inference is not None
        return request.inference

    def _run_batch(self, leader: _Request) -> None:
        """Infer the leader's frames and its share of what waits; then let the first that still waits lead."""
        with self._changing:
            followers = [self._waiting.popleft() for _ in range(self._share())]
        batch = [leader, *followers]
        try:
            inference = self._backend.infer(np.concatenate([each.frames for each in batch]))
        except BaseException as error:  # whatever it is, nobody may wait for ever
            for each in batch:
                each.error = error
        else:
            ends = np.cumsum([len(each.frames) for each in batch])
            for each, end in zip(batch, ends, strict=True):
                rows = slice(end - len(each.frames), end)
                each.inference = Inference(inference.logits[rows], inference.embedding[rows])
        with self._changing:
            if self._waiting:
                successor = self._waiting.popleft()
                successor.leads = True
                successor.woken.set()
            else:
                self._running -= 1
        for each in followers:
            each.woken.set()

    def _share(self) -> int:
        """Return how many that wait go with a leader: as many as leave the others that run as much to do."""
        return min(-(-len(self._waiting) // self.concurrency), MAX_BATCH - 1)


class _Request:
    """Frames of one thread, and what becomes of them."""

    def __init__(self, frames: NDArray[np.uint8]) -> None:
        self.frames = frames
        self.inference: Inference | None = None
        self.error: BaseException | None = None
        self.leads = False
        self.woken = threading.Event()  # as its batch is done, or as it leads the next
