from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metfa.runtime.bundle.records import to_json
from metfa.runtime.errors import ProfileError
from metfa.runtime.phantom import load_profile
from metfa.runtime.phantom.profile import Caption

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("scanner", ["A", "B"])
def test_a_profile_survives_a_round_trip_through_a_file(scanner: str, tmp_path: Path) -> None:
    profile = load_profile(scanner)
    path = tmp_path / "mine.json"
    path.write_text(to_json(profile), encoding="utf-8")
    assert load_profile(str(path)) == profile
    assert profile.name == scanner


def test_an_unknown_scanner_is_refused_with_a_remedy() -> None:
    with pytest.raises(
        ProfileError,
        match=r"expected the scanner A or B.*received 'C' \(No such file or directory\); .*docs/phantom\.md",
    ):
        load_profile("C")


@pytest.mark.parametrize(
    ("section", "field", "value", "reason"),
    [
        ("sector", "angle_deg", 300.0, "between 10 and 120"),
        ("sector", "colour", 1, "unknown field 'sector.colour'"),
        ("beam", "aperture_mm", "wide", "to be float"),
        ("receiver", "noise_db", float("nan"), "between -140 and 0"),
        ("display", "speckle_reduction", 2, "1, 3, 5 or 7"),
        ("overlay", "logo", [0, 0, 641, 1], "within 640 × 480"),
    ],
)
def test_a_field_that_does_not_fit_is_named(section: str, field: str, value: Any, reason: str, tmp_path: Path) -> None:
    document = json.loads(to_json(load_profile("A")))
    document[section][field] = value
    path = tmp_path / "broken.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(ProfileError, match=reason):
        load_profile(str(path))


def test_another_schema_is_refused() -> None:
    with pytest.raises(ValueError, match="schema must be 1"):
        replace(load_profile("A"), schema=2)


@given(st.text(alphabet="abcß€#", min_size=1))
def test_a_caption_has_only_letters_that_can_be_drawn(text: str) -> None:
    with pytest.raises(ValueError, match="text must be of the characters"):
        Caption(text, 0, 0, 10)
