"""One synthetic chest and how much X-ray light every point of it takes away.

Thorax units: 1 is half the widest inner width of the rib cage; x to the patient's left (image right), y downwards from
the middle of the lungs. Attenuation is relative: an aerated lung takes away about 1 less than the chest around it.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from secondread.data.phantom.texture import Field, between, cover, length, segment_distance


@dataclass(frozen=True)
class Chest:
    """One person's chest, drawn once and exposed one or more times."""

    base: tuple[float, float]  # y of the right and left diaphragm beside the spine
    dome: tuple[float, float]  # how far they rise
    breadth: float  # of the upper thorax
    mediastinum: float  # half width
    heart: tuple[float, float]  # half axes
    heart_tilt: float
    rib_spacing: float
    rib_slope: tuple[float, float]  # posterior, anterior
    rib_phase: tuple[float, float]
    rib_strength: float
    clavicle: float  # y at the breastbone
    fat: float  # outside the rib cage
    arms: float  # how far they are raised
    bubble: tuple[float, float, float]  # the stomach's air: x, width, strength
    aeration: float
    vessels: NDArray[np.float64]
    vessel_strength: float


@dataclass(frozen=True)
class Frame:
    """Where the pixels of one exposure lie in the chest; a pixel is `pixel` thorax units wide."""

    x: Field
    y: Field
    pixel: float
    center: tuple[float, float]
    rotation: float

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of the image."""
        height, width = self.x.shape
        return height, width

    def pixels(self, points: NDArray[np.float64]) -> NDArray[np.int32]:
        """(column, row) of every (x, y)."""
        cos, sin = np.cos(self.rotation), np.sin(self.rotation)
        turned = points @ np.array(((cos, sin), (-sin, cos)))
        return np.rint(turned / self.pixel + self.center).astype(np.int32)

    def at(self, x: float, y: float) -> tuple[int, int]:
        """(column, row) of one point."""
        column, row = self.pixels(np.array((x, y))).tolist()
        return column, row


@dataclass(frozen=True)
class Lungs:
    """Coverage by both lungs, their depth relative to the deepest, and how far every pixel lies inside them."""

    coverage: Field
    air: Field
    inside: Field
    vessels: Field


def draw_chest(rng: np.random.Generator) -> Chest:
    """Draw one chest."""
    base = float(rng.uniform(0.55, 0.85))
    return Chest(
        base=(base, base + float(rng.uniform(0.0, 0.1))),
        dome=(float(rng.uniform(0.12, 0.3)), float(rng.uniform(0.12, 0.3))),
        breadth=float(rng.uniform(1.45, 1.7)),
        mediastinum=float(rng.uniform(0.17, 0.26)),
        heart=(float(rng.uniform(0.42, 0.62)), float(rng.uniform(0.33, 0.45))),
        heart_tilt=float(rng.uniform(0.45, 0.9)),
        rib_spacing=float(rng.uniform(0.19, 0.235)),
        rib_slope=(float(rng.uniform(0.18, 0.36)), float(rng.uniform(0.3, 0.55))),
        rib_phase=(float(rng.random()), float(rng.random())),
        rib_strength=float(rng.uniform(0.12, 0.26)),
        clavicle=float(rng.uniform(-0.9, -0.72)),
        fat=float(rng.uniform(0.06, 0.2)),
        arms=float(rng.uniform(-0.3, 0.5)),
        bubble=(float(rng.uniform(0.35, 0.6)), float(rng.uniform(0.1, 0.24)), float(rng.uniform(0, 0.5))),
        aeration=float(rng.uniform(0.8, 1.15)),
        vessels=_grow_vessels(rng),
        vessel_strength=float(rng.uniform(0.1, 0.22)),
    )


def draw_lungs(chest: Chest, frame: Frame) -> Lungs:
    """Outline the lungs between rib cage, mediastinum and diaphragm."""
    wide = np.abs(frame.x)
    lateral = _cage(chest, frame.y) - np.float32(0.05) - wide
    medial = wide - np.float32(0.5 * chest.mediastinum)
    inside = np.minimum(np.minimum(lateral, medial), _diaphragm(chest, frame) - frame.y)
    coverage = cover(inside, 0.035)
    depth = np.sqrt(between(inside * np.float32(2.2), 0, 1))
    return Lungs(coverage, coverage * (np.float32(0.5) + np.float32(0.5) * depth), inside, _draw_vessels(chest, frame))


def draw_attenuation(chest: Chest, frame: Frame, lungs: Lungs) -> Field:
    """Add up everything that lies between the tube and the detector, without any opacity."""
    body = _body(chest, frame)
    below = cover(frame.y - _diaphragm(chest, frame), 0.05)
    canvas = body * np.float32(1.25)
    canvas += below * body * np.float32(0.32)
    canvas -= lungs.air * np.float32(chest.aeration)
    canvas += lungs.vessels * lungs.coverage * np.float32(chest.vessel_strength)
    _add_middle(canvas, chest, frame)
    _add_ribs(canvas, chest, frame)
    _add_shoulders(canvas, chest, frame, body)
    x, width, strength = chest.bubble
    y = chest.base[1] - chest.dome[1] + 0.07 + width
    bubble = oval(frame, (x, y), (width, 0.7 * width), 0.0)
    canvas -= cover(bubble, 0.3) * np.float32(strength * 0.5)
    return canvas


def _cage(chest: Chest, y: Field) -> Field:
    """Half the inner width of the rib cage at every height."""
    up: Field = np.abs(y - np.float32(0.5)) / np.float32(chest.breadth)
    width: Field = np.power(between(1 - np.power(up, np.float32(2.4)), 0, 1), np.float32(0.55))
    return width


def _diaphragm(chest: Chest, frame: Frame) -> Field:
    """Height of the diaphragm under every pixel: two domes, the patient's right one higher."""
    left = cover(frame.x, 0.2)
    base = chest.base[0] + left * np.float32(chest.base[1] - chest.base[0])
    dome = chest.dome[0] + left * np.float32(chest.dome[1] - chest.dome[0])
    away: Field = (np.abs(frame.x) - np.float32(0.4)) / np.float32(0.52)
    return base - dome * (1 - away * away)


def _body(chest: Chest, frame: Frame) -> Field:
    """Thickness of the trunk, shoulders, arms and neck, 0 in the air."""
    wide = np.abs(frame.x)
    waist = np.clip(frame.y, -0.6, 0.7)
    trunk = _cage(chest, waist) * np.float32(1.06) + np.float32(chest.fat) - wide
    np.minimum(trunk, frame.y + np.float32(0.8), out=trunk)
    slope = segment_distance(wide, frame.y, (0.1, -0.95), (1.2, -0.6 - 0.3 * chest.arms))
    arm = segment_distance(wide, frame.y, (1.2, -0.65 - 0.3 * chest.arms), (1.75, 0.2 - 2.6 * chest.arms))
    neck = segment_distance(wide, frame.y, (0.0, -2.2), (0.0, -0.8))
    parts = (np.float32(0.36) - slope, np.float32(0.23) - arm, np.float32(0.36) - neck)
    inside = np.maximum.reduce((trunk, *parts))
    thickness = np.float32(0.45) + np.float32(0.55) * np.sqrt(between(inside * np.float32(2.5), 0, 1))
    return cover(inside, 0.03) * thickness


def oval(frame: Frame, center: tuple[float, float], axes: tuple[float, float], tilt: float) -> Field:
    """Signed relative distance inside an ellipse."""
    x, y = frame.x - np.float32(center[0]), frame.y - np.float32(center[1])
    cos, sin = np.float32(np.cos(tilt)), np.float32(np.sin(tilt))
    return 1 - length(
        x * (cos / np.float32(axes[0])) + y * (sin / np.float32(axes[0])),
        y * (cos / np.float32(axes[1])) - x * (sin / np.float32(axes[1])),
    )


def _add_middle(canvas: Field, chest: Chest, frame: Frame) -> None:
    """Heart, great vessels, windpipe and spine."""
    wide = np.abs(frame.x)
    bottom = chest.base[0]
    heart = np.maximum(
        oval(frame, (0.2, bottom - 0.36), chest.heart, chest.heart_tilt),
        oval(frame, (-0.06, bottom - 0.38), (0.27, 0.34), 0.0),
    )
    canvas += cover(heart, 0.22) * np.float32(0.45)
    band = np.maximum(
        np.float32(chest.mediastinum) - wide, oval(frame, (0.19, -0.42), (0.13, 0.14), 0.0) * np.float32(0.13)
    )
    canvas += cover(band, 0.09) * cover(frame.y + 1, 0.3) * np.float32(0.42)
    windpipe = cover(np.float32(0.055) - np.abs(frame.x + np.float32(0.01)), 0.04) * cover(-0.28 - frame.y, 0.1)
    canvas -= windpipe * np.float32(0.2)
    bones = np.cos(frame.y * np.float32(2 * np.pi / (chest.rib_spacing * 0.95)))
    spine = cover(np.float32(0.12) + np.float32(0.012) * bones - wide, 0.035)
    canvas += spine * (np.float32(0.2) + np.float32(0.07) * bones)


def _add_ribs(canvas: Field, chest: Chest, frame: Frame) -> None:
    """Ribs behind, from the spine downwards to the side, and in front, from the side downwards to the middle."""
    cage: Field = np.maximum(_cage(chest, frame.y), np.float32(0.05))
    out: Field = np.divide(np.abs(frame.x), cage, dtype=np.float32)
    side: Field = np.multiply(frame.x > 0, np.float32(0.12), dtype=np.float32)
    within = cover(1 - out, 0.05) * cover(np.float32(1.05) - np.abs(frame.y + np.float32(0.05)), 0.12)
    behind: Field = frame.y - np.float32(chest.rib_slope[0]) * out * out
    canvas += (
        _bars(behind / np.float32(chest.rib_spacing) + np.float32(chest.rib_phase[0]) + side)
        * within
        * np.float32(chest.rib_strength)
    )
    before = frame.y + np.float32(chest.rib_slope[1]) * out + np.float32(0.25) * (1 - out) * (1 - out)
    fading = within * cover(out - np.float32(0.5), 0.35) * np.float32(0.7 * chest.rib_strength)
    canvas += _bars(before / np.float32(chest.rib_spacing * 1.15) + np.float32(chest.rib_phase[1]) + side) * fading
    canvas += cover(np.float32(0.035) - np.abs(out - 1) * cage, 0.05) * within * np.float32(0.5 * chest.rib_strength)


def _bars(phase: Field) -> Field:
    """A rib at every whole number: a plateau with brighter rims."""
    away = np.abs(phase - np.rint(phase))
    rims = np.clip(1 - np.abs(away - np.float32(0.2)) * np.float32(16), 0, 1)
    return cover(np.float32(0.23) - away, 0.1) * np.float32(0.75) + rims * np.float32(0.5)


def _add_shoulders(canvas: Field, chest: Chest, frame: Frame, body: Field) -> None:
    """Collar bones, shoulder blades and upper arms."""
    wide = np.abs(frame.x)
    inner, middle = (0.1, chest.clavicle), (0.55, chest.clavicle - 0.03)
    outer = (1.12, chest.clavicle - 0.12 - 0.25 * chest.arms)
    bone = np.minimum(segment_distance(wide, frame.y, inner, middle), segment_distance(wide, frame.y, middle, outer))
    canvas += (
        cover(np.float32(0.05) - bone, 0.03) + cover(np.float32(0.015) - np.abs(bone - 0.045), 0.02)
    ) * np.float32(0.2)
    arm = segment_distance(wide, frame.y, (1.22, -0.7 - 0.3 * chest.arms), (1.75, 0.2 - 2.6 * chest.arms))
    canvas += cover(np.float32(0.085) - arm, 0.03) * body * np.float32(0.4)
    blade = segment_distance(wide, frame.y, (1.12, -0.72), (0.88, -0.12))
    canvas += cover(np.float32(0.13) - blade, 0.1) * body * np.float32(0.1)


def _grow_vessels(rng: np.random.Generator) -> NDArray[np.float64]:
    """Vessels that run from both hila outwards, branch and thin out.

    Returns:
        One straight piece a row: x and y of its start, x and y of its end, width; thorax units.
    """
    side = np.repeat((-1.0, 1.0), 9)
    heading = np.tile(np.linspace(-1.25, 1.35, 9), 2) + rng.normal(0, 0.12, 18)
    tips = np.stack((side * 0.22, np.zeros(18), side, heading, np.full(18, 0.04)))
    pieces = []
    while tips.size:
        x, y, side, heading, width = tips
        heading = heading + rng.normal(0, 0.16, width.size)
        step = rng.uniform(0.1, 0.17, width.size)
        ends = x + side * step * np.cos(heading), y + step * np.sin(heading)
        pieces.append(np.stack((x, y, *ends, width), axis=1))
        tips = np.stack((*ends, side, heading, width * 0.78))
        twigs = tips[:, rng.random(width.size) < 0.5] * np.array(((1,), (1,), (1,), (1,), (0.75,)))
        twigs[3] += rng.choice((-0.6, 0.6), twigs.shape[1])
        tips = np.concatenate((tips, twigs), axis=1)
        tips = tips[:, tips[4] > 0.006]
    return np.concatenate(pieces)


def _draw_vessels(chest: Chest, frame: Frame) -> Field:
    """Coverage in [0, 1] by the vessels; fainter where they are thin."""
    canvas = np.zeros(frame.shape, np.uint8)
    starts, ends = frame.pixels(chest.vessels[:, 0:2]), frame.pixels(chest.vessels[:, 2:4])
    widths = chest.vessels[:, 4] / frame.pixel
    for start, end, width in zip(starts.tolist(), ends.tolist(), widths.tolist(), strict=True):
        cv2.line(canvas, start, end, min(255, int(70 + 40 * width)), max(1, round(width)), cv2.LINE_AA)
    for side in (-1, 1):
        cv2.circle(canvas, frame.at(side * 0.24, 0.0), max(1, round(0.06 / frame.pixel)), 150, -1, cv2.LINE_AA)
    blurred: Field = cv2.GaussianBlur(canvas, (0, 0), max(0.6, 0.01 / frame.pixel)).astype(np.float32)
    return blurred / np.float32(255)
