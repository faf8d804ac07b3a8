"""The simulator as a domain: so many frames of each plane for training, and others for testing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from metfa.runtime import records
from metfa.runtime.phantom import PLANES, DeviceProfile, Phantom, load_profile

from ..listing import Entry, Listing

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from ..listing import Split
    from .specification import Specification

PHANTOM_IMAGES: dict[Split, int] = {"train": 200, "test": 50}
"""Images of each plane that a phantom domain has."""


@dataclass(frozen=True, slots=True)
class PhantomFrame:
    """A simulated frame of one plane; see :class:`~metfa.training.data.listing.Medium`."""

    profile: DeviceProfile
    plane: str
    seed: int

    @property
    def name(self) -> str:
        """Its plane and seed."""
        return f"phantom {self.plane} {self.seed}"

    def identity(self) -> str:
        """Return what changes when the picture does."""
        return f"{_json(self.profile)} {self.plane} {self.seed}"

    def read(self) -> Iterator[NDArray[np.uint8]]:
        """Yield the simulated frame, uint8 [480, 640]."""
        yield _phantom(self.profile).image(self.plane, self.seed)


def list_phantom(specification: Specification) -> Listing:
    """List the frames of ``phantom:A``, ``phantom:B`` or ``phantom:PROFILE.json``, plane by plane.

    Raises:
        DataError: there are options.
        ProfileError: there is no such profile.
    """
    specification.refuse_options()
    return Listing(specification.name, tuple(_entries(load_profile(specification.path))), ())


def _entries(profile: DeviceProfile) -> Iterator[Entry]:
    first_seed = 0
    for split, count in PHANTOM_IMAGES.items():
        for plane in PLANES:
            for seed in range(first_seed, first_seed + count):
                yield Entry(PhantomFrame(profile, plane, seed), plane, split, None)
        first_seed += count


@lru_cache(maxsize=2)
def _phantom(profile: DeviceProfile) -> Phantom:
    return Phantom(profile)


@lru_cache(maxsize=2)
def _json(profile: DeviceProfile) -> str:
    return records.to_json(profile)
