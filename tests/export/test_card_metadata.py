"""What the Hub reads of the card, read as its own library does."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.training.conftest import make_config

from metfa.export.card import write_card
from metfa.runtime.bundle import records
from metfa.runtime.bundle.directory import CARD, CARD_PAGE, CONTRACT, Bundle, updating
from metfa.training.ancestry import Origin
from metfa.training.config import CONFIG
from metfa.training.outcome import EVALUATION

from .test_card import EVALUATED

if TYPE_CHECKING:
    from pathlib import Path


def read(bundle: Path) -> ModelCardData:
    """Return what the Hub's library reads of the card of a bundle."""
    data = ModelCard.load(bundle / CARD).data
    assert isinstance(data, ModelCardData)
    return data


def read_scored(bundle: Path, *, target: str = "scanner B") -> ModelCardData:
    """Return the same of a bundle that was adapted to a scanner of this name, and scored."""
    contract = Bundle.open(bundle).contract
    provenance = dataclasses.replace(contract.provenance, target=target)
    with updating(bundle, keep=lambda _: True) as stage:
        (stage / CONTRACT).write_text(dataclasses.replace(contract, provenance=provenance).to_json(), encoding="utf-8")
        (stage / EVALUATION).write_text(records.to_json(EVALUATED), encoding="utf-8")
    write_card(Bundle.open(bundle))
    return read(bundle)


def scored_results(bundle: Path, *, target: str = "scanner B") -> list[EvalResult]:
    results = read_scored(bundle, target=target).eval_results
    assert results
    return results


def test_the_hub_reads_what_the_model_is_for(trained: Path) -> None:
    data = read_scored(trained)
    assert (data.library_name, data.pipeline_tag) == ("metfa", "image-classification")
    assert data.tags == ["ultrasound", "medical-imaging", "domain-adaptation"]
    assert data.metrics == ["accuracy", "f1", "precision", "recall"]


def test_the_licence_is_left_to_who_publishes(trained: Path) -> None:
    assert read_scored(trained).license is None
    assert (trained / CARD).read_text(encoding="utf-8").startswith("---\n# license: state here under which licence")


def test_the_hub_reads_the_scores_of_the_exported_network(trained: Path) -> None:
    results = {
        (each.dataset_name, each.metric_type): each.metric_value for each in read_scored(trained).eval_results or ()
    }
    source = Bundle.open(trained).contract.provenance.source
    scored = {"scanner B": EVALUATED.target, source: EVALUATED.source_as_exported}
    assert results == {
        (f"held-out frames of {name}", metric): getattr(scores, metric)
        for name, scores in scored.items()
        for metric in ("accuracy", "f1", "precision", "recall")
    }


def test_a_model_without_recorded_scores_claims_none(trained: Path) -> None:
    write_card(Bundle.open(trained))
    assert read(trained).eval_results is None


@pytest.mark.parametrize("path", ["hf://clinic/planes@v1", "runs/A"])
def test_a_model_that_began_with_one_of_the_hub_names_that(trained: Path, path: str) -> None:
    config = dataclasses.replace(make_config(), origin=Origin(path, ()), source_first=0.0)
    with updating(trained, keep=lambda _: True) as stage:
        (stage / CONFIG).write_text(records.to_json(config), encoding="utf-8")
    write_card(Bundle.open(trained))
    assert read(trained).base_model == ("clinic/planes" if path.startswith("hf://") else None)


def test_an_exported_graph_is_a_tag(exported: Path) -> None:
    assert "onnx" in (read(exported).tags or ())


def test_the_page_begins_with_its_heading(trained: Path) -> None:
    read_scored(trained)
    assert "library_name" not in (trained / CARD_PAGE).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "name", ["no", "a: b # c", "'\"\\", "- x", "---", "\u2028\x7f\x85", "Gerät 3, 日本 😀", "{a: [1"]
)
def test_any_name_of_a_scanner_is_read_as_it_is(trained: Path, name: str) -> None:
    assert name_read_of(trained, name) == " ".join(name.split())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_text_is_read_as_it_is(trained: Path, name: str) -> None:
    assert name_read_of(trained, name) == " ".join(name.split())


def name_read_of(bundle: Path, name: str) -> str:
    return scored_results(bundle, target=name)[0].dataset_name.removeprefix("held-out frames of").strip()
