"""What the Hugging Face Hub reads of the card: YAML above the Markdown (https://huggingface.co/docs/hub/model-cards)."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from metfa.runtime.bundle import records
from metfa.runtime.bundle.hub import HubBundle
from metfa.runtime.bundle.location import is_on_hub
from metfa.runtime.errors import BundleError
from metfa.runtime.files import utf8
from metfa.training.config import CONFIG, TrainingConfig
from metfa.training.outcome import EVALUATION, Evaluation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from metfa.runtime.bundle.directory import Bundle
    from metfa.training.evaluation.scores import Scores

    Value = str | float | Sequence["Value"] | dict[str, "Value"]

Record = TypeVar("Record")

_TASK = "image-classification"
_METRICS = ("accuracy", "f1", "precision", "recall")
_TAGS = ("ultrasound", "medical-imaging", "domain-adaptation")
_LICENCE = "# license: state here under which licence you publish the model; metfa does not know it"


def front_matter(bundle: Bundle) -> str:
    """Return the block of YAML, between its two lines of dashes."""
    metadata: dict[str, Value] = {
        "library_name": "metfa",
        "pipeline_tag": _TASK,
        "tags": [*_TAGS, *(["onnx"] if bundle.matching("*.onnx") else [])],
        "metrics": list(_METRICS),
    }
    if (config := _read(bundle, CONFIG, TrainingConfig)) and (base := _base_model(config)):
        metadata["base_model"] = base
    if results := list(_results(bundle)):
        provenance = bundle.contract.provenance
        metadata["model-index"] = [{"name": f"metfa {provenance.method}", "results": results}]
    return "\n".join(["---", _LICENCE, *_lines(metadata), "---"])


def _results(bundle: Bundle) -> Iterator[Value]:
    """Yield the scores of the exported network on each domain that has labels."""
    evaluation = _read(bundle, EVALUATION, Evaluation)
    if evaluation is None:
        return
    provenance = bundle.contract.provenance
    domains = [(provenance.target, evaluation.target), (provenance.source, evaluation.source_as_exported)]
    for name, scores in domains:
        if name is not None and scores is not None:
            yield {
                "task": {"type": _TASK, "name": "Ultrasound plane classification"},
                "dataset": {"type": "custom", "name": f"held-out frames of {name}", "split": "test"},
                "metrics": list(_scores(scores)),
            }


def _read(bundle: Bundle, name: str, kind: type[Record]) -> Record | None:
    """Return a record, or None: the card says in words that there is none, or one of another version."""
    with suppress(BundleError):
        return records.from_json(kind, bundle.read(name), origin=name, remedy="", error=BundleError)
    return None


def _base_model(config: TrainingConfig) -> str | None:
    """Return the repository of the Hub that the run began with."""
    begun_with = [each.path for each in (config.origin, config.initial_weights) if each is not None]
    return next((HubBundle.parse(path).repository for path in begun_with if is_on_hub(path)), None)


def _scores(scores: Scores) -> Iterator[Value]:
    for name in _METRICS:
        title = "Accuracy" if name == "accuracy" else f"Macro {'F1' if name == 'f1' else name}"
        yield {"type": name, "value": round(getattr(scores, name), 4), "name": title}


def _lines(value: Value) -> Iterator[str]:
    """Yield YAML of a value, line by line; what a mapping or a list holds is indented."""
    if isinstance(value, dict):
        for name, held in value.items():
            if isinstance(held, str | float):
                yield f"{name}: {_scalar(held)}"
            else:
                yield f"{name}:"
                yield from (f"  {line}" for line in _lines(held))
    elif isinstance(value, str | float):
        yield _scalar(value)
    else:
        for held in value:
            first, *others = _lines(held)
            yield f"- {first}"
            yield from (f"  {line}" for line in others)


def _scalar(value: str | float) -> str:
    """Return a number, or a text that YAML reads as it is, whatever a user called a scanner."""
    if not isinstance(value, str):
        return f"{value:g}"
    text = " ".join(utf8(value).split())
    if re.fullmatch(r"[A-Za-z][\w -]*", text, re.ASCII):
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(each if each.isprintable() else f"\\U{ord(each):08X}" for each in quoted)
