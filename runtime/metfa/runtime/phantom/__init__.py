"""A numpy simulator of B-mode ultrasound: six fetal planes and background, as two or more scanners would show them."""

from .anatomy import BACKGROUND, PLANES
from .profile import ScannerProfile, load_profile
from .simulator import Phantom

__all__ = ["BACKGROUND", "PLANES", "Phantom", "ScannerProfile", "load_profile"]
