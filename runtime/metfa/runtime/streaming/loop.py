"""Capture and decision side by side: one thread takes frames from the source, the caller's classifies and decides.

Where the classifier lets several threads in, as on CPUs and servers, it is asked in threads of their own: a stream can
end without waiting for it, and frames of recordings are classified several at once. One that answers within a
millisecond or two is asked in the caller's thread, as handing a frame over takes as long.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from queue import Empty
from typing import TYPE_CHECKING, NamedTuple, ParamSpec, Protocol, TypeVar

from ..decisions.decider import Decider, StillDecider
from ..frame import Frame, ModelIdentity, Observation, PlaneEvent, Prediction
from ..handoff import Handoff, Limit

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    import numpy as np
    from numpy.typing import NDArray

    from ..bundle.contract import ModelContract, Region
    from ..imaging.coded import Image
    from ..sources import Source

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

_READ_AHEAD = 4  # frames of a file that wait while one is classified
_QUICK_SECONDS = 2e-3  # in which a classifier answers that is asked in the caller's thread
_MEMORY = 0.9  # of the mean time of an answer
_POLL_SECONDS = 0.1  # how long a request to stop may go unnoticed while no frame comes
_JOIN_SECONDS = 0.3  # how long to wait for a thread that may be blocked in the driver


class Classifier(Protocol):
    """What a stream needs of a :class:`~metfa.runtime.classifier.PlaneClassifier`."""

    @property
    def identity(self) -> ModelIdentity:
        """Which model it is."""
        ...

    @property
    def contract(self) -> ModelContract:
        """Labels, and how to decide."""
        ...

    @property
    def concurrency(self) -> int:
        """How many threads may be in :meth:`classify` at once, ≥ 1."""
        ...

    def locate(self, image: Image, declared: Region | None = None) -> Region | None:
        """Return which part of the stream's next image the model sees; its source may have told the sector."""
        ...

    def prepare(self, image: Image, region: Region | None) -> NDArray[np.uint8]:
        """Return what the model sees of that part."""
        ...

    def classify(self, picture: NDArray[np.uint8]) -> Prediction:
        """Classify what the model sees."""
        ...

    def restart(self) -> None:
        """Be prepared for frames of another scanner."""
        ...


class Deployment(Protocol):
    """What a stream asks before each frame: which classifier serves now. Its labels stay the same."""

    @property
    def current(self) -> Classifier:
        """The classifier that prepares and classifies the next frame."""
        ...


class _Classified(NamedTuple):
    """A frame with the part of it that the model saw, and what the model said; then which model."""

    frame: Frame
    region: Region | None
    prediction: Prediction
    contract: ModelContract
    identity: ModelIdentity


def stream(
    source: Source,
    classifier: Deployment,
    *,
    stop: Callable[[], bool] = lambda: False,
) -> Generator[Observation | PlaneEvent, None, None]:
    """Classify the frames of ``source``, and decide what they show.

    Of a live source only the newest frame is kept: what came while the last one was classified is dropped, which shows
    as a gap in ``frame.index``. Of other sources every frame is classified, several at once where the classifier can:
    that takes longer for each, and less for all. Frames that were captured before the source failed are classified
    before its error is raised.

    Args:
        source: open; it is iterated over in another thread, and not closed.
        classifier: image in, prediction out: a :class:`~metfa.runtime.classifier.PlaneClassifier`, or an
            :class:`~metfa.runtime.streaming.exchange.ExchangeableClassifier`.
        stop: asked before each frame, and ten times a second while none comes, whether to end.

    Yields:
        One observation for each classified frame, in order, and each event as soon as it has ended; of a plane that is
        still shown when the stream ends, after the last observation. Frames that do not follow one another, of a folder
        of images, are decided one by one, and make no events.

    Raises:
        SourceError: the source failed or ended before its time, or a frame does not fit the classifier's region.
    """
    mailbox: Handoff[Frame] = Handoff()
    # A daemon: where a driver never comes back from a read, the process must end all the same.
    thread = threading.Thread(target=_capture, args=(source, mailbox), name="metfa capture", daemon=True)
    thread.start()
    contract = classifier.current.contract
    decide = (Decider if source.continuous else StillDecider)(contract.decision, contract.labels)
    first: Frame | None = None
    session = 0
    error: Exception | None = None
    predictions = _predict(mailbox, classifier, stop, live=source.live)
    try:
        while True:
            try:
                frame, region, prediction, serving, identity = next(predictions)
            except StopIteration:
                break
            except Exception as failure:  # what was decided comes before it
                error = failure
                break
            if serving is not contract:
                same_input, contract = serving.input == contract.input, serving
                if (event := decide.exchange(contract.decision, same_input=same_input)) is not None:
                    yield event
            if frame.session != session:
                session = frame.session
                if (event := decide.restart()) is not None:
                    yield event
            first = first or frame
            seconds = frame.captured_at - first.captured_at if source.live else source.seconds_of(frame)
            decision, event = decide(frame, prediction, seconds)
            yield Observation(frame, prediction, decision, seconds, time.monotonic(), region, identity)
            if event is not None:
                yield event
            if frame.last and (event := decide.restart()) is not None:
                yield event
        if (event := decide.restart()) is not None:
            yield event
        if error is not None:
            raise error
    finally:
        predictions.close()
        mailbox.close()
        thread.join(_JOIN_SECONDS)


def _predict(
    mailbox: Handoff[Frame], deployment: Deployment, stop: Callable[[], bool], *, live: bool
) -> Generator[_Classified]:
    """Classify what comes into ``mailbox``, and yield it in its order.

    Frames of a recording are classified by as many threads as the classifier lets in; in the caller's own where that is
    one, or while the classifier is quick. Each frame is prepared and classified by one classifier, whichever serves
    when it is taken.

    Args:
        mailbox: where the frames come from.
        deployment: what is asked.
        stop: asked before each frame whether to end.
        live: whether the frames are of a live source, and classified one by one.

    Raises:
        Exception: what taking, seeing or classifying a frame failed with, after those before it.
    """
    waiting: deque[tuple[Future[_Timed], Frame, Region | None, ModelContract, ModelIdentity]] = deque()
    classifier = deployment.current
    pool, most = _pool(classifier, live=live, quick=False)
    quick, mean_seconds = False, 2 * _QUICK_SECONDS
    session = 0
    ended = False
    error: Exception | None = None
    try:
        while not stop():
            was_quick, quick = quick, mean_seconds < _QUICK_SECONDS
            if deployment.current is not classifier or quick != was_quick:
                classifier = deployment.current
                pool.shutdown(wait=False)  # what was submitted is still worked on
                pool, most = _pool(classifier, live=live, quick=quick)
            while not ended and len(waiting) < most:
                try:
                    frame = mailbox.take(0 if waiting else _POLL_SECONDS)
                    if frame is None:
                        ended = True
                        break
                    if frame.session != session:
                        session = frame.session
                        classifier.restart()
                    region = classifier.locate(frame.pixels, frame.region)
                    picture = classifier.prepare(frame.pixels, region)
                except Empty:
                    break
                except Exception as failure:
                    ended, error = True, failure
                    break
                answer = pool.submit(_classify, classifier, picture)
                waiting.append((answer, frame, region, classifier.contract, classifier.identity))
            if waiting:
                if waiting[0][0].done() or wait([waiting[0][0]], _POLL_SECONDS).done:
                    answer, frame, region, contract, identity = waiting.popleft()
                    prediction, seconds = answer.result()
                    mean_seconds = _MEMORY * mean_seconds + (1 - _MEMORY) * seconds
                    yield _Classified(frame, region, prediction, contract, identity)
            elif ended:
                break
        if error is not None:
            raise error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # nobody needs what is still being worked on


class _Timed(NamedTuple):
    """A prediction, and how many seconds it took."""

    prediction: Prediction
    seconds: float


def _classify(classifier: Classifier, picture: NDArray[np.uint8]) -> _Timed:
    began = time.perf_counter()
    return _Timed(classifier.classify(picture), time.perf_counter() - began)


def _pool(classifier: Classifier, *, live: bool, quick: bool) -> tuple[Executor, int]:
    """Return what asks a classifier, and how many frames may be waiting for it or for the caller."""
    if quick:
        return _Inline(), 1
    at_once = 1 if live else classifier.concurrency
    pool = ThreadPoolExecutor(at_once, "metfa inference") if classifier.concurrency > 1 else _Inline()
    return pool, at_once + 1 if at_once > 1 else 1  # one more, so that no thread waits for the caller


class _Inline(Executor):
    """Does what it is given at once, in the caller's thread."""

    def submit(
        self, function: Callable[_Arguments, _Result], /, *arguments: _Arguments.args, **named: _Arguments.kwargs
    ) -> Future[_Result]:
        """Return what became of it."""
        future: Future[_Result] = Future()
        try:
            future.set_result(function(*arguments, **named))
        except Exception as error:
            future.set_exception(error)
        return future


def _capture(source: Source, mailbox: Handoff[Frame]) -> None:
    """Put the frames of ``source`` into ``mailbox`` until one of them ends."""
    limit = Limit(1, "replace") if source.live else Limit(_READ_AHEAD, "wait")
    try:
        for frame in source:
            if mailbox.put(frame, limit) == "closed":
                return
    except Exception as error:  # whatever it is, the consumer must see it
        mailbox.close(error)
    else:
        mailbox.close()
