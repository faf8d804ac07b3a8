"""Stills of the phantom as a model sees them: frames to compare engines on where there are no others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..imaging.preprocess import preprocess
from .anatomy import BACKGROUND, PLANES
from .profile import load_profile
from .simulator import Phantom

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..bundle.contract import InputSpec

_STILLS = 3  # of each plane


def phantom_frames(size: InputSpec) -> NDArray[np.uint8]:
    """Return a few stills of each plane and of the background, uint8 [N, 1, H, W]."""
    phantom = Phantom(load_profile("B"))
    stills = [phantom.image(plane, seed) for plane in (*PLANES, BACKGROUND) for seed in range(_STILLS)]
    return np.stack([preprocess(still, height=size.height, width=size.width, region=None) for still in stills])
