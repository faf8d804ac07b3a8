"""Names of domains, taken apart."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metfa.runtime.errors import DataError
from metfa.training.data.readers.specification import parse

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("name", "scheme", "path", "options"),
    [
        ("frames/A", "", "frames/A", {}),
        ("manifest.csv?device=EPIQ&split=train", "", "manifest.csv", {"device": {"EPIQ"}, "split": {"train"}}),
        ("manifest.csv?device=E6&device=E8", "", "manifest.csv", {"device": {"E6", "E8"}}),
        ("manifest.csv?", "", "manifest.csv", {}),
        ("manifest.csv?patient=", "", "manifest.csv", {"patient": {""}}),
        ("manifest.csv?device=Voluson E6", "", "manifest.csv", {"device": {"Voluson E6"}}),
        ("manifest.csv?device=Voluson%20E6%26S10", "", "manifest.csv", {"device": {"Voluson E6&S10"}}),
        ("manifest.csv?device=E8+", "", "manifest.csv", {"device": {"E8+"}}),
        ("phantom:A", "phantom", "A", {}),
        ("C:/frames", "", "C:/frames", {}),
    ],
)
def test_parts_of_a_name(name: str, scheme: str, path: str, options: dict[str, set[str]]) -> None:
    specification = parse(name)
    assert (specification.name, specification.scheme, specification.path) == (name, scheme, path)
    assert specification.options == options


@given(
    st.dictionaries(
        st.text(min_size=1).map(str.strip).filter(bool), st.frozensets(st.text().map(str.strip), min_size=1)
    )
)
def test_quoted_options_come_back(options: dict[str, frozenset[str]]) -> None:
    query = "&".join(f"{quote(key)}={quote(value)}" for key, values in options.items() for value in values)
    assert parse(f"somewhere.csv?{query}").options == options


def test_a_file_that_is_there_is_meant_whatever_its_name_holds(tmp_path: Path) -> None:
    for name in ("really?", "phantom:A", "a?b=c"):
        (tmp_path / name).mkdir()
        specification = parse(str(tmp_path / name))
        assert (specification.path, specification.options) == (str(tmp_path / name), {})


@pytest.mark.parametrize("query", ["train", "split=train&device"])
def test_what_is_no_option_is_refused(query: str) -> None:
    with pytest.raises(DataError, match="expected option=value after"):
        parse(f"manifest.csv?{query}")
