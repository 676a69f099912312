"""A synthetic head-CT series: one head, its bleeds and one scanner's way of seeing them."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from secondread.data.phantom.bleeds import BLEEDS, draw_bleeding, draw_bleeds
from secondread.data.phantom.head import SIZE, Head, draw_head, enclose
from secondread.data.phantom.texture import Field, cover, length, paint, written

_TEXT_HU = -200.0  # black in the brain, subdural and soft windows, gray on the air around it in a wide one


@dataclass(frozen=True)
class CtSlice:
    """One axial slice.

    Args:
        hounsfield: shape (256, 256).
        mask: bit k is set where `BLEEDS[k]` is; shape (256, 256).
        position: ImagePositionPatient in mm.
        instance: InstanceNumber.
    """

    hounsfield: NDArray[np.int16]
    mask: NDArray[np.uint8]
    position: tuple[float, float, float]
    instance: int

    @property
    def kinds(self) -> frozenset[str]:
        """The bleeds that this slice shows."""
        present = int(np.bitwise_or.reduce(self.mask, axis=None))
        return frozenset(kind for bit, kind in enumerate(BLEEDS) if present >> bit & 1)


@dataclass(frozen=True)
class CtSeries:
    """The slices of one patient, from the base of the skull upwards; spacing and thickness in mm."""

    slices: tuple[CtSlice, ...]
    spacing: float
    thickness: float


@dataclass(frozen=True)
class _Scanner:
    """How one scanner shows a head; drawn without regard to what is in it."""

    sharpness: float  # blur of the kernel, pixels
    grain: float  # blur of the noise, pixels
    noise: float  # HU
    offset: float  # HU
    table: float  # where the head rest's upper edge lies, mm under the middle


def draw_series(rng: np.random.Generator, kinds: frozenset[str]) -> CtSeries:
    """Draw one patient's series.

    Args:
        kinds: the bleeds that the patient has, of `BLEEDS`; none for a healthy head.
    """
    heights, thickness = _heights(rng)
    bleeds = draw_bleeds(rng, kinds, float(heights[0]), float(heights[-1]))
    head = draw_head(rng, bleeds.shift)
    scanner = _draw_scanner(rng)
    upwards, first = bool(rng.random() < 0.5), float(rng.uniform(-120, 120))
    slices = []
    for index, z in enumerate(heights.tolist()):
        inside, mask = draw_bleeding(head, bleeds, z)
        hounsfield = _scan(rng, scanner, head, enclose(head, z, inside))
        corner = -head.grid.spacing * SIZE / 2
        position = (round(corner, 4), round(corner, 4), round(first + z, 3))
        instance = index + 1 if upwards else len(heights) - index
        slices.append(CtSlice(hounsfield, mask, position, instance))
    return CtSeries(tuple(slices), round(head.grid.spacing, 6), thickness)


def _heights(rng: np.random.Generator) -> tuple[Field, float]:
    """Heights of the slices in mm, and their thickness."""
    count, thickness = int(rng.integers(10, 16)), float(rng.choice([4.0, 4.5, 5.0, 5.5]))
    low = float(rng.uniform(-24, -8))
    step = min(thickness, (58 - low) / (count - 1))
    return (low + step * np.arange(count)).astype(np.float32), thickness


def _draw_scanner(rng: np.random.Generator) -> _Scanner:
    return _Scanner(
        sharpness=float(rng.uniform(0.45, 0.95)),
        grain=float(rng.uniform(0.5, 1.1)),
        noise=float(rng.uniform(2.0, 5.0)),
        offset=float(rng.normal(0, 1.5)),
        table=float(rng.uniform(108, 120)),
    )


def _scan(rng: np.random.Generator, scanner: _Scanner, head: Head, tissue: Field) -> NDArray[np.int16]:
    """Hounsfield units as the scanner stores them: head rest, blur, noise, 12 bits."""
    _paint_rest(tissue, head, scanner.table)
    seen = cv2.GaussianBlur(tissue, (0, 0), scanner.sharpness)
    noise = cv2.GaussianBlur(rng.standard_normal((SIZE, SIZE), dtype=np.float32), (0, 0), scanner.grain)
    # Rays through the middle of a head are weaker: noise grows inwards.
    noise *= np.float32(scanner.noise / max(float(noise.std()), 1e-6)) * (
        1.25 - np.minimum(head.grid.radius, 100) * 0.006
    )
    seen += noise
    seen += np.float32(scanner.offset)
    paint(seen, written("SYNTHETIC", (SIZE, SIZE), (4, 12), 0.35), _TEXT_HU)
    clipped: NDArray[np.int16] = np.clip(np.rint(seen), -1024, 3071).astype(np.int16)
    return clipped


def _paint_rest(tissue: Field, head: Head, table: float) -> None:
    """The thin shell of the head rest under the head."""
    rows = slice(int(SIZE * 0.7), SIZE)
    grid = head.grid
    away = np.abs(length(grid.across[rows], grid.up[rows] - np.float32(30)) - np.float32(table + 30))
    paint(tissue[rows], cover(np.float32(1.2) - away, 1.5) * (tissue[rows] < -900), 60.0)
