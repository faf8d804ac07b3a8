"""How well an exported bundle labels frames: the artefact that an edge device runs, in the runtime, without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from metfa.runtime.backends import Backend, Inference
from metfa.runtime.backends.choice import load_backend
from metfa.runtime.bundle.contract import Roi, software
from metfa.runtime.errors import BackendError
from metfa.runtime.files import utf8
from metfa.runtime.text import printable

from .held_out import HeldOut, read_held_out
from .one_versus_rest import LEVEL, OneVersusRest, macro_auc, one_versus_rest, positive_label
from .scores import (
    Calibration,
    ClassScores,
    RejectionPoint,
    Scores,
    calibration,
    rejection_curve,
    score,
    score_classes,
)

if TYPE_CHECKING:
    from metfa.runtime.backends.choice import Precision
    from metfa.runtime.bundle.directory import Bundle

SCHEMA = 3
"""Version of the fields of :class:`EvaluationRecord`."""

BATCH = 16


@dataclass(frozen=True, slots=True)
class EvaluationRecord:
    """All that was measured, and of what. Confidence is the probability of the predicted class.

    Attributes:
        schema: version of these fields.
        software: name and version of what measured.
        data: the domain, as the user named it.
        split: ``test``, what the run or the domain itself held out for testing, or ``all``, all its images.
        seen: images that were left out, as the bundle was trained or validated on them.
        skipped: files that could not be used.
        region: the part of its pictures that the model saw; None for all of it.
        backend: what ran the model.
        artefact: the file of the bundle that it ran.
        artefact_sha256: of that file, in hexadecimal.
        labels: the class names, in the order of the confusion matrix.
        scores: of all frames. Macro averages are over the classes that have frames.
        classes: scores of each class, by name.
        one_versus_rest: each class as a test for it, by name.
        macro_auc: mean of their AUCs; None where none is defined.
        positive: of two classes, the one that a test looks for; None where there are more.
        confidence_level: of the intervals, which take images to be independent.
        calibration: how far confidence is from accuracy.
        rejection: coverage and accuracy as the threshold on confidence rises.
    """

    schema: int
    software: str
    data: str
    split: Literal["test", "all"]
    seen: int
    skipped: int
    region: Roi
    backend: str
    artefact: str
    artefact_sha256: str
    labels: tuple[str, ...]
    scores: Scores
    classes: dict[str, ClassScores]
    one_versus_rest: dict[str, OneVersusRest]
    macro_auc: float | None
    positive: str | None
    confidence_level: float
    calibration: Calibration
    rejection: tuple[RejectionPoint, ...]


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Where the model puts the frames of one domain.

    Attributes:
        domain: as the user named it.
        points: float32 [N, D].
        classes: the true class of each frame, int64 [N].
    """

    domain: str
    points: NDArray[np.float32]
    classes: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class BundleEvaluation:
    """One evaluation.

    Attributes:
        record: what was measured.
        embeddings: of the frames that were scored.
        source: of another domain, to show beside them; None where none was asked for.
        backend_choice: which engine ran the model.
    """

    record: EvaluationRecord
    embeddings: Embeddings
    source: Embeddings | None
    backend_choice: str


def evaluate_bundle(
    bundle: Bundle,
    specification: str,
    *,
    source: str | None = None,
    region: Roi | Literal["contract"] = "contract",
    backend: str | None = None,
    precision: Precision | None = None,
) -> BundleEvaluation:
    """Run a bundle's exported model on labelled frames and score it; see :func:`.held_out.read_held_out` for which.

    Args:
        bundle: the bundle.
        specification: the labelled domain.
        source: another labelled domain to embed beside it.
        region: the part of the domain's pictures that the model sees; ``contract`` for the usual.
        backend: one backend, or None for the best on this host.
        precision: one precision, or None for the backend's default.

    Raises:
        BundleError: nothing was exported yet, or a file of the bundle is damaged.
        BackendError: the model cannot be run here, or its outputs are not finite.
        ContractError: the artefact's own contract cannot be read.
        DataError, SourceError, ProfileError: the images cannot be read, or are not labelled with the model's classes.
        OutputError: the cache of prepared frames cannot be written.
    """
    loaded, _ = load_backend(bundle, backend, precision)
    held_out = read_held_out(bundle, specification, region=region)
    beside = None if source is None else read_held_out(bundle, source)
    inference = _infer(loaded, held_out)
    probabilities = inference.calibrated(bundle.contract.decision.temperature)
    true = held_out.store.labels
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    labels = bundle.contract.labels
    scores = score(true, predicted, len(labels))
    against_rest = one_versus_rest(true, predicted, probabilities)
    record = EvaluationRecord(
        schema=SCHEMA,
        software=software(),
        data=utf8(specification),
        split=held_out.split,
        seen=held_out.seen,
        skipped=len(held_out.skipped),
        region=held_out.region,
        backend=loaded.description,
        artefact=loaded.artefact,
        artefact_sha256=bundle.files[loaded.artefact],
        labels=labels,
        scores=scores,
        classes=dict(zip(labels, score_classes(scores.confusion), strict=True)),
        one_versus_rest=dict(zip(labels, against_rest, strict=True)),
        macro_auc=macro_auc(against_rest),
        positive=positive_label(labels, bundle.contract.decision.background),
        confidence_level=LEVEL,
        calibration=calibration(confidence, predicted == true),
        rejection=rejection_curve(confidence, predicted == true),
    )
    return BundleEvaluation(
        record,
        Embeddings(record.data, inference.embedding, true),
        None
        if beside is None
        else Embeddings(utf8(beside.name), _infer(loaded, beside).embedding, beside.store.labels),
        loaded.description,
    )


def _infer(backend: Backend, held_out: HeldOut) -> Inference:
    frames = held_out.store.frames
    starts = range(0, len(frames), BATCH)
    title = f"Classifying {printable(held_out.name)}"
    parts = [
        backend.infer(np.ascontiguousarray(frames[start : start + BATCH]))
        for start in tqdm(starts, title, unit="batch", leave=False, disable=None)
    ]
    inference = Inference(
        np.concatenate([part.logits for part in parts]), np.concatenate([part.embedding for part in parts])
    )
    finite = np.isfinite(inference.logits).all(axis=1) & np.isfinite(inference.embedding).all(axis=1)
    if not finite.all():
        raise BackendError(
            expected=f"finite outputs of {backend.artefact}",
            received=f"NaN or infinity for {np.count_nonzero(~finite)} of {len(frames)} images of {held_out.name}",
            remedy="use --precision fp32, or export the bundle again with metfa-export",
        )
    return inference
