from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import pytest

from metfa.runtime.backends.onnxruntime import OnnxRuntimeBackend
from metfa.runtime.bundle.directory import ONNX
from metfa.runtime.errors import BackendError

if TYPE_CHECKING:
    from pathlib import Path

    from metfa.runtime.bundle.contract import ModelContract


def test_a_batch_is_run_as_the_contract_says(bundle: Path, contract: ModelContract) -> None:
    backend = OnnxRuntimeBackend(bundle / ONNX, contract, "cpu")
    frames = np.stack([np.full((1, contract.input.height, contract.input.width), grey, np.uint8) for grey in (0, 255)])
    inference = backend.infer(frames)
    assert inference.logits.shape == (2, len(contract.labels))
    assert inference.embedding.shape == (2, contract.embedding)
    assert inference.logits.dtype == inference.embedding.dtype == np.float32
    assert inference.logits.argmax(1).tolist() == [0, len(contract.labels) - 1]
    assert backend.description.endswith("on the CPU, model.onnx")


@pytest.mark.parametrize("share", [0, 0.5])
def test_an_empty_or_truncated_file_is_one_line(bundle: Path, contract: ModelContract, share: float) -> None:
    data = (bundle / ONNX).read_bytes()
    (bundle / ONNX).write_bytes(data[: int(share * len(data))])
    with pytest.raises(BackendError, match=r"expected (an ONNX|a whole) model .*model\.onnx") as refusal:
        OnnxRuntimeBackend(bundle / ONNX, contract, "cpu")
    assert "\n" not in str(refusal.value)


def test_a_model_of_another_contract_is_refused(bundle: Path, contract: ModelContract) -> None:
    other = dataclasses.replace(contract, labels=tuple(reversed(contract.labels)))
    with pytest.raises(BackendError, match="received a model with another contract"):
        OnnxRuntimeBackend(bundle / ONNX, other, "cpu")


def test_a_model_without_a_contract_is_refused(bundle: Path, contract: ModelContract) -> None:
    data = (bundle / ONNX).read_bytes().replace(b"metfa.contract", b"other.contract")
    (bundle / ONNX).write_bytes(data)
    with pytest.raises(BackendError, match=r"whole model of metfa in .*model\.onnx, received one without a contract"):
        OnnxRuntimeBackend(bundle / ONNX, contract, "cpu")
