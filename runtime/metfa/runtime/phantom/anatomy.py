"""The six standard planes and the background between them, painted as randomised slices of tissue.

Each plane is a schematic after the ISUOG guidelines for the mid-trimester scan (Salomon et al., Ultrasound Obstet
Gynecol 59:840, 2022) and for the fetal heart (Carvalho et al., Ultrasound Obstet Gynecol 61:788, 2023). Organs are
drawn in a fetal frame in millimetres; in the chest and the abdomen the spine is at +y and the heart at -x.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

from .tissue import (
    BLOOD,
    BONE,
    FAT,
    FLUID,
    LIVER,
    LUNG,
    MUSCLE,
    MYOCARDIUM,
    ORIGIN_MM,
    PLACENTA,
    SIZE,
    SKIN,
    SOFT,
    WALL,
    Brush,
    Pose,
    Tissue,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

# Rows and columns of random cells along the raster, and their range in steps of echogenicity: from regional
# differences down to the streaks of connective tissue.
_MOTTLE = ((10, 10, 24), (60, 30, 24), (170, 100, 28))


def paint_slice(plane: str, depth_mm: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return one random slice as uint8 [SIZE, SIZE, 2], the echogenicity and attenuation codes.

    Args:
        plane: a key of ``PAINTERS``.
        depth_mm: how deep the scanner looks; the anatomy is placed within it.
        rng: draws everything that is random.
    """
    raster = np.full((SIZE, SIZE), FLUID.code, "<u2")  # little-endian, so that its bytes come in the order of the codes
    brush = Brush(raster, rng)
    _paint_uterus(brush, depth_mm)
    PAINTERS[plane](brush, depth_mm)
    _paint_maternal_wall(brush)
    codes = raster.view(np.uint8).reshape(SIZE, SIZE, 2)
    _mottle(codes, rng)
    return np.asarray(cv2.GaussianBlur(codes, (3, 3), 0), np.uint8)  # fixed-point on uint8, hence exact


def _paint_uterus(brush: Brush, depth_mm: float) -> None:
    """Below the amniotic fluid the posterior wall, and the placenta at one side of the cavity."""
    rng = brush.rng
    posterior = depth_mm * rng.uniform(0.85, 1.0)
    brush.blob((rng.uniform(-15, 15), posterior + 70), (130, 70), _vary(SOFT, rng, -5.0), irregularity=0.015)
    centre = float(rng.choice([-1.0, 1.0])) * rng.uniform(38, 56), rng.uniform(10, depth_mm)
    brush.blob(centre, (24, 44), _vary(PLACENTA, rng), tilt=rng.uniform(-0.5, 0.5))
    if rng.random() < 0.5:  # a limb, cut across
        _paint_limb(brush.within(Pose(rng.uniform(-45, 45), rng.uniform(0.3, 0.9) * depth_mm)))


def _paint_maternal_wall(brush: Brush) -> None:
    """Skin, fat, muscle and the uterine wall between the probe and the cavity, painted from the deepest outwards."""
    rng = brush.rng
    x = np.linspace(-96.0, 96.0, 49)
    layers = [(SKIN, 1.5), (FAT, 4.5), (WALL, 0.6), (MUSCLE, 3.5), (SOFT, 2.5)]
    build = rng.uniform(0.6, 1.3)
    thickness = [depth * build * rng.uniform(0.7, 1.3) for _, depth in layers]
    slope, curvature = rng.uniform(-0.05, 0.05), rng.uniform(-0.001, 0.001)
    for last in range(len(layers), 0, -1):
        ripple = 0.4 * np.sin(x / rng.uniform(6, 14) + rng.uniform(0.0, 6.3))
        bottom = sum(thickness[:last]) + slope * x + curvature * x**2 + ripple
        outline = np.stack([np.append(x, [96.0, -96.0]), np.append(bottom, [ORIGIN_MM[1]] * 2)], axis=1)
        brush.fill(outline, _vary(layers[last - 1][0], rng))


def _mottle(codes: NDArray[np.uint8], rng: np.random.Generator) -> None:
    """Lower the echogenicity of everything but fluid here and there, in patches of several sizes."""
    echogenicity = codes[..., 0]
    solid = echogenicity > (BLOOD.code & 255)
    for rows, columns, steps in _MOTTLE:
        cells = rng.integers(0, steps, (rows, columns), np.uint8)
        variation = cv2.resize(cells, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR_EXACT)
        np.copyto(echogenicity, cv2.subtract(echogenicity, variation), where=solid)


def _vary(tissue: Tissue, rng: np.random.Generator, offset: float = 0.0) -> Tissue:
    return Tissue(tissue.echogenicity + offset + rng.uniform(-2.0, 2.0), tissue.attenuation)


def _lie(brush: Brush, depth_mm: float, turn: float) -> Brush:
    """Return a brush for the fetal frame: a random position, size, side, and rotation up to ``turn`` radians."""
    rng = brush.rng
    pose = Pose(
        x=rng.uniform(-9.0, 9.0),
        y=depth_mm * rng.uniform(0.50, 0.62),
        rotation=rng.uniform(-turn, turn),
        scale=rng.uniform(0.85, 1.15),
        mirrored=bool(rng.random() < 0.5),
    )
    return brush.within(pose)


def _paint_spine(brush: Brush, y: float) -> None:
    """A vertebra cut across: the body and the two halves of the arch, three centres of bone."""
    brush.blob((0.0, y + 2.5), (6.5, 5.5), _vary(MUSCLE, brush.rng))
    brush.blob((0.0, y), (2.6, 1.8), BONE)
    for side in (-1.0, 1.0):
        brush.blob((side * 3.6, y + 4.6), (1.9, 1.1), BONE, tilt=side * -0.7)


def _paint_chest(brush: Brush) -> Brush:
    """Paint skin, lungs, ribs, spine and descending aorta; return a brush for the heart, whose apex is at +x."""
    rng = brush.rng
    width, height = rng.uniform(26, 29), rng.uniform(23, 26)
    brush.blob((0.0, 0.0), (width + 2.5, height + 2.5), SKIN, irregularity=0.015)
    brush.blob((0.0, 0.0), (width + 1.2, height + 1.2), MUSCLE, irregularity=0.015)
    brush.blob((0.0, 0.0), (width - 1.5, height - 1.5), _vary(LUNG, rng), irregularity=0.015)
    for side in (0.0, math.pi):
        reach, shift = rng.uniform(0.25, 0.55), rng.uniform(-0.2, 0.3)
        centre = side + (shift if side == 0.0 else -shift)
        brush.arc((width - 0.5, height - 0.5), centre - reach, centre + reach, 1.2, BONE)
    _paint_spine(brush, height - 5.0)
    brush.blob((-4.0, height - 10.0), (2.2, 2.2), BLOOD)
    heart = Pose(-3.0, -2.5, rotation=math.pi + rng.uniform(0.55, 1.0), scale=rng.uniform(1.0, 1.15))
    return brush.within(heart)


def _paint_myocardium(heart: Brush) -> None:
    heart.blob((0.0, 0.0), (16.0, 12.5), WALL, irregularity=0.02)
    heart.blob((0.0, 0.0), (15.2, 11.7), _vary(MYOCARDIUM, heart.rng), irregularity=0.02)


def _paint_four_chambers(brush: Brush, depth_mm: float) -> None:
    """Two ventricles and two atria around the crux, where the septa meet the atrioventricular valves."""
    heart = _paint_chest(_lie(brush, depth_mm, 0.9))
    rng = heart.rng
    _paint_myocardium(heart)
    crux = rng.uniform(-3.5, -2.0)
    for side, length in ((1.0, rng.uniform(6.8, 8.0)), (-1.0, rng.uniform(5.8, 7.0))):
        heart.blob((crux + length + 0.6, side * 4.6), (length, 3.7), BLOOD, tilt=side * -0.12, irregularity=0.05)
        heart.blob((crux - 5.0, side * 4.8), (4.3, 4.1), BLOOD, irregularity=0.05)
    heart.tube([(13.0, 0.0), (5.0, rng.uniform(-0.6, 0.6)), (crux, 0.0)], 2.0, SOFT)
    heart.tube([(crux, 0.0), (crux - 4.0, 0.3)], 1.1, WALL)
    heart.tube([(crux - 7.5, 0.0), (crux - 10.0, 0.0)], 1.1, WALL)  # the gap is the foramen ovale
    for side in (-1.0, 1.0):
        heart.tube([(crux, 0.0), (crux + rng.uniform(0.0, 2.0), side * 4.0), (crux, side * 8.0)], 0.8, WALL)


def _paint_left_outflow(brush: Brush, depth_mm: float) -> None:
    """The left ventricle opens into the aorta, which leaves across the heart towards the right."""
    heart = _paint_chest(_lie(brush, depth_mm, 0.9))
    rng = heart.rng
    _paint_myocardium(heart)
    heart.blob((5.5, -6.6), (7.5, 2.4), BLOOD, tilt=0.1)
    heart.blob((-7.0, 7.0), (4.4, 3.0), BLOOD, irregularity=0.06)
    bend = rng.uniform(-2.0, 1.0)
    heart.vessel([(2.0, 2.0), (-4.0, bend), (-10.0, bend - 4.0), (-16.0, -9.0)], rng.uniform(4.4, 5.4))
    heart.blob((5.2, 2.8), (8.2, 4.3), BLOOD, tilt=-0.1, irregularity=0.05)
    heart.tube([(12.0, -2.6), (5.0, -3.3), (-2.0, bend - 3.4)], 1.8, SOFT)


def _paint_right_outflow(brush: Brush, depth_mm: float) -> None:
    """The pulmonary artery leaves the right ventricle, arches over the aorta cut across, and divides."""
    heart = _paint_chest(_lie(brush, depth_mm, 0.9))
    rng = heart.rng
    _paint_myocardium(heart)
    heart.blob((7.5, -3.0), (6.0, 5.0), BLOOD, irregularity=0.06)
    arch = rng.uniform(-8.0, -6.0)
    heart.vessel([(6.0, -4.0), (0.0, arch), (-8.0, arch), (-14.0, -1.0), (-16.0, 4.0)], rng.uniform(4.2, 5.2))
    heart.vessel([(-7.0, arch + 1.0), (-7.0, 1.0), (-8.0, 6.0)], rng.uniform(2.2, 2.8))
    aorta = rng.uniform(0.5, 1.5), rng.uniform(3.2, 4.2)
    heart.blob(aorta, (4.0, 4.0), WALL, irregularity=0.02)
    heart.blob(aorta, (2.9, 2.9), BLOOD, irregularity=0.02)
    heart.blob((-3.0, 9.5), (1.9, 1.9), BLOOD)


def _paint_abdomen(brush: Brush, depth_mm: float) -> None:
    """A round abdomen with stomach, the J of the umbilical vein within the liver, great vessels and spine."""
    fetus = _lie(brush, depth_mm, 0.9)
    rng = fetus.rng
    width, height = rng.uniform(26, 29), rng.uniform(25, 28)
    fetus.blob((0.0, 0.0), (width + 2.0, height + 2.0), SKIN, irregularity=0.012)
    fetus.blob((0.0, 0.0), (width, height), _vary(LIVER, rng), irregularity=0.012)
    for side in (0.0, math.pi):
        centre = side + (0.5 if side == 0.0 else -0.5) + rng.uniform(-0.15, 0.15)
        fetus.arc((width - 1.0, height - 1.0), centre - 0.3, centre + 0.3, 1.1, BONE)
    stomach = rng.uniform(-15, -11), rng.uniform(-2, 5)
    fetus.blob(stomach, (rng.uniform(6.0, 8.5), rng.uniform(4.0, 5.5)), FLUID, tilt=rng.uniform(0.6, 1.4))
    top = rng.uniform(-14, -8)
    fetus.vessel([(1.0, top), (1.0, -4.0), (2.0, 1.0), (7.0, 3.0), (11.0, 0.0)], rng.uniform(2.6, 3.6), wall=0.8)
    _paint_spine(fetus, height - 6.0)
    fetus.blob((-4.0, height - 10.5), (1.9, 1.9), BLOOD)
    fetus.blob((4.5, height - 12.0), (1.9, 1.9), BLOOD)


def _paint_femur(brush: Brush, depth_mm: float) -> None:
    """The whole diaphysis in the length of the thigh, its ends blunt, its shadow below."""
    fetus = _lie(brush, depth_mm, 0.6)
    rng = fetus.rng
    fetus.blob((rng.uniform(-8, 8), 3.0), (rng.uniform(34, 40), rng.uniform(13, 17)), SKIN, irregularity=0.05)
    fetus.blob((rng.uniform(-6, 6), 3.0), (rng.uniform(32, 37), rng.uniform(12, 15)), _vary(MUSCLE, rng, 3.0))
    for y in (-5.0, 8.0):  # fasciae between the muscles
        fetus.tube([(-24.0, y + 3.0), (0.0, y + rng.uniform(-3, 3)), (24.0, y + 2.0)], 0.6, SOFT)
    half, bow = rng.uniform(15, 19), rng.uniform(-1.5, 1.5)
    fetus.tube([(-half, 0.0), (0.0, bow), (half, 0.0)], rng.uniform(3.0, 4.0), BONE)
    for end in (-half, half):
        fetus.blob((end, 0.3), (2.2, 2.4), BONE)


def _paint_lips(brush: Brush, depth_mm: float) -> None:
    """The face cut coronally through the tip of the nose, both nostrils, the lips and the chin."""
    fetus = _lie(brush, depth_mm, 0.9)
    rng = fetus.rng
    fetus.blob((0.0, -2.0), (rng.uniform(22, 27), rng.uniform(19, 23)), SKIN, irregularity=0.06)
    fetus.blob((0.0, -2.0), (rng.uniform(20, 24), rng.uniform(17, 20)), _vary(FAT, rng), irregularity=0.06)
    fetus.blob((0.0, 3.0), (13.0, 16.0), _vary(MYOCARDIUM, rng, -6.0))
    fetus.blob((0.0, 19.0), (rng.uniform(9, 11), rng.uniform(5, 6.5)), _vary(SKIN, rng, -2.0), irregularity=0.06)
    fetus.blob((0.0, -9.0), (rng.uniform(9, 11), rng.uniform(6.5, 8.5)), _vary(SKIN, rng, -1.0), irregularity=0.06)
    for side in (-1.0, 1.0):
        fetus.blob((side * rng.uniform(3.5, 4.5), -6.5), (2.3, 1.6), FLUID, tilt=side * 0.4, irregularity=0.08)
    lip = rng.uniform(10.0, 13.0)
    for y, thickness in ((2.5, rng.uniform(3.2, 4.2)), (10.0, rng.uniform(2.8, 3.8))):
        corner = rng.uniform(1.0, 2.5)
        fetus.tube([(-lip, y + corner), (-0.4 * lip, y), (0.4 * lip, y), (lip, y + corner)], 2 * thickness, SKIN)
    fetus.tube([(0.0, -1.5), (0.0, 2.5)], 1.2, MYOCARDIUM)  # the philtrum
    fetus.tube([(-lip, 7.0), (0.0, rng.uniform(6.0, 7.5)), (lip, 7.0)], rng.uniform(1.2, 2.4), FLUID)
    fetus.arc((8.0, 5.0), 0.15 * math.pi, 0.85 * math.pi, 1.0, Tissue(BONE.echogenicity - 4.0, 3.0))  # alveolar ridge


def _paint_background(brush: Brush, depth_mm: float) -> None:
    """What the probe meets between the planes: limbs, loops of cord, a head or a trunk cut off-plane."""
    rng = brush.rng
    for _ in range(int(rng.integers(1, 5))):
        part = _BACKGROUND_PARTS[int(rng.integers(len(_BACKGROUND_PARTS)))]
        pose = Pose(
            x=rng.uniform(-32, 32),
            y=depth_mm * rng.uniform(0.3, 0.95),
            rotation=rng.uniform(-math.pi, math.pi),
            scale=rng.uniform(0.8, 1.2),
        )
        part(brush.within(pose))


def _paint_limb(brush: Brush) -> None:
    rng = brush.rng
    brush.blob((0.0, 0.0), (rng.uniform(7, 11), rng.uniform(6, 9)), _vary(SOFT, rng))
    brush.blob((0.0, 0.0), (2.0, 1.6), BONE)


def _paint_cord(brush: Brush) -> None:
    brush.blob((0.0, 0.0), (6.5, 6.0), SOFT)
    for x, y, radius in ((0.0, -1.8, 2.4), (-2.6, 2.2, 1.3), (2.6, 2.2, 1.3)):
        brush.blob((x, y), (radius, radius), BLOOD)


def _paint_head(brush: Brush) -> None:
    rng = brush.rng
    width, height = rng.uniform(26, 31), rng.uniform(20, 24)
    brush.blob((0.0, 0.0), (width + 2.0, height + 2.0), SKIN, irregularity=0.01)
    brush.blob((0.0, 0.0), (width, height), _vary(MYOCARDIUM, rng, -4.0), irregularity=0.01)
    brush.arc((width + 0.5, height + 0.5), 0.15, 2.0 * math.pi - 0.15, 1.4, Tissue(BONE.echogenicity, 4.0))
    brush.tube([(-0.8 * width, 0.0), (0.8 * width, 0.0)], 0.8, SOFT)


def _paint_trunk(brush: Brush) -> None:
    rng = brush.rng
    brush.blob((0.0, 0.0), (rng.uniform(30, 40), rng.uniform(17, 22)), SKIN, irregularity=0.05)
    brush.blob((0.0, 0.0), (rng.uniform(28, 34), rng.uniform(15, 17)), _vary(LIVER, rng), irregularity=0.05)
    for x in range(-24, 25, 6):  # ribs or vertebrae in a row
        brush.blob((x, 8.0 + rng.uniform(-1, 1)), (1.6, 1.2), BONE)


_BACKGROUND_PARTS = (_paint_limb, _paint_cord, _paint_head, _paint_trunk)

PLANES = ("4CH", "Abdominal", "LVOT", "RVOT", "Femur", "Lips")
BACKGROUND = "Background"
PAINTERS: dict[str, Callable[[Brush, float], None]] = {
    "4CH": _paint_four_chambers,
    "Abdominal": _paint_abdomen,
    "LVOT": _paint_left_outflow,
    "RVOT": _paint_right_outflow,
    "Femur": _paint_femur,
    "Lips": _paint_lips,
    BACKGROUND: _paint_background,
}
