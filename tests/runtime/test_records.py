from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metfa.runtime.bundle import records
from metfa.runtime.errors import ContractError, MetfaError


@dataclass(frozen=True)
class Part:
    name: str
    weight: float

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise ValueError(f"weight {self.weight} is negative")


@dataclass(frozen=True)
class Whole:
    kind: Literal["old", "new"]
    count: int
    used: bool
    note: str | None
    parts: tuple[Part, ...]
    sizes: dict[str, int]


WHOLE = Whole("new", 3, True, None, (Part("α", 1.5),), {"a": 1})


def read(text: str | bytes) -> Whole:
    return records.from_json(Whole, text, origin="the test", remedy="do it again", error=ContractError)


wholes = st.builds(
    Whole,
    kind=st.sampled_from(["old", "new"]),
    count=st.integers(),
    used=st.booleans(),
    note=st.none() | st.text(),
    parts=st.lists(st.builds(Part, st.text(), st.floats(0, allow_nan=False))).map(tuple),
    sizes=st.dictionaries(st.text(), st.integers()),
)


@given(wholes)
def test_what_is_written_is_read(whole: Whole) -> None:
    assert read(records.to_json(whole)) == whole


def test_a_float_may_be_written_as_an_integer() -> None:
    weight = records.from_json(
        Part, '{"name": "a", "weight": 2}', origin="the test", remedy="none", error=ContractError
    ).weight
    assert weight == 2.0
    assert type(weight) is float


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"colour": "red"}, "unknown field 'colour'"),
        ({"count": 1.0}, "count to be int"),
        ({"count": True}, "count to be int"),
        ({"count": None}, "count to be int"),
        ({"used": 1}, "used to be bool"),
        ({"kind": "newer"}, "one of 'old', 'new'"),
        ({"note": 3}, "note to be str"),
        ({"parts": {}}, "parts to be a list"),
        ({"parts": [{"name": "a"}]}, "the field 'parts[0].weight'"),
        ({"parts": [{"name": "a", "weight": "2"}]}, "parts[0].weight to be float"),
        ({"parts": [{"name": "a", "weight": -1}]}, "weight -1.0 is negative"),
        ({"sizes": {"a": "b"}}, "sizes.a to be int"),
        ({"sizes": []}, "sizes to be an object"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, object], complaint: str) -> None:
    document = json.loads(records.to_json(WHOLE)) | change
    with pytest.raises(ContractError, match="in the test, received") as refusal:
        read(json.dumps(document))
    assert complaint in str(refusal.value)
    assert str(refusal.value).endswith("; do it again")


@pytest.mark.parametrize("field", ["kind", "count", "used", "note", "parts", "sizes"])
def test_a_missing_field_is_refused(field: str) -> None:
    document = json.loads(records.to_json(WHOLE))
    del document[field]
    with pytest.raises(ContractError, match=f"the field '{field}'"):
        read(json.dumps(document))


@given(st.binary() | st.text())
def test_noise_is_refused(noise: str | bytes) -> None:
    with pytest.raises(MetfaError):
        read(noise)
