"""One synthetic head: its shape, its brain, and the Hounsfield units of a slice through it.

Coordinates are millimetres about the middle of the head: x to the patient's left (image right), y to the front (image
up), z to the top. Hounsfield units follow textbook ranges: air -1000, fat -90, CSF 0-15, white matter 25-32, gray
matter 37-41, muscle 45-60, calcification 100-300, skull 600-1800.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from secondread.data.phantom.texture import Field, between, clouds, cover, length, paint, segment_distance, smooth_noise

SIZE = 256
ANGLES = 1440
_FOLD_ROWS, _FOLD_COLUMNS = 480, 32  # a table of sulci: angles x depth
_FOLD_DEPTH = 31.0  # mm
Region = tuple[slice, slice]


@dataclass(frozen=True)
class Grid:
    """Where every pixel lies, in mm: in the head, about its middle, and along the scanner's axes."""

    x: Field
    y: Field
    radius: Field
    angle: NDArray[np.int32]
    across: Field
    up: Field
    spacing: float
    center: tuple[float, float]
    rotation: float

    def near(self, point: tuple[float, float], reach: float) -> Region:
        """The rows and columns within `reach` mm of a point."""
        cos, sin = np.cos(self.rotation), np.sin(self.rotation)
        across, up = point[0] * cos - point[1] * sin, point[0] * sin + point[1] * cos
        column = self.center[0] + across / self.spacing
        row = self.center[1] - up / self.spacing
        span = reach / self.spacing + 1
        rows = slice(max(0, int(row - span)), max(0, int(row + span) + 1))
        return rows, slice(max(0, int(column - span)), max(0, int(column + span) + 1))


@dataclass(frozen=True)
class Ellipsoid:
    """A rounded structure: center and half axes in mm, turned in the slice's plane by `angle` radians."""

    center: tuple[float, float, float]
    axes: tuple[float, float, float]
    angle: float = 0.0

    def distance(self, grid: Grid, z: float, margin: float) -> tuple[Region, Field] | None:
        """The part of the slice within `margin` mm, with the distance inside there; None where the slice passes by."""
        height = 1 - ((z - self.center[2]) / self.axes[2]) ** 2
        if height <= 0.02:
            return None
        wide, long = self.axes[0] * height**0.5, self.axes[1] * height**0.5
        region = grid.near(self.center[:2], max(wide, long) + margin)
        x, y = grid.x[region] - np.float32(self.center[0]), grid.y[region] - np.float32(self.center[1])
        cos, sin = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
        reach = length((x * cos + y * sin) * np.float32(1 / wide), (y * cos - x * sin) * np.float32(1 / long))
        return region, (1 - reach) * np.float32(min(wide, long))

    def coverage(self, grid: Grid, z: float, softness: float = 1.5) -> tuple[Region, Field] | None:
        """The part of the slice that it may touch, with its coverage there; None where the slice passes by."""
        found = self.distance(grid, z, softness)
        return None if found is None else (found[0], cover(found[1], softness))

    def mirrored(self) -> "Ellipsoid":
        """The same structure on the other side."""
        x, y, z = self.center
        return Ellipsoid((-x, y, z), self.axes, -self.angle)

    def moved(self, x: float, scale: float = 1.0) -> "Ellipsoid":
        """The same structure, shifted to the left by `x` mm and its axes scaled."""
        wide, long, high = self.axes
        center = (self.center[0] + x, self.center[1], self.center[2])
        return Ellipsoid(center, (wide * scale, long * scale, high * scale), self.angle)


@dataclass(frozen=True)
class Head:
    """One person's head, drawn once and sliced many times."""

    grid: Grid
    outline: Field  # widest inner skull radius by angle, mm
    height: float  # inner table's top above the widest level, mm
    skull: Field  # thickness by angle, mm
    scalp: float
    muscle: Field  # thickness over the temples by angle, mm
    swelling: Field  # a bruise's thickness by angle, mm
    folds: tuple[Field, Field]
    fold_depth: Field
    atrophy: float  # half width of sulci, mm
    gray: float
    white: float
    fluid: float
    shift: float  # of the midline towards the left, mm
    ventricles: tuple[Ellipsoid, ...]
    nuclei: tuple[Ellipsoid, ...]
    cisterns: tuple[Ellipsoid, ...]
    calcifications: tuple[tuple[Ellipsoid, float], ...]
    infarct: Ellipsoid | None
    falx: float
    shading: Field

    def inner(self, z: float) -> Field:
        """Radius of the skull's inner table by angle, in mm, at height z."""
        return self.outline * np.float32(_taper(z, self.height, 105.0))

    def outer(self, z: float, extra: Field | float) -> Field:
        """Radius, by angle, of a surface `extra` mm outside the inner table."""
        beyond = self.skull + extra
        return (self.outline + beyond) * np.float32(_taper(z, self.height + float(np.mean(beyond)), 115.0))


@dataclass(frozen=True)
class Anatomy:
    """One slice of a head before its skull is laid over it: what a lesion needs to find its place."""

    hounsfield: Field
    depth: Field  # mm below the inner table
    spaces: Field  # coverage by sulci and cisterns
    ventricles: Field  # coverage by ventricles


def draw_head(rng: np.random.Generator, shift: float) -> Head:
    """Draw one head; `shift` is the midline's shift in mm towards the patient's left."""
    grid = _grid(rng)
    atrophy = float(rng.uniform(0.25, 1.5))
    ventricle_scale = float(0.8 + 0.25 * atrophy + rng.normal(0, 0.08))
    wide, long = rng.normal(67, 3.0), rng.normal(84, 3.5)
    gray = float(rng.uniform(37, 41))
    return Head(
        grid=grid,
        outline=_outline(rng, wide, long),
        height=float(rng.uniform(72, 84)),
        skull=_skull(rng),
        scalp=float(rng.uniform(3.5, 8)),
        muscle=_muscle(rng),
        swelling=_swelling(rng),
        folds=(_fold(rng), _fold(rng)),
        fold_depth=9 + 7 * np.abs(smooth_noise(rng, (_FOLD_ROWS, 1), (9, 0), wrap=True)),
        atrophy=atrophy,
        gray=gray,
        white=gray - float(rng.uniform(8.5, 11)),
        fluid=float(rng.uniform(3, 11)),
        shift=shift,
        ventricles=_ventricles(rng, ventricle_scale, shift),
        nuclei=_nuclei(shift),
        cisterns=_cisterns(rng),
        calcifications=_calcifications(rng, shift),
        infarct=_infarct(rng),
        falx=float(rng.uniform(46, 62)),
        shading=clouds(rng, (SIZE, SIZE), 5),
    )


def draw_anatomy(head: Head, z: float, pressed: Field, opened: Field | float = 0.0) -> Anatomy:
    """Draw the inside of the skull at height z.

    Args:
        pressed: by angle, mm by which a collection under the skull presses the brain inwards.
        opened: mm by which blood widens the sulci.
    """
    grid = head.grid
    depth = head.inner(z)[grid.angle] - grid.radius
    brain_depth = depth - pressed[grid.angle] if pressed.any() else depth
    fissure = _fissures(head, z)
    sulcus, sulcus_width = _sulci(head, z, brain_depth, opened)
    cortex = np.minimum(np.minimum(sulcus, fissure), np.abs(brain_depth))
    hounsfield = cover(np.float32(4.2) - cortex, 2.5) * np.float32(head.gray - head.white)
    hounsfield += np.float32(head.white)
    for nucleus in head.nuclei:
        _paint_ellipsoid(hounsfield, nucleus, head, z, head.gray, 3.0)
    if head.infarct is not None:
        _paint_ellipsoid(hounsfield, head.infarct, head, z, 17.0, 5.0)
    spaces = np.maximum(
        cover(sulcus_width - sulcus, 1.2), cover(np.float32(0.45 * head.atrophy + opened) - fissure, 1.2)
    )
    np.maximum(spaces, cover(np.float32(0.4 + head.atrophy) - brain_depth, 1.2), out=spaces)
    _join(spaces, head.cisterns, grid, z)
    ventricles = np.zeros_like(spaces)
    _join(ventricles, head.ventricles, grid, z)
    paint(hounsfield, spaces * np.float32(0.85), head.fluid)
    paint(hounsfield, ventricles, head.fluid)
    return Anatomy(hounsfield, depth, spaces, ventricles)


def enclose(head: Head, z: float, inside: Anatomy) -> Field:
    """Lay falx, calcifications, skull, scalp and air about the inside of the skull; Hounsfield units."""
    grid, canvas = head.grid, inside.hounsfield
    canvas += head.shading * np.float32(0.6)
    _paint_falx(canvas, head, z, inside.depth)
    for speck, value in head.calcifications:
        _paint_ellipsoid(canvas, speck, head, z, value, 1.2)
    if z < 2:
        _paint_base(canvas, head, z)
    skull_depth = head.outer(z, 0.0)[grid.angle] - grid.radius
    flesh: Field = head.swelling + head.muscle * np.float32(np.clip((32 - z) / 20, 0, 1))
    scalp_depth = head.outer(z, head.scalp + flesh)[grid.angle] - grid.radius
    bone = _bone(head, inside.depth, skull_depth)
    paint(canvas, cover(-inside.depth, 0.8), bone)
    scalp = np.where(scalp_depth < 2.2, np.float32(35), np.float32(-75))
    paint(scalp, cover(skull_depth + flesh[grid.angle], 1.5), 50.0)
    paint(canvas, cover(-skull_depth, 0.8), scalp)
    paint(canvas, cover(-scalp_depth, 0.8), -1000.0)
    return canvas


def _taper(z: float, top: float, bottom: float) -> float:
    """Share of the widest outline that is left at height z."""
    return float(max(0.02, 1 - abs(z / (top if z > 0 else bottom)) ** 2.5) ** (1 / 2.1))


def _grid(rng: np.random.Generator) -> Grid:
    spacing = float(rng.uniform(205, 250)) / SIZE
    rotation = float(np.deg2rad(np.clip(rng.normal(0, 7), -16, 16)))
    center = (127.5 + float(rng.normal(0, 5)), 124.0 + float(rng.normal(0, 5)))
    rows, columns = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    across = (columns - np.float32(center[0])) * np.float32(spacing)
    up = (np.float32(center[1]) - rows) * np.float32(spacing)
    cos, sin = np.cos(rotation), np.sin(rotation)
    x, y = (across * cos + up * sin).astype(np.float32), (up * cos - across * sin).astype(np.float32)
    turn = np.arctan2(y, x) * (ANGLES / (2 * np.pi))
    angle = np.floor(turn).astype(np.int32) % ANGLES
    radius = length(x, y)
    x += np.float32(1.3) * clouds(rng, (SIZE, SIZE), 14)  # nobody is built of ellipses
    y += np.float32(1.3) * clouds(rng, (SIZE, SIZE), 14)
    return Grid(x, y, radius, angle, across, up, spacing, center, rotation)


def _directions() -> Field:
    """The middle of every angle of the tables, in radians."""
    return ((np.arange(ANGLES) + 0.5) * (2 * np.pi / ANGLES)).astype(np.float32)


def _outline(rng: np.random.Generator, wide: float, long: float) -> Field:
    """An oval, fuller behind than in front, with each person's own bumps."""
    t = _directions()
    oval = (np.abs(np.cos(t) / wide) ** 2.15 + np.abs(np.sin(t) / long) ** 2.15) ** (-1 / 2.15)
    bumps = -0.03 * np.sin(t) * np.cos(t) ** 2 + rng.normal(0, 0.008) * np.cos(t - rng.uniform(0, 2 * np.pi))
    for order, size in ((2, 0.012), (3, 0.009), (4, 0.006), (5, 0.004)):
        bumps = bumps + rng.normal(0, size) * np.cos(order * t - rng.uniform(0, 2 * np.pi))
    outline: Field = (oval * (1 + bumps)).astype(np.float32)
    return outline


def _skull(rng: np.random.Generator) -> Field:
    t = _directions()
    unevenness = smooth_noise(rng, (ANGLES, 1), (60, 0), wrap=True)[:, 0]
    thickness = rng.uniform(5, 8) + 0.5 * unevenness + 1.2 * np.clip(np.abs(np.sin(t)) - 0.8, 0, 1) * 5
    return np.clip(thickness, 3.5, 11).astype(np.float32)


def _swelling(rng: np.random.Generator) -> Field:
    """A bruise of the scalp in a few heads, bleeding inside or not."""
    if rng.random() > 0.25:
        return np.zeros(ANGLES, np.float32)
    away = turned_away(float(rng.uniform(0, 2 * np.pi))) / np.float32(rng.uniform(0.3, 0.7))
    return np.float32(rng.uniform(3, 8)) * between(1 - away * away, 0, 1)


def _muscle(rng: np.random.Generator) -> Field:
    """The temporal muscles, in the front half of both sides."""
    thickness = np.zeros(ANGLES, np.float32)
    for direction in (0.45, np.pi - 0.45):
        away = turned_away(direction) / np.float32(rng.uniform(0.5, 0.65))
        thickness += np.float32(rng.uniform(4, 9)) * between(1 - away * away, 0, 1)
    return thickness


def turned_away(direction: float) -> Field:
    """Angle between a direction and every direction of the tables, in radians."""
    turned = (_directions() - np.float32(direction) + np.float32(np.pi)) % np.float32(2 * np.pi)
    away: Field = np.abs(turned - np.float32(np.pi))
    return away


def _fold(rng: np.random.Generator) -> Field:
    """Noise over angle and depth whose zero crossings run inwards as sulci do."""
    return smooth_noise(rng, (_FOLD_ROWS, _FOLD_COLUMNS), (4.5, 8.0), wrap=True)


def _sulci(head: Head, z: float, depth: Field, opened: Field | float) -> tuple[Field, Field]:
    """Distance of every pixel to the middle of the nearest sulcus, and half the sulcus' width there, in mm."""
    phase = z / 11.0
    noise = np.cos(phase) * head.folds[0] + np.sin(phase) * head.folds[1]
    arc = np.maximum(head.inner(z)[:: ANGLES // _FOLD_ROWS, None], 25) * (2 * np.pi / _FOLD_ROWS)
    steep = np.hypot((np.roll(noise, -1, 0) - np.roll(noise, 1, 0)) / (2 * arc), np.gradient(noise, axis=1))
    distance = np.minimum(np.abs(noise) / (steep + np.float32(0.02)), 12)
    below = np.maximum(np.arange(_FOLD_COLUMNS) * (_FOLD_DEPTH / (_FOLD_COLUMNS - 1)) - head.fold_depth, 0)
    distance = np.hypot(distance, below).astype(np.float32)
    across = (depth * np.float32((_FOLD_COLUMNS - 1) / _FOLD_DEPTH)).astype(np.float32)
    down = (head.grid.angle * (_FOLD_ROWS / ANGLES)).astype(np.float32)
    sampled: Field = cv2.remap(distance, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    sampled += np.maximum(depth - np.float32(_FOLD_DEPTH), 0)
    return sampled, np.float32(head.atrophy * 0.8 + opened) * cover(np.float32(14) - depth, 26)


def _midline(head: Head) -> Field:
    """Distance to the right or left of the (shifted) midline, mm."""
    bulge = np.float32(head.shift) * np.clip(1 - (head.grid.y / 75) ** 2, 0, 1)
    return np.abs(head.grid.x - bulge)


def _fissures(head: Head, z: float) -> Field:
    """Distance to the interhemispheric and Sylvian fissures, mm."""
    away = _midline(head)
    if z < 42:
        center = np.abs(head.grid.y - np.float32(2)) if z > -5 else 30 - head.grid.y
        away = length(away, np.maximum(np.float32(34 if z > -5 else 8) - center, 0))
    if -14 < z < 22:
        spread = 1 + 0.01 * z
        for side in (-1, 1):
            stem = segment_distance(head.grid.x, head.grid.y, (side * 36, 4), (side * 60 * spread, 14 - 0.4 * z))
            insula = segment_distance(head.grid.x, head.grid.y, (side * 33, 19), (side * 36, -8))
            np.minimum(away, np.minimum(stem, insula), out=away)
    return away


def _join(coverage: Field, parts: tuple[Ellipsoid, ...], grid: Grid, z: float) -> None:
    for part in parts:
        found = part.coverage(grid, z)
        if found is not None:
            np.maximum(coverage[found[0]], found[1], out=coverage[found[0]])


def _paint_ellipsoid(canvas: Field, part: Ellipsoid, head: Head, z: float, value: float, softness: float) -> None:
    found = part.coverage(head.grid, z, softness)
    if found is not None:
        paint(canvas[found[0]], found[1], value)


def _paint_falx(canvas: Field, head: Head, z: float, depth: Field) -> None:
    """The falx in the midline and the dense sinus at its back, in every head more or less."""
    if z < 6:
        return
    reach = cover(np.float32(8 + 0.9 * max(z - 20, 0)) + np.float32(22) - depth, 4)
    paint(canvas, cover(np.float32(0.55) - _midline(head), 0.9) * reach, head.falx)
    back = -float(head.inner(z)[ANGLES * 3 // 4]) + 3
    _paint_ellipsoid(canvas, Ellipsoid((head.shift * 0.1, back, z), (3.5, 4.5, 9)), head, z, head.falx, 2.0)


def _paint_base(canvas: Field, head: Head, z: float) -> None:
    """Petrous ridges with their air cells, and the clinoids of the sella."""
    low = min(1.0, (2 - z) / 14)
    for side in (-1, 1):
        start, end = (side * 70.0, -28.0), (side * (70 - 50 * low), -28 + 26 * low)
        away = segment_distance(head.grid.x, head.grid.y, start, end)
        thick = between(np.abs(head.grid.x) * np.float32(0.16) - np.float32(3.5), 0.5, 8) * np.float32(low)
        paint(canvas, cover(thick + head.shading * np.float32(0.8) - away, 2), 950.0)
        cells = segment_distance(head.grid.x, head.grid.y, (side * 62.0, -31.0), (side * 56.0, -26.0))
        paint(canvas, cover(np.float32(4 * low - 1.5) - cells, 2) * np.float32(0.8), -700.0)
    if z < -14:
        _paint_ellipsoid(canvas, Ellipsoid((0, 14, -24), (9, 4, 10)), head, z, 750.0, 3.0)


def _bone(head: Head, inner_depth: Field, outer_depth: Field) -> Field:
    """Two dense tables with marrow between them, Hounsfield units."""
    wall = np.minimum(-inner_depth, outer_depth)
    return np.float32(1500) - np.float32(750) * cover(wall - np.float32(2.2), 2)


def _ventricles(rng: np.random.Generator, scale: float, shift: float) -> tuple[Ellipsoid, ...]:
    horn = Ellipsoid((9, 23, 12), (3.6, 13, 13), 0.32)
    body = Ellipsoid((11.5, -2, 22), (5.5, 27, 10), 0.10)
    atrium = Ellipsoid((23, -33, 11), (5.5, 13, 13), -0.35)
    temporal = Ellipsoid((32, -14, -7), (2.5, 10, 6), -0.2)
    paired = []
    for side in (horn, body, atrium, temporal):
        left, right = float(scale * rng.normal(1, 0.08)), float(scale * rng.normal(1, 0.08))
        paired += [side.moved(shift, left), side.mirrored().moved(shift, right)]
    third = Ellipsoid((shift, -2, 2), (1.8 * scale, 12, 10))
    fourth = Ellipsoid((0, -44, -22), (6 * scale, 5 * scale, 12))
    return (*paired, third, fourth)


def _nuclei(shift: float) -> tuple[Ellipsoid, ...]:
    caudate = Ellipsoid((14, 18, 10), (4, 9, 14), 0.3)
    lentiform = Ellipsoid((24, 8, 4), (6, 14, 12), -0.2)
    thalamus = Ellipsoid((10, -10, 5), (7.5, 13, 12), -0.3)
    sides = [part.moved(shift * 0.8) for part in (caudate, lentiform, thalamus)]
    return tuple(sides + [part.mirrored().moved(shift * 0.8) for part in (caudate, lentiform, thalamus)])


def _cisterns(rng: np.random.Generator) -> tuple[Ellipsoid, ...]:
    scale = float(rng.uniform(0.8, 1.2))
    suprasellar = Ellipsoid((0, 10, -11), (11, 8, 9)).moved(0, scale)
    arm = Ellipsoid((17, 14, -10), (10, 2.5, 8), 0.3).moved(0, scale)
    ambient = Ellipsoid((16, -14, -8), (2, 12, 9), 0.35).moved(0, scale)
    quadrigeminal = Ellipsoid((0, -29, 0), (10, 3, 7)).moved(0, scale)
    magna = Ellipsoid((0, -66, -30), (9, 5, 12)).moved(0, scale)
    return suprasellar, arm, arm.mirrored(), ambient, ambient.mirrored(), quadrigeminal, magna


def _calcifications(rng: np.random.Generator, shift: float) -> tuple[tuple[Ellipsoid, float], ...]:
    """Harmless bright specks of the pineal gland, choroid plexus, basal ganglia and falx, in any head."""
    found = []
    if rng.random() < 0.6:
        found.append(Ellipsoid((shift + rng.normal(0, 0.6), -24, 4), (2.2, 2.5, 5)))
    if rng.random() < 0.55:
        size = float(rng.uniform(1.5, 3.2))
        found += [Ellipsoid((side * 22 + shift, -33, 9), (size, size * 1.4, 6)) for side in (-1, 1)]
    if rng.random() < 0.2:
        found += [Ellipsoid((side * 20 + shift, 8, 3), (2, 4, 4)) for side in (-1, 1)]
    if rng.random() < 0.35:
        found.append(Ellipsoid((0, float(rng.uniform(20, 55)), float(rng.uniform(25, 60))), (1.6, 7, 7)))
    return tuple((part, float(rng.uniform(95, 260))) for part in found)


def _infarct(rng: np.random.Generator) -> Ellipsoid | None:
    """An old, dark scar in a few heads, bleeding or not."""
    if rng.random() > 0.15:
        return None
    center = (float(rng.choice([-1, 1]) * rng.uniform(28, 48)), float(rng.uniform(-40, 40)), float(rng.uniform(5, 40)))
    return Ellipsoid(center, tuple(rng.uniform(7, 16, 3).tolist()), float(rng.uniform(0, np.pi)))
