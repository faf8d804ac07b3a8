"""A trained network as an inference-only module in FP32 or FP16, and that module as ONNX."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import onnx
import torch
from google.protobuf.message import Message
from torch import Tensor, nn

from metfa.runtime.backends.choice import Precision
from metfa.runtime.bundle.contract import METADATA_KEY, ModelContract
from metfa.runtime.files import replacing

from .precision import DTYPES, fold_batch_norms

if TYPE_CHECKING:
    from pathlib import Path

    from metfa.training.model import Network, Prototypes

_OPSET = 18  # the exporter's own, so that nothing is converted; TensorRT 10.3 reads up to 20


class DeployedModel(nn.Module):
    """What is exported: uint8 frames in, float32 logits and mean embedding out, batch norms folded, nothing sampled.

    Half precision is written into the module, and so into the types of the ONNX: engines have no precision switch any
    more. Grey levels are normalised in float32 (the statistics of an image are sums over all its pixels), the encoder
    and the dense layers that make up nearly all of the work run in ``precision``, and the logits are float32 again:
    a cosine divided by τ₀ = 0.05 multiplies every rounding error by 20, and they cost next to nothing.

    Args:
        normalise: uint8 [N, 1, H, W] → float32.
        body: → embedding [N, D].
        hidden: → what the logits are computed from.
        logits: float32 → float32 [N, M].
        precision: of ``body`` and ``hidden``. All four are copied, and must be in evaluation mode.
    """

    def __init__(
        self, normalise: nn.Module, body: nn.Module, hidden: nn.Module, logits: nn.Module, precision: Precision
    ) -> None:
        super().__init__()
        self.normalise = normalise
        self.body = fold_batch_norms(body).to(DTYPES[precision])
        self.hidden = fold_batch_norms(hidden).to(DTYPES[precision])
        self.logits = copy.deepcopy(logits)
        self.dtype = DTYPES[precision]
        self.eval().requires_grad_(False)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 [N, 1, H, W] → float32 logits [N, M] and float32 embedding [N, D]."""
        embedding = self.body(self.normalise(frames).to(self.dtype))
        return self.logits(self.hidden(embedding).float()), embedding.float()


def half_arithmetic(model: DeployedModel) -> DeployedModel:
    """Return a float32 copy of an FP16 ``model`` that rounds what enters each layer to half precision.

    That is what a GPU computes: products of halves, summed in float32, stored as halves, infinite above 65,504. ONNX
    Runtime on a CPU leaves out the stores, so that it cannot show an overflow.
    """
    model = copy.deepcopy(model)
    model.dtype = torch.float32
    for part in (model.body.float(), model.hidden.float()):
        for layer in part.modules():
            if not any(layer.children()):
                layer.register_forward_pre_hook(_round_to_half)
    return model


def _round_to_half(_: nn.Module, inputs: tuple[Tensor]) -> Tensor:
    return inputs[0].half().float()


@dataclass(frozen=True, slots=True)
class Model:
    """A network to export.

    Attributes:
        network: in float32 and evaluation mode, uint8 [N, 1, H, W] → logits [N, M] and embedding [N, D].
        deploy: makes the module that is exported, in a precision.
        contract: what it takes and returns.
    """

    network: nn.Module
    deploy: Callable[[Precision], DeployedModel]
    contract: ModelContract


class SmallLinear(nn.Module):
    """A linear layer of few numbers as multiplication and sum, so that it is true float32 on every GPU.

    For matrix products, TensorRT would take TF32, of 11 bits; TensorRT for RTX has none on compute capability 7.5.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.detach())
        self.bias = None if bias is None else nn.Parameter(bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """[N, D] → [N, M]."""
        product = (x.unsqueeze(1) * self.weight).sum(2)
        return product if self.bias is None else product + self.bias


class CosineLogits(SmallLinear):
    """:class:`Prototypes` without what only training needs; τ₀ is inside the weights."""

    def __init__(self, prototypes: Prototypes) -> None:
        super().__init__(prototypes.weight / prototypes.temperature)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 128] → logits [N, M]."""
        return super().forward(x / x.norm(dim=1, keepdim=True).clamp_min(1e-12))


def deploy(network: Network, precision: Precision) -> DeployedModel:
    """Return the deterministic path of a trained network, which is left as it is."""
    return DeployedModel(
        normalise=network.normalise,
        body=nn.Sequential(network.encoder, network.embedding.mean),
        hidden=network.classifier.hidden,
        logits=CosineLogits(network.classifier.prototypes),
        precision=precision,
    )


def export_onnx(model: DeployedModel, contract: ModelContract, path: Path) -> None:
    """Write ``model`` as ONNX: ``frame`` → ``logits``, ``embedding``, with the contract inside.

    The same weights give the same bytes.

    Raises:
        OutputError: the file cannot be written.
        onnx.checker.ValidationError: the graph breaks the standard.
    """
    size = contract.input
    frames = torch.zeros(2, 1, size.height, size.width, dtype=torch.uint8)
    with _quiet_exporter():
        program = torch.onnx.export(
            model,
            (frames,),
            dynamo=True,
            input_names=["frame"],
            output_names=["logits", "embedding"],
            dynamic_shapes=({0: torch.export.Dim("N")},),
            opset_version=_OPSET,
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    _strip_annotations(proto)
    proto.metadata_props.add(key=METADATA_KEY, value=contract.to_json())
    onnx.checker.check_model(proto, full_check=True)
    with replacing(path) as temporary:
        onnx.save(proto, temporary)


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Keep to itself what PyTorch's exporter says of its own internals and of optional packages."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _strip_annotations(message: Any) -> None:
    """Remove what the exporter notes about the Python source: it differs between machines and changes no result."""
    for field, value in message.ListFields():
        if field.name in {"metadata_props", "doc_string"}:
            message.ClearField(field.name)
        elif field.message_type is not None:
            for part in [value] if isinstance(value, Message) else value:
                _strip_annotations(part)
