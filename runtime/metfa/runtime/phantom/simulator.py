"""The phantom itself: stills of one plane, and an endless sweep through all of them."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np

from ..errors import SourceError
from .anatomy import BACKGROUND, PAINTERS
from .display import Screen
from .imaging import Imager
from .overlay import draw_overlay
from .scan import Slice, draw_between, sweep
from .tissue import Pose

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from .profile import ScannerProfile


class Phantom:
    """A simulated ultrasound scanner that looks at a simulated fetus.

    Args:
        profile: the scanner; the maps and kernels that depend on it alone are computed once, here.
    """

    def __init__(self, profile: ScannerProfile) -> None:
        self.profile = profile
        self._imager = Imager(profile)
        self._screen = Screen(profile.sector, profile.display)
        self._overlay = draw_overlay(profile.overlay, profile.sector) * (1 - self._screen.inside)

    def image(self, plane: str, seed: int) -> NDArray[np.uint8]:
        """Return one still, uint8 [480, 640] grey: a pure function of the profile, ``plane`` and ``seed``.

        Background with an even seed lies between it and a plane, as many frames of a scan do.

        Args:
            plane: one of ``PLANES``, or ``BACKGROUND``.
            seed: any integer from 0.

        Raises:
            SourceError: there is no such plane.
        """
        if plane not in PAINTERS:
            raise SourceError(
                expected=f"one of the planes {', '.join(PAINTERS)}",
                received=repr(plane),
                remedy="name a plane exactly as it is listed",
            )
        rng = np.random.Generator(np.random.PCG64([seed, zlib.crc32(plane.encode())]))
        depth = self.profile.sector.depth_mm
        still = draw_between(depth, rng) if plane == BACKGROUND and seed % 2 == 0 else Slice.draw(plane, depth, rng)
        return self._render(*still, Pose(), rng)

    def scan(self, seed: int, every: int = 1) -> Iterator[tuple[NDArray[np.uint8], str]]:
        """Yield (frame, plane) without end: what the probe sees at 30 frames/s, uint8 [480, 640], and its true label.

        The probe dwells on one plane after another in random order and meets background between them.

        Args:
            seed: any integer from 0.
            every: of so many frames the first is rendered, and the others are left out.
        """
        rng = _scan_generator(seed)
        for number, view in enumerate(sweep(self.profile.sector.depth_mm, rng)):
            if number % every:
                self._imager.skip(rng)
            else:
                yield self._render(*view.slice(), view.probe, rng), view.plane

    def planes(self, seed: int) -> Iterator[str]:
        """Yield the true label of each frame of a scan, without end; nothing is rendered."""
        rng = _scan_generator(seed)
        for view in sweep(self.profile.sector.depth_mm, rng):
            self._imager.skip(rng)
            yield view.plane

    def _render(
        self, tissue: NDArray[np.uint8], scatterers: NDArray[np.float32], probe: Pose, rng: np.random.Generator
    ) -> NDArray[np.uint8]:
        return self._screen.show(self._imager.envelope_db(tissue, scatterers, probe, rng)) + self._overlay


def _scan_generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([seed, zlib.crc32(b"scan")]))
