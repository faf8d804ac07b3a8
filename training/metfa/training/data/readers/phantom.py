"""The simulator as a domain: stills of each plane and of background, or the frames of live scans."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING

from metfa.runtime.bundle import records
from metfa.runtime.phantom import BACKGROUND, PLANES, Phantom, ScannerProfile, load_profile

from ..listing import Entry, Listing

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from ..listing import Split
    from .specification import Specification

PHANTOM_IMAGES: dict[Split, int] = {"train": 200, "test": 50}
"""Stills of each plane that a phantom domain has; of background there are twice as many."""

SCAN_FRAMES = 150
"""Frames that are taken of each scan: 45 s of it."""

TAKEN = 9
"""Of so many frames of a scan one is taken, as neighbours look alike."""

TEST_SCANS = 3
"""Scans that are for testing, however many there are for training."""

_FIRST_TEST_SCAN, _FIRST_SCAN = 900, 1000  # seeds; the benchmarks tune and score decisions on those below


@dataclass(frozen=True, slots=True)
class PhantomFrame:
    """A simulated frame of one plane; see :class:`~metfa.training.data.listing.Medium`."""

    profile: ScannerProfile
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


@dataclass(frozen=True, slots=True)
class PhantomScan:
    """Some frames of a simulated live scan; see :class:`~metfa.training.data.listing.Medium`."""

    profile: ScannerProfile
    seed: int

    @property
    def name(self) -> str:
        """Its seed."""
        return f"phantom scan {self.seed}"

    def identity(self) -> str:
        """Return what changes when the pictures do."""
        return f"{_json(self.profile)} scan {self.seed}"

    def read(self) -> Iterator[NDArray[np.uint8]]:
        """Yield the frames, uint8 [480, 640]."""
        for frame, _ in islice(_phantom(self.profile).scan(self.seed, TAKEN), SCAN_FRAMES):
            yield frame

    def planes(self) -> tuple[str, ...]:
        """Return what each of the frames shows."""
        return _planes(self.profile, self.seed)


def list_phantom(specification: Specification) -> Listing:
    """List the media of ``phantom:A``, ``phantom:B?scans=12`` or ``phantom:PROFILE.json``.

    Raises:
        DataError: there are other options, or no such number of scans.
        ProfileError: there is no such profile.
    """
    specification.refuse_options("scans")
    profile = load_profile(specification.path)
    if "scans" in specification.options:
        entries = _scans(profile, specification.count("scans", least=2))
    else:
        entries = _stills(profile)
    return Listing(specification.name, tuple(entries), ())


def _stills(profile: ScannerProfile) -> Iterator[Entry]:
    first_seed = 0
    for split, count in PHANTOM_IMAGES.items():
        for plane in (*PLANES, BACKGROUND):
            times = 2 if plane == BACKGROUND else 1
            for seed in range(times * first_seed, times * (first_seed + count)):
                yield Entry(PhantomFrame(profile, plane, seed), plane, split, None)
        first_seed += count


def _scans(profile: ScannerProfile, count: int) -> Iterator[Entry]:
    """Yield scans to train on, without labels, and a few to test on, with them."""
    for number in range(count):
        yield Entry(PhantomScan(profile, _FIRST_SCAN + number), None, "train", f"recording {number + 1}")
    for number in range(TEST_SCANS):
        scan = PhantomScan(profile, _FIRST_TEST_SCAN + number)
        yield Entry(scan, scan.planes(), "test", f"recording {count + number + 1}")


@lru_cache(maxsize=2)
def _phantom(profile: ScannerProfile) -> Phantom:
    return Phantom(profile)


@lru_cache(maxsize=2 * TEST_SCANS)
def _planes(profile: ScannerProfile, seed: int) -> tuple[str, ...]:
    """Return what each frame of a scan shows; a second of calculation."""
    return tuple(islice(_phantom(profile).planes(seed), 0, TAKEN * SCAN_FRAMES, TAKEN))


@lru_cache(maxsize=2)
def _json(profile: ScannerProfile) -> str:
    return records.to_json(profile)
