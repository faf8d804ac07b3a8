from __future__ import annotations

import dataclasses

import pytest

from metfa.export.gate import TOLERANCES, require_parity
from metfa.export.parity import Agreement, Comparison, DomainComparison
from metfa.runtime.errors import ExportError

SAME = Agreement(frames=100, top1=1.0, probability_difference=0.0, embedding_distance=0.0, non_finite=0)


def comparison(precision: str, **target: float) -> Comparison:
    """Return a comparison in which only frames of Femur, of the target, differ from PyTorch."""
    worse = dataclasses.replace(SAME, **target)  # type: ignore[arg-type]
    domains = {
        "source": DomainComparison(SAME, 1.0, {"4CH": SAME}),
        "target": DomainComparison(worse, None, {"4CH": SAME, "Femur": worse}),
    }
    return Comparison("model.x.onnx", precision, "a test", domains)  # type: ignore[arg-type]


@pytest.mark.parametrize("precision", TOLERANCES)
@pytest.mark.parametrize("field", ["top1", "probability_difference", "embedding_distance"])
def test_the_tolerance_itself_passes_and_what_is_beyond_does_not(precision: str, field: str) -> None:
    limit = getattr(TOLERANCES[precision], field)  # type: ignore[index]
    require_parity(comparison(precision, **{field: limit}))
    beyond = limit - 1e-9 if field == "top1" else limit + 1e-9
    with pytest.raises(ExportError, match=r"model\.x\.onnx \(a test\) to agree with PyTorch .* the frames of target"):
        require_parity(comparison(precision, **{field: beyond}))


def test_one_number_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ExportError, match="with 1 numbers that are not finite"):
        require_parity(comparison("fp16", non_finite=1))


def test_the_refusal_names_the_domain_and_the_worst_class() -> None:
    with pytest.raises(ExportError, match=r"received 97\.0%, 0\.5 and 0, .*worst class: Femur, 97\.0% of 100"):
        require_parity(comparison("fp16", top1=0.97, probability_difference=0.5))


def test_fp32_must_be_closer_than_fp16() -> None:
    for field in ("tie", "probability_difference", "embedding_distance"):
        assert getattr(TOLERANCES["fp32"], field) < getattr(TOLERANCES["fp16"], field)
    assert TOLERANCES["fp32"].top1 > TOLERANCES["fp16"].top1
