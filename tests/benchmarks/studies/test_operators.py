"""Where a call's time goes, as ONNX Runtime tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from benchmarks.studies.operators import WHOLE, profile
from tests.runtime.conftest import make_contract, make_onnx

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("threads", [1, 2])
def test_each_kind_of_operator_has_its_share_of_a_call(tmp_path: Path, threads: int) -> None:
    contract = make_contract()
    model = tmp_path / "model.onnx"
    model.write_bytes(make_onnx(contract))
    frame = np.zeros((1, 1, contract.input.height, contract.input.width), np.uint8)
    costs = profile(model, frame, threads)
    whole = costs.pop(WHOLE)
    assert {"Cast", "Mul", "ReduceMean", "Gemm"} <= set(costs)
    assert all(cost >= 0 for cost in costs.values())
    assert 0 < sum(costs.values()) <= whole
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
