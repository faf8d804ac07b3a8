"""From tissue to the envelope of the echoes along each scan line, in decibels.

Speckle is the sum of many scatterers within one resolution cell (Wagner et al., IEEE Trans Sonics Ultrason 30:156,
1983): a fixed lattice of random complex amplitudes, weighted by echogenicity, convolved with a point spread function
that is separable along and across the beam. Its widths are those of a Gaussian pulse and of a focused aperture
(Szabo, *Diagnostic Ultrasound Imaging*, 2nd ed., 2014, chapters 6 and 8).
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING

import cv2
import numpy as np

from .tissue import ATTENUATION_STEP, ECHOGENICITY_FLOOR_DB, ECHOGENICITY_STEP_DB, ORIGIN_MM, SIZE, SPACING_MM, Pose

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .profile import ScannerProfile

SAMPLES, LINES = 448, 192  # of the polar grid

_SPEED_OF_SOUND = 1.54  # mm/µs
_FWHM_PER_SIGMA = 2.0 * math.sqrt(2.0 * math.log(2.0))
_LATERAL_LEVELS = 3  # widths of the point spread function between which the image is blended
_SIDE_LOBE_LINES = 41
_BYTES_PER_SCATTERER = 2  # that are drawn: for the real and the imaginary part
_INTERFACE_DB_PER_MM = 25.0  # a step of echogenicity this steep is a full interface


def _gaussian_quantiles() -> NDArray[np.float32]:
    """Return 256 equally likely values of a normal distribution of variance one half."""
    values = np.array([NormalDist().inv_cdf((index + 0.5) / 256) for index in range(256)])
    return np.asarray(values / np.sqrt(2.0 * np.mean(values**2)), np.float32)


_QUANTILES = _gaussian_quantiles()


def draw_scatterers(rng: np.random.Generator, rows: int = SIZE, columns: int = SIZE) -> NDArray[np.float32]:
    """Return circular complex Gaussian amplitudes of unit power, float32 [rows, columns, 2]: real and imaginary."""
    drawn = rng.bytes(_BYTES_PER_SCATTERER * rows * columns)
    draws: NDArray[np.uint8] = np.frombuffer(drawn, np.uint8).reshape(rows, columns, _BYTES_PER_SCATTERER)
    return _QUANTILES[draws]


def fixed_point_maps(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.int16], NDArray[np.uint16]]:
    """Return OpenCV's fixed-point maps (CV_16SC2 and the 1/32 pixel table) for the positions ``x``, ``y``, pixels.

    With them, bilinear resampling of an 8-bit raster in float32 is exact: 8 bits of value and 10 of weight.
    """
    fine_x, fine_y = np.rint(32.0 * x).astype(np.int32), np.rint(32.0 * y).astype(np.int32)
    whole = np.stack([fine_x >> 5, fine_y >> 5], axis=-1).astype(np.int16)
    return whole, ((fine_y & 31) << 5 | (fine_x & 31)).astype(np.uint16)


class Imager:
    """Images slices of tissue with the sector, the beam and the receiver of one scanner."""

    def __init__(self, profile: ScannerProfile) -> None:
        sector, beam, receiver = profile.sector, profile.beam, profile.receiver
        self._step_mm = sector.depth_mm / SAMPLES
        depth = np.linspace(0.5, SAMPLES - 0.5, SAMPLES, dtype=np.float64) * self._step_mm
        angle = ((np.arange(LINES) + 0.5) / LINES - 0.5) * math.radians(sector.angle_deg)
        radius = depth[:, None] + sector.probe_radius_mm
        self._x = radius * np.sin(angle)
        self._y = radius * np.cos(angle) - sector.probe_radius_mm

        self._two_way_db_per_mm = 2.0 * beam.centre_frequency_mhz / 10.0
        self._interface_db = receiver.interface_db
        tgc = receiver.gain_db + receiver.tgc_db_per_cm * depth / 10.0
        self._gain = tgc[:, None]
        self._side_lobe = _power(beam.side_lobe_db)
        reverberation = receiver.reverberation_db - 10.0 * depth / receiver.reverberation_decay_mm
        self._reverberation = _power(receiver.gain_db + reverberation)[:, None]
        self._noise = np.sqrt(_power(tgc + receiver.noise_db))[:, None, None]

        pulse_mm = 0.5 * _SPEED_OF_SOUND * 0.8825 / (beam.fractional_bandwidth * beam.centre_frequency_mhz)
        self._axial = _gaussian_kernel(pulse_mm / self._step_mm / _FWHM_PER_SIGMA)
        spacing = radius[:, 0] * math.radians(sector.angle_deg) / LINES
        width = _beam_width_mm(depth, beam.centre_frequency_mhz, beam.aperture_mm, beam.focal_depth_mm)
        sigma = width / spacing / _FWHM_PER_SIGMA
        levels = np.linspace(sigma.min(), sigma.max() + 1e-6, _LATERAL_LEVELS)
        self._lateral = [_gaussian_kernel(level) for level in levels]
        position = (sigma - levels[0]) / (levels[1] - levels[0])
        self._blend = [
            np.maximum(0.0, 1.0 - np.abs(position - level))[:, None, None] for level in range(_LATERAL_LEVELS)
        ]

    def envelope_db(
        self, tissue: NDArray[np.uint8], scatterers: NDArray[np.float32], probe: Pose, rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """Return the log envelope, float64 [SAMPLES, LINES], in dB relative to white.

        Args:
            tissue: uint8 [SIZE, SIZE, 2] from :func:`paint_slice`.
            scatterers: float32 [SIZE, SIZE, 2] of :func:`draw_scatterers`; they move with the tissue.
            probe: where the probe's own coordinates lie in the world.
            rng: draws the electronic noise.
        """
        whole, fraction = self._look(probe)
        codes = cv2.remap(
            tissue.astype(np.float32), whole, fraction, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        ).astype(np.float64)
        amplitude = np.sqrt(self._echo_power(codes[..., 0], codes[..., 1]))
        echoes = cv2.remap(scatterers, whole, fraction, cv2.INTER_NEAREST, borderMode=cv2.BORDER_WRAP)
        field = amplitude[..., None] * echoes
        blurred = self._noise * draw_scatterers(rng, SAMPLES, LINES).astype(np.float64)
        for kernel, weight in zip(self._lateral, self._blend, strict=True):
            blurred += weight * cv2.sepFilter2D(field, cv2.CV_64F, kernel, np.ones(1))
        signal = np.asarray(cv2.sepFilter2D(blurred, cv2.CV_64F, np.ones(1), self._axial), np.float64)
        return _decibels(signal[..., 0] ** 2 + signal[..., 1] ** 2)

    def skip(self, rng: np.random.Generator) -> None:
        """Leave a frame out: draw what its noise would have been drawn from."""
        rng.bytes(_BYTES_PER_SCATTERER * SAMPLES * LINES)

    def _look(self, probe: Pose) -> tuple[NDArray[np.int16], NDArray[np.uint16]]:
        """Return the fixed-point maps from the polar grid into the raster for a probe at ``probe``."""
        cosine, sine = math.cos(probe.rotation), math.sin(probe.rotation)
        x = probe.x + cosine * self._x - sine * self._y
        y = probe.y + sine * self._x + cosine * self._y
        return fixed_point_maps((x - ORIGIN_MM[0]) / SPACING_MM, (y - ORIGIN_MM[1]) / SPACING_MM)

    def _echo_power(self, echogenicity: NDArray[np.float64], attenuation: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the mean power of the echoes on the grid: backscatter, interfaces, attenuation, TGC and clutter."""
        level = ECHOGENICITY_FLOOR_DB + ECHOGENICITY_STEP_DB * echogenicity
        steepness = np.abs(np.diff(level, axis=0, prepend=level[:1])) / (self._step_mm * _INTERFACE_DB_PER_MM)
        loss = np.cumsum(attenuation, axis=0) * (ATTENUATION_STEP * self._two_way_db_per_mm * self._step_mm)
        power = _power(level + self._interface_db * np.minimum(steepness, 1.0) - loss + self._gain)
        clutter = cv2.blur(power, (_SIDE_LOBE_LINES, 1))
        return power + self._side_lobe * clutter + self._reverberation


def _power(decibels: NDArray[np.float64] | float) -> NDArray[np.float64]:
    return np.asarray(np.exp(np.asarray(decibels) * (math.log(10.0) / 10.0)), np.float64)


def _decibels(power: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(10.0 * np.log10(power + 1e-12), np.float64)


def _beam_width_mm(
    depth: NDArray[np.float64], frequency_mhz: float, aperture_mm: float, focus_mm: float
) -> NDArray[np.float64]:
    """Return the full width at half maximum of the beam: λz/D at the focus, wider beyond the depth of field."""
    wavelength = _SPEED_OF_SOUND / frequency_mhz
    depth_of_field = 7.0 * wavelength * (focus_mm / aperture_mm) ** 2
    spread = np.sqrt(1.0 + ((depth - focus_mm) / depth_of_field) ** 2)
    return np.asarray(wavelength * depth / aperture_mm * spread, np.float64)


def _gaussian_kernel(sigma: float) -> NDArray[np.float64]:
    """Return a Gaussian of unit energy, so that the mean power of the speckle does not depend on its size."""
    reach = max(1, math.ceil(3.0 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(sigma, 0.05)) ** 2)
    return np.asarray(kernel / np.sqrt(np.sum(kernel**2)), np.float64)
