"""What a network needs before it can run in half precision."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from metfa.training.encoders.residual import ResidualUnit

if TYPE_CHECKING:
    from metfa.runtime.backends.choice import Precision

DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16}


def fold_batch_norms(module: nn.Module) -> nn.Module:
    """Return a copy in which each batch norm is part of the layer before it or, where it cannot be, scale and shift.

    Done in float32. It saves half precision from the range between a convolution and its batch norm, which is wide, and
    from variances, whose rounding errors add up.
    """
    module = copy.deepcopy(module)
    for part in module.modules():
        if isinstance(part, nn.Sequential):
            for index in range(1, len(part)):
                part[index - 1], part[index] = _fold(part[index - 1], part[index])
        elif isinstance(part, ResidualUnit):
            part.conv1, part.norm2 = _fold(part.conv1, part.norm2)  # type: ignore[assignment]
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            _simplify(part)
    return module


def _fold(layer: nn.Module, norm: nn.Module) -> tuple[nn.Module, nn.Module]:
    if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
        return fuse_conv_bn_eval(layer, norm), nn.Identity()
    if isinstance(layer, nn.Linear) and isinstance(norm, nn.BatchNorm1d):
        return fuse_linear_bn_eval(layer, norm), nn.Identity()
    return layer, norm


def _simplify(norm: nn.BatchNorm2d) -> None:
    """Rewrite γ(x − mean) / √(var + ε) + β as scale · x + shift, where half precision rounds two numbers, not four."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    if not norm.affine:
        norm.weight = nn.Parameter(torch.ones_like(norm.running_mean))
        norm.bias = nn.Parameter(torch.zeros_like(norm.running_mean))
    with torch.no_grad():
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        norm.bias.sub_(norm.running_mean * scale)
        norm.weight.copy_(scale)
        norm.running_mean.zero_()
        norm.running_var.fill_(1)
        norm.eps = 0
