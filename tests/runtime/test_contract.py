from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metfa.runtime import ModelContract
from metfa.runtime.bundle.contract import SCHEMA, DecisionSpec, InputSpec, Normalisation, Provenance, Region, Rejection
from metfa.runtime.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Callable

scales = st.floats(1e-6, 1e6)
normalisations = st.builds(Normalisation, st.just("fixed"), scales, st.floats(0, 255)) | st.builds(
    Normalisation, st.just("per-image"), scales, st.none()
)
places, sizes = st.integers(0, 4000), st.integers(1, 4000)
regions = st.none() | st.just("auto") | st.builds(Region, places, places, sizes, sizes)
rejections = st.none() | st.builds(
    Rejection, st.sampled_from(["max-probability", "max-logit", "energy"]), st.floats(-1e3, 1e3)
)
decisions = st.builds(
    DecisionSpec,
    temperature=st.floats(1e-3, 1e3),
    rejection=rejections,
    background=st.sampled_from([(), ("Background",)]),
    max_validation_confidence=st.none() | st.floats(0, 1),
    smoothing_ms=scales,
    enter=st.floats(0.5, 1, exclude_min=True),
    exit=st.floats(0, 0.5, exclude_min=True),
    dwell_ms=st.floats(0, 1e6),
    gap_ms=scales,
)
contracts = st.builds(
    ModelContract,
    schema=st.just(SCHEMA),
    labels=st.lists(
        st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp"]), max_size=58), min_size=1, unique=True
    ).map(lambda names: ("Background", *(f"plane {n}" for n in names))),
    embedding=st.integers(1, 4096),
    input=st.builds(
        InputSpec, st.integers(28, 2048), st.integers(28, 2048), st.just("halve-linear"), normalisations, regions
    ),
    decision=decisions,
    provenance=st.builds(Provenance, st.text(), st.text(), st.text(), st.none() | st.text()),
)


@given(contracts)
def test_what_is_written_is_read(contract: ModelContract) -> None:
    assert ModelContract.from_json(contract.to_json(), origin="a test") == contract


def change(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda document: document.update(values)


def decide(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda document: document["decision"].update(values)


@pytest.mark.parametrize(
    ("edit", "complaint"),
    [
        (decide(max_validation_confidence=1.01), "confidence 1.01 is not from 0 to 1"),
        (change(schema=SCHEMA + 1), f"schema {SCHEMA + 1} where this version of metfa reads schema {SCHEMA}"),
        (change(schema="1"), "schema to be int"),
        (change(labels=["one"]), "not two or more different names"),
        (change(labels=["one", "one"]), "not two or more different names"),
        (change(embedding=0), "embedding 0"),
        (change(extra=1), "unknown field 'extra'"),
        (lambda document: document["input"].update(height=27), "below 28x28"),
        (lambda document: document["input"].update(resize="linear"), "one of 'halve-linear'"),
        (lambda document: document["input"]["normalisation"].update(scale=0), "scale 0"),
        (lambda document: document["input"]["normalisation"].update(mean=None), "does not go with kind 'fixed'"),
        (
            lambda document: document["input"].update(region={"x": 0, "y": -1, "width": 9, "height": 9}),
            "region 0,-1,9,9",
        ),
        (lambda document: document["input"].update(region="found"), "input.region to be one of 'auto'"),
        (lambda document: document["input"].update(region=[1, 2, 3, 4]), "input.region to be one of 'auto'"),
        (decide(temperature=0), "temperature 0.0 is not from 0.001 to 1000"),
        (decide(smoothing_ms=0), "smoothing 0.0"),
        (decide(dwell_ms=-1), "dwell -1.0"),
        (decide(gap_ms=0), "gap 0.0"),
        (decide(enter=0.5), "exit 0.5 and enter 0.5"),
        (decide(exit=0.81), "exit 0.81 and enter 0.8"),
        (decide(exit=0), "exit 0.0 and enter 0.8"),
        (decide(rejection={"score": "energy", "threshold": math.inf}), "rejection threshold inf"),
        (decide(rejection={"score": "entropy", "threshold": 1}), "decision.rejection.score to be one of"),
        (decide(background=["water"]), "background ('water',) is not a part of the labels"),
        (decide(background=["dark", "grey", "bright"]), "is not a part of the labels"),
        (lambda document: document["decision"].pop("exit"), "the field 'decision.exit'"),
        (lambda document: document.pop("decision"), "the field 'decision'"),
        (lambda document: document.pop("provenance"), "the field 'provenance'"),
    ],
)
def test_an_edited_contract_is_refused(
    contract: ModelContract, edit: Callable[[dict[str, Any]], None], complaint: str
) -> None:
    document = json.loads(contract.to_json())
    edit(document)
    with pytest.raises(ContractError, match="train or export the model again") as refusal:
        ModelContract.from_json(json.dumps(document), origin="a test")
    assert complaint in str(refusal.value)
