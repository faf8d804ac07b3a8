"""Steps of any length, for tests that compute them by hand."""

import math

import pytest


@pytest.fixture
def unclipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metfa.training.methods.base.MAX_GRADIENT_NORM", math.inf)
