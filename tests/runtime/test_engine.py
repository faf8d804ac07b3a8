from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from metfa.runtime.bundle.engine_record import require_precision
from metfa.runtime.errors import ExportError

if TYPE_CHECKING:
    from metfa.runtime.bundle.engine_record import EnginePrecision, OperationCounts


@pytest.mark.parametrize(
    ("precision", "operations", "kept"),
    [
        ("fp16", {"convolutions": {"float16": 15}, "matrix products": {"float16": 3}}, 0),
        ("fp16", {"convolutions": {"float16": 14}}, 0),
        ("int8", {"convolutions": {"int8": 15}, "matrix products": {"int8": 3}}, 0),
        ("int8", {"convolutions": {"float32": 1, "int8": 14}, "matrix products": {"int8": 2, "float32": 1}}, 2),
    ],
)
def test_what_was_asked_for_passes(precision: EnginePrecision, operations: OperationCounts, kept: int) -> None:
    require_precision("model", operations, precision, kept=kept)


@pytest.mark.parametrize(
    ("precision", "operations", "kept", "received"),
    [
        ("fp16", {"convolutions": {"float32": 15}}, 0, "0 of 15"),
        ("fp16", {"convolutions": {"float16": 14, "float32": 1}}, 0, "14 of 15"),
        ("fp16", {"convolutions": {"float16": 15}, "matrix products": {"float32": 3}}, 0, "15 of 18"),
        ("int8", {"convolutions": {"float16": 15}}, 0, "0 of 15"),
        ("int8", {"convolutions": {"float32": 2, "int8": 13}}, 1, "13 of 15"),
        ("int8", {"convolutions": {"int8": 15}}, 1, "15 of 15"),
        ("int8", {"convolutions": {"float32": 3}}, 3, "0 of 3"),
        ("fp16", {}, 0, "0 of 0"),
    ],
)
def test_what_was_not_asked_for_is_refused(
    precision: EnginePrecision, operations: OperationCounts, kept: int, received: str
) -> None:
    with pytest.raises(ExportError, match=f"of model in .*, received {received}; export without --{precision}"):
        require_precision("model", operations, precision, kept=kept)
