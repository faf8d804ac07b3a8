"""From a frame to a prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from .backends.batching import BatchingBackend
from .backends.choice import load_backend
from .bundle.directory import Bundle
from .bundle.location import find_bundle, is_on_hub
from .errors import BackendError, BundleError, SourceError
from .frame import ModelIdentity, Prediction
from .imaging.coded import CodedImage
from .imaging.preprocess import preprocess
from .imaging.sector import SectorTracker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from .backends import Backend
    from .backends.choice import Precision
    from .bundle.contract import ModelContract, Region, Roi
    from .imaging.coded import Image


class PlaneClassifier:
    """A bundle's model, ready for frames.

    Attributes:
        contract: the model's contract.
        concurrency: how many threads may be in :meth:`classify` at once.
        backend_choice: which engine runs it.
        backend_refusals: why each faster one does not, the fastest first.
        identity: which model it is.
        sector: which part of each image the model sees.
    """

    def __init__(
        self,
        contract: ModelContract,
        backend: Backend,
        *,
        region: Roi | Literal["contract"] = "contract",
        backend_refusals: tuple[str, ...] = (),
        bundle: str = "",
    ) -> None:
        self.contract = contract
        self.concurrency = backend.concurrency
        self.backend_choice = backend.description
        self.backend_refusals = backend_refusals
        self.identity = ModelIdentity(bundle, backend.description)
        self._backend = backend
        self._region: Roi = contract.input.region if region == "contract" else region
        self.sector = SectorTracker(self._region)

    @classmethod
    def load(
        cls,
        bundle: Bundle | Path | str,
        *,
        backend: str | None = None,
        precision: Precision | None = None,
        region: Roi | Literal["contract"] = "contract",
        rebuild: bool = False,
        notify: Callable[[str], object] = lambda line: None,
    ) -> PlaneClassifier:
        """Load a bundle and run the model once, so that the first frame is as fast as the rest.

        Args:
            bundle: the bundle, its directory, or ``hf://OWNER/NAME@REVISION`` for one in the Hub's cache.
            backend: one backend or server, as ``--backend`` of ``metfa-stream``; None for the best on this host.
            precision: one precision, or None for the backend's default.
            region: the part of each frame that the model sees: a region, ``auto`` for the sector, None for all
                of it, or ``contract`` for what the contract says.
            rebuild: whether to build a TensorRT engine here where the bundle has none that suits this host.
            notify: told in a line when a server is lost, and when it is back.

        Raises:
            BundleError, ContractError, BackendError: the bundle cannot be run here; the message says why.
            ExportError, OutputError: an engine that ``rebuild`` asked for cannot be built or written.
        """
        if not isinstance(bundle, Bundle):
            if rebuild and is_on_hub(str(bundle)):
                raise BundleError(
                    expected="the directory of a bundle, into which an engine can be written",
                    received=str(bundle),
                    remedy="download it with: hf download OWNER/NAME --revision REVISION --local-dir DIR",
                )
            bundle = Bundle.open(find_bundle(str(bundle)))
        loaded, refusals = load_backend(bundle, backend, precision, rebuild=rebuild, notify=notify)
        size = bundle.contract.input
        loaded.infer(np.zeros((1, 1, size.height, size.width), np.uint8))
        return cls(bundle.contract, loaded, region=region, backend_refusals=refusals, bundle=bundle.digest)

    @property
    def current(self) -> PlaneClassifier:
        """Itself; of an :class:`~metfa.runtime.streaming.exchange.ExchangeableClassifier`, what serves now."""
        return self

    def __call__(self, image: Image) -> Prediction:
        """Classify one image, uint8 [H, W] or [H, W, 3] (BGR) of any size, or the ``pixels`` of a frame.

        Raises:
            SourceError: the image is of another type or shape, or the region reaches beyond it.
        """
        if not isinstance(image, np.ndarray | CodedImage):
            raise SourceError(
                expected="an image as an array of numbers",
                received=f"an object of type {type(image).__name__}",
                remedy="read it with metfa.runtime.read_image, which says what is wrong (cv2.imread returns None)",
            )
        return self.classify(self.prepare(image, self.locate(image)))

    def locate(self, image: Image, declared: Region | None = None) -> Region | None:
        """Return which part of a stream's next image the model sees; None for all of it.

        Args:
            image: as above.
            declared: the sector, where the image's source tells it; then it is not looked for.
        """
        return self.sector.region(image, declared)

    def prepare(self, image: Image, region: Region | None) -> NDArray[np.uint8]:
        """Return what the model sees of a part of an image, uint8 [H, W] of the contract's size; as above."""
        size = self.contract.input
        tensor = preprocess(image, height=size.height, width=size.width, region=region)
        return tensor.reshape(size.height, size.width)

    def classify(self, picture: NDArray[np.uint8]) -> Prediction:
        """Classify what the model sees, uint8 [H, W] of the contract's size.

        Raises:
            BackendError: the model returns numbers that are not finite.
        """
        inference = self._backend.infer(picture[np.newaxis, np.newaxis])
        if not np.isfinite(inference.logits).all():
            raise BackendError(
                expected=f"finite numbers of {self._backend.description}",
                received=f"the logits {np.array2string(inference.logits[0], precision=3, max_line_width=1000)}",
                remedy="use --precision fp32 or another --backend, and report this",
            )
        probabilities = inference.calibrated(self.contract.decision.temperature)[0].astype(np.float32)
        best = int(probabilities.argmax())
        return Prediction(
            self.contract.labels[best],
            float(probabilities[best]),
            probabilities,
            inference.embedding[0],
            inference.logits[0],
            picture=picture,
        )

    def shared(self, number: int) -> list[PlaneClassifier]:
        """Return classifiers for so many sources at once: one model, and a sector for each of them.

        Frames of several that wait for the model together are inferred as one batch.
        """
        backend = BatchingBackend(self._backend)
        return [
            PlaneClassifier(
                self.contract,
                backend,
                region=self._region,
                backend_refusals=self.backend_refusals,
                bundle=self.identity.bundle,
            )
            for _ in range(number)
        ]

    def succeed(self, previous: PlaneClassifier) -> None:
        """Follow another on the same stream: a sector that was found stays, unless another region is to be seen."""
        if self._region == previous._region:
            self.sector = previous.sector
        else:
            self.sector.report = previous.sector.report

    def restart(self) -> None:
        """Look for the sector anew: frames of another scanner or layout may follow."""
        self.sector.restart()
