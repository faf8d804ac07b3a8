"""A numpy simulator of B-mode ultrasound: six fetal planes and background, as two or more devices would show them."""

from .anatomy import BACKGROUND, PLANES
from .profile import DeviceProfile, load_profile
from .simulator import Phantom

__all__ = ["BACKGROUND", "PLANES", "DeviceProfile", "Phantom", "load_profile"]
