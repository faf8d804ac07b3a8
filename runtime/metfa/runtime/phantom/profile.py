"""The description of an ultrasound scanner, as far as its pictures show it: a frozen record, kept as strict JSON."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from ..bundle.records import from_json
from ..errors import ProfileError
from .font import GLYPHS

SCHEMA = 1
_REMEDY = "name a built-in scanner, A or B, or start a profile from one of theirs (docs/phantom.md)"


@dataclass(frozen=True, slots=True)
class Sector:
    """Where the scanner looks, and where it shows it on the 640 × 480 screen.

    Attributes:
        angle_deg: opening angle of the sector, degrees.
        probe_radius_mm: radius of curvature of the convex array, mm.
        depth_mm: depth of view, mm.
        centre_px: column of the middle scan line.
        top_px: row of the topmost point of the sector.
        bottom_px: row of the deepest point of the sector.
    """

    angle_deg: float
    probe_radius_mm: float
    depth_mm: float
    centre_px: int
    top_px: int
    bottom_px: int

    def __post_init__(self) -> None:
        _within("angle_deg", self.angle_deg, 10.0, 120.0)
        _within("probe_radius_mm", self.probe_radius_mm, 1.0, 100.0)
        _within("depth_mm", self.depth_mm, 40.0, 160.0)
        _within("centre_px", self.centre_px, 0, 639)
        _within("top_px", self.top_px, 0, 400)
        _within("bottom_px", self.bottom_px, self.top_px + 64, 480)


@dataclass(frozen=True, slots=True)
class Beam:
    """The pulse and the beam, which set the size of the speckle.

    Attributes:
        centre_frequency_mhz: centre frequency of the pulse, MHz.
        fractional_bandwidth: -6 dB bandwidth over centre frequency.
        aperture_mm: width of the active aperture, mm.
        focal_depth_mm: depth of the transmit focus, mm.
        side_lobe_db: clutter from the neighbouring lines, dB relative to the main lobe.
    """

    centre_frequency_mhz: float
    fractional_bandwidth: float
    aperture_mm: float
    focal_depth_mm: float
    side_lobe_db: float

    def __post_init__(self) -> None:
        _within("centre_frequency_mhz", self.centre_frequency_mhz, 1.0, 15.0)
        _within("fractional_bandwidth", self.fractional_bandwidth, 0.1, 1.2)
        _within("aperture_mm", self.aperture_mm, 4.0, 60.0)
        _within("focal_depth_mm", self.focal_depth_mm, 10.0, 160.0)
        _within("side_lobe_db", self.side_lobe_db, -90.0, 0.0)


@dataclass(frozen=True, slots=True)
class Receiver:
    """From echoes to decibels.

    Attributes:
        gain_db: overall gain, dB; 0 shows soft tissue at the top of the dynamic range.
        tgc_db_per_cm: time gain compensation, dB per cm of depth.
        noise_db: electronic noise at the probe's face relative to the echo of soft tissue, dB; TGC amplifies it.
        reverberation_db: near-field clutter at the probe's face relative to the echo of soft tissue, dB.
        reverberation_decay_mm: depth over which that clutter falls by 10 dB, mm.
        interface_db: gain of an interface that lies across the beam over the tissue beside it, dB.
    """

    gain_db: float
    tgc_db_per_cm: float
    noise_db: float
    reverberation_db: float
    reverberation_decay_mm: float
    interface_db: float

    def __post_init__(self) -> None:
        _within("gain_db", self.gain_db, -60.0, 40.0)
        _within("tgc_db_per_cm", self.tgc_db_per_cm, 0.0, 15.0)
        _within("noise_db", self.noise_db, -140.0, 0.0)
        _within("reverberation_db", self.reverberation_db, -90.0, 20.0)
        _within("reverberation_decay_mm", self.reverberation_decay_mm, 1.0, 100.0)
        _within("interface_db", self.interface_db, 0.0, 30.0)


@dataclass(frozen=True, slots=True)
class Display:
    """From decibels to grey levels.

    Attributes:
        dynamic_range_db: range that is shown between black and white, dB.
        gamma: exponent of the grey map; above 1 darkens the middle.
        contrast: slope of the S-curve that follows; 0 leaves the grey map as it is.
        speckle_reduction: aperture of the median filter, samples: 1 (off), 3, 5 or 7.
    """

    dynamic_range_db: float
    gamma: float
    contrast: float
    speckle_reduction: int

    def __post_init__(self) -> None:
        _within("dynamic_range_db", self.dynamic_range_db, 20.0, 120.0)
        _within("gamma", self.gamma, 0.2, 5.0)
        _within("contrast", self.contrast, 0.0, 20.0)
        if self.speckle_reduction not in (1, 3, 5, 7):
            raise ValueError(f"speckle_reduction must be 1, 3, 5 or 7, not {self.speckle_reduction}")


@dataclass(frozen=True, slots=True)
class Caption:
    """One line of text on the screen: capital letters, digits, blanks and ``./:-%``.

    Attributes:
        text: what it says.
        left_px: column of its left edge.
        top_px: row of its top edge.
        height_px: height of its letters.
    """

    text: str
    left_px: int
    top_px: int
    height_px: int

    def __post_init__(self) -> None:
        if not set(self.text) <= GLYPHS.keys():
            raise ValueError(f"text must be of the characters {''.join(GLYPHS)!r}, not {self.text!r}")
        _within("left_px", self.left_px, 0, 639)
        _within("top_px", self.top_px, 0, 479)
        _within("height_px", self.height_px, 5, 60)


@dataclass(frozen=True, slots=True)
class Overlay:
    """What the scanner draws outside the sector.

    Attributes:
        logo: left, top, width and height of the logo's block, px.
        ruler_px: column of the depth ticks, one per cm.
        grey_bar: left, top, width and height of the bar that shows the grey map, px.
        captions: lines of text.
    """

    logo: tuple[int, ...]
    ruler_px: int
    grey_bar: tuple[int, ...]
    captions: tuple[Caption, ...]

    def __post_init__(self) -> None:
        for name, box in (("logo", self.logo), ("grey_bar", self.grey_bar)):
            if len(box) != 4 or min(box) < 0 or box[0] + box[2] > 640 or box[1] + box[3] > 480:
                raise ValueError(f"{name} must be left, top, width, height within 640 × 480, not {list(box)}")
        _within("ruler_px", self.ruler_px, 0, 630)


@dataclass(frozen=True, slots=True)
class ScannerProfile:
    """An ultrasound scanner, as far as its pictures show it."""

    schema: int
    name: str
    sector: Sector
    beam: Beam
    receiver: Receiver
    display: Display
    overlay: Overlay

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise ValueError(f"schema must be {SCHEMA}, not {self.schema}")


def load_profile(name: str) -> ScannerProfile:
    """Return the built-in scanner ``"A"`` or ``"B"``, or the one that the JSON file at path ``name`` describes.

    Raises:
        ProfileError: there is no such scanner or file, or the file does not describe a scanner.
    """
    built_in = files(__package__).joinpath(f"profiles/{name}.json")
    source = built_in if name in ("A", "B") else Path(name)
    try:
        text = source.read_bytes()
    except OSError as cause:
        raise ProfileError(
            expected="the scanner A or B, or a readable JSON file",
            received=f"{name!r} ({cause.strerror})",
            remedy=_REMEDY,
        ) from None
    return from_json(ScannerProfile, text, origin=f"the profile {name}", remedy=_REMEDY, error=ProfileError)


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:  # false for NaN as well
        raise ValueError(f"{name} must be between {low:g} and {high:g}, not {value:g}")
