"""The five acute bleeds, each in its anatomical place; blood is 55-85 HU.

Epidural: a lens against the skull. Subdural: a crescent along it. Subarachnoid: in sulci or cisterns. Intraparenchymal:
a lump in the brain with a dark rim of oedema. Intraventricular: a level, or a cast, in the ventricles.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from secondread.data.phantom.head import ANGLES, SIZE, Anatomy, Ellipsoid, Head, draw_anatomy, turned_away
from secondread.data.phantom.texture import Field, between, clouds, cover, length, paint

BLEEDS = ("epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural")
_SMALLEST = 45.0  # mm2 in a slice; less is not drawn, so that every labelled bleed can be seen


@dataclass(frozen=True)
class Collection:
    """Something between skull and brain: a lens or a crescent about a direction."""

    direction: float
    half_angle: float
    thickness: float
    middle: float
    half_height: float
    power: float  # 1 makes a lens, 0.5 a crescent
    value: float

    def profile(self, z: float) -> Field:
        """Thickness by angle at height z, in mm."""
        away = turned_away(self.direction) / np.float32(self.half_angle)
        room = between(1 - away * away - np.float32(((z - self.middle) / self.half_height) ** 2), 0, 1)
        profile: Field = np.float32(self.thickness) * np.power(room, np.float32(self.power))
        return profile


@dataclass(frozen=True)
class Lump:
    """Blood in the brain."""

    shape: Ellipsoid
    rim: float
    roughness: float
    value: float


@dataclass(frozen=True)
class Layer:
    """Blood in the ventricles up to a level, or a cast of one side (-1, 1) or both (0)."""

    level: float | None
    side: int
    value: float


@dataclass(frozen=True)
class Film:
    """Blood in the spaces about the brain near a point."""

    center: tuple[float, float, float]
    reach: float
    height: float
    opened: float
    value: float

    def region(self, head: Head, z: float) -> Field | None:
        """Coverage of the slice by the film's neighbourhood."""
        left = 1 - ((z - self.center[2]) / self.height) ** 2
        if left <= 0.05:
            return None
        away = length(head.grid.x - np.float32(self.center[0]), head.grid.y - np.float32(self.center[1]))
        return cover(np.float32(self.reach * left**0.5) - away, 10)


@dataclass(frozen=True)
class Bleeds:
    """Every bleed of one patient, and a harmless watery collection in a few."""

    epidural: Collection | None
    intraparenchymal: Lump | None
    intraventricular: Layer | None
    subarachnoid: Film | None
    subdural: Collection | None
    hygroma: Collection | None
    mottle: Field

    @property
    def shift(self) -> float:
        """The midline's shift towards the patient's left, mm."""
        pushed = 0.0
        for collection in (self.epidural, self.subdural):
            if collection is not None:
                pushed -= 0.3 * collection.thickness * float(np.cos(collection.direction))
        if self.intraparenchymal is not None:
            lump = self.intraparenchymal.shape
            pushed -= 0.15 * lump.axes[0] * float(np.sign(lump.center[0]))
        return float(np.clip(pushed, -8, 8))


def draw_bleeds(rng: np.random.Generator, kinds: frozenset[str], low: float, high: float) -> Bleeds:
    """Draw the bleeds of a patient whose slices reach from height `low` to `high` in mm."""
    return Bleeds(
        epidural=_epidural(rng, low, high) if "epidural" in kinds else None,
        intraparenchymal=_lump(rng, low, high) if "intraparenchymal" in kinds else None,
        intraventricular=_layer(rng) if "intraventricular" in kinds else None,
        subarachnoid=_film(rng, low, high) if "subarachnoid" in kinds else None,
        subdural=_subdural(rng, low, high) if "subdural" in kinds else None,
        hygroma=_hygroma(rng) if rng.random() < 0.1 else None,
        mottle=clouds(rng, (SIZE, SIZE), 24),
    )


def draw_bleeding(head: Head, bleeds: Bleeds, z: float) -> tuple[Anatomy, NDArray[np.uint8]]:
    """Draw the inside of the skull with its bleeds at height z.

    Returns:
        The slice, and the mask: bit k is set where `BLEEDS[k]` covers more than half of a pixel.
    """
    mask = np.zeros((SIZE, SIZE), np.uint8)
    profiles = [(name, item, _profile(head, item, z)) for name, item in _collections(bleeds)]
    pressed = sum((profile for _, _, profile in profiles), np.zeros(ANGLES, np.float32))
    film = bleeds.subarachnoid
    region = film.region(head, z) if film is not None else None
    opened = region * np.float32(film.opened) if film is not None and region is not None else 0.0
    inside = draw_anatomy(head, z, pressed, opened)
    if film is not None and region is not None:
        _lay(inside, mask, head, "subarachnoid", inside.spaces * region, _mottled(film.value, bleeds))
    if bleeds.intraventricular is not None:
        layer = bleeds.intraventricular
        _lay(
            inside,
            mask,
            head,
            "intraventricular",
            inside.ventricles * _filled(head, layer),
            _mottled(layer.value, bleeds),
        )
    if bleeds.intraparenchymal is not None:
        _lay_lump(inside, mask, head, bleeds.intraparenchymal, z, bleeds)
    for name, item, profile in profiles:
        if profile.any():
            coverage = cover(profile[head.grid.angle] - inside.depth, 1.2)
            _lay(inside, mask, head, name, coverage, _mottled(item.value, bleeds))
    return inside, mask


def _collections(bleeds: Bleeds) -> list[tuple[str, Collection]]:
    named = [("hygroma", bleeds.hygroma), ("epidural", bleeds.epidural), ("subdural", bleeds.subdural)]
    return [(name, item) for name, item in named if item is not None]


def _profile(head: Head, item: Collection, z: float) -> Field:
    """Thickness by angle, or nothing where the slice would hold too little of it to be seen."""
    profile = item.profile(z)
    area = float((profile * head.inner(z)).sum()) * 2 * np.pi / ANGLES
    return profile if area > 2.5 * _SMALLEST and float(profile.max()) > 2.5 else np.zeros_like(profile)


def _mottled(value: float, bleeds: Bleeds) -> Field:
    """Hounsfield units about a value, uneven as a clot is."""
    return np.float32(value) + np.float32(1.5) * bleeds.mottle


def _lay(inside: Anatomy, mask: NDArray[np.uint8], head: Head, name: str, coverage: Field, value: Field) -> None:
    """Paint a bleed and note it in the mask, unless it is too small to be seen."""
    coverage = coverage * cover(inside.depth, 1.2)
    covered = coverage > 0.5
    if np.count_nonzero(covered) * head.grid.spacing**2 < _SMALLEST:
        return
    paint(inside.hounsfield, coverage, value)
    if name in BLEEDS:
        mask[covered] |= 1 << BLEEDS.index(name)


def _lay_lump(inside: Anatomy, mask: NDArray[np.uint8], head: Head, lump: Lump, z: float, bleeds: Bleeds) -> None:
    found = lump.shape.distance(head.grid, z, lump.rim + 6)
    if found is None:
        return
    region, distance = found
    distance = distance + bleeds.mottle[region] * np.float32(lump.roughness)
    outside = (1 - inside.ventricles[region]) * cover(inside.depth[region] - 3, 2)
    coverage = np.zeros_like(inside.depth)
    coverage[region] = cover(distance, 1.5) * outside
    if np.count_nonzero(coverage > 0.5) * head.grid.spacing**2 >= _SMALLEST:
        rim = cover(distance + np.float32(lump.rim), 4) * outside
        paint(inside.hounsfield[region], rim * np.float32(0.8), 19.0)
        _lay(inside, mask, head, "intraparenchymal", coverage, _mottled(lump.value, bleeds))


def _filled(head: Head, layer: Layer) -> Field:
    if layer.level is not None:
        return cover(np.float32(layer.level) - head.grid.up, 1.5)
    return cover(head.grid.x * np.float32(layer.side) + np.float32(0 if layer.side else 100), 2)


def _value(rng: np.random.Generator) -> float:
    return float(rng.uniform(59, 76))


def _side(rng: np.random.Generator) -> float:
    """Direction of the patient's left or right, in radians."""
    return float(rng.choice([0.0, np.pi]))


def _middle(rng: np.random.Generator, low: float, high: float) -> float:
    return float(rng.uniform(low + 12, high - 8))


def _epidural(rng: np.random.Generator, low: float, high: float) -> Collection:
    direction = _side(rng) + float(rng.uniform(-0.7, 0.7))
    shape = rng.uniform((0.36, 11, 14), (0.6, 24, 25))
    return Collection(direction, shape[0], shape[1], _middle(rng, low, high), shape[2], 1.0, _value(rng))


def _subdural(rng: np.random.Generator, low: float, high: float) -> Collection:
    direction = _side(rng) + float(rng.uniform(-0.25, 0.25))
    shape = rng.uniform((0.85, 5, 16), (1.25, 12, 30))
    return Collection(direction, shape[0], shape[1], _middle(rng, low, high), shape[2], 0.5, _value(rng))


def _hygroma(rng: np.random.Generator) -> Collection:
    """Watery fluid along the frontal skull, often seen in the old: no bleed."""
    return Collection(float(np.pi / 2 + rng.choice([-0.75, 0.75])), 0.7, float(rng.uniform(4, 8)), 30.0, 50.0, 0.5, 9.0)


def _lump(rng: np.random.Generator, low: float, high: float) -> Lump:
    side = float(rng.choice([-1, 1]))
    if rng.random() < 0.4:
        center = (side * float(rng.uniform(20, 30)), float(rng.uniform(-12, 14)), float(rng.uniform(2, 14)))
    else:
        center = (side * float(rng.uniform(22, 46)), float(rng.uniform(-50, 48)), _middle(rng, low, min(high, 52)))
    across, along, up = rng.uniform((8, 9, 10), (17, 22, 20))
    shape = Ellipsoid(center, (float(across), float(along), float(up)), float(rng.uniform(-0.5, 0.5)))
    return Lump(shape, float(rng.uniform(2, 7)), float(rng.uniform(0.6, 2)), _value(rng))


def _layer(rng: np.random.Generator) -> Layer:
    if rng.random() < 0.5:
        return Layer(float(rng.uniform(-38, -22)), 0, _value(rng))
    return Layer(None, int(rng.choice([-1, 0, 1])), _value(rng))


def _film(rng: np.random.Generator, low: float, high: float) -> Film:
    opened, value = float(rng.uniform(0.5, 1.1)), float(rng.uniform(60, 74))
    if rng.random() < 0.5:
        return Film(
            (float(rng.uniform(-12, 12)), 10.0, -6.0),
            float(rng.uniform(45, 65)),
            float(rng.uniform(18, 26)),
            opened,
            value,
        )
    side = float(rng.choice([-1, 1]))
    center = (side * float(rng.uniform(38, 55)), float(rng.uniform(-45, 40)), _middle(rng, low, high))
    return Film(center, float(rng.uniform(32, 48)), float(rng.uniform(15, 24)), opened, value)
