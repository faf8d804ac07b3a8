"""What all methods do with a gradient."""

import pytest
import torch
from torch import nn

from metfa.training.methods.base import MAX_GRADIENT_NORM, descend


@pytest.mark.parametrize(("norm", "step"), [(10.0, 10.0), (MAX_GRADIENT_NORM * 7, MAX_GRADIENT_NORM)])
def test_a_long_gradient_is_shortened_and_keeps_its_direction(norm: float, step: float) -> None:
    parameters = [nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(2))]
    direction = [torch.tensor([0.6, 0, 0]), torch.tensor([0, 0.8])]  # of length one together
    objective = norm * torch.stack([(p * d).sum() for p, d in zip(parameters, direction, strict=True)]).sum()
    descend(objective, torch.optim.SGD(parameters), 0.5)
    for parameter, part in zip(parameters, direction, strict=True):
        torch.testing.assert_close(parameter.detach(), -0.5 * step * part)
