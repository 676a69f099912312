"""Synthetic frontal chest X-rays: one chest, its pneumonia and one exposure after another."""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from secondread.data.phantom.opacity import draw_opacity
from secondread.data.phantom.texture import Field, paint, written
from secondread.data.phantom.thorax import Chest, Frame, draw_attenuation, draw_chest, draw_lungs

Finding = Literal["normal", "bacteria", "virus"]
# A kind named twice is twice as frequent.
_KINDS: dict[Finding, tuple[str, ...]] = {
    "normal": (),
    "bacteria": ("lobar", "lobar", "patchy"),
    "virus": ("interstitial", "interstitial", "patchy"),
}
_SEEN = 0.15  # share of the air lost from which a pixel belongs to the mask


@dataclass(frozen=True)
class Xray:
    """One exposure.

    Args:
        pixels: shape (height, width).
        mask: 1 where an opacity is, else 0; shape (height, width).
    """

    pixels: NDArray[np.uint8]
    mask: NDArray[np.uint8]


def draw_xrays(rng: np.random.Generator, finding: Finding, count: int) -> tuple[Xray, ...]:
    """Draw `count` exposures of one patient."""
    chest = draw_chest(rng)
    kind = str(rng.choice(_KINDS[finding])) if _KINDS[finding] else ""
    disease = int(rng.integers(2**31))
    return tuple(_expose(rng, chest, kind, disease) for _ in range(count))


def _expose(rng: np.random.Generator, chest: Chest, kind: str, disease: int) -> Xray:
    frame = draw_frame(rng)
    lungs = draw_lungs(chest, frame)
    light = draw_attenuation(chest, frame, lungs)
    lost = np.zeros(frame.shape, np.float32)
    if kind:
        lost = draw_opacity(np.random.default_rng(disease), kind, frame, lungs)
        light += lost * lungs.air * np.float32(chest.aeration)
    _add_devices(rng, light, frame)
    return Xray(_develop(rng, light, frame), (lost > _SEEN).astype(np.uint8))


def draw_frame(rng: np.random.Generator) -> Frame:
    """Size of the picture and where the patient stands in it."""
    height = int(rng.integers(208, 305))
    width = round(height * float(rng.uniform(1.02, 1.4)))
    pixel = float(rng.uniform(2.15, 2.6)) / height
    center = (width * 0.5 + float(rng.normal(0, 0.035)) * width, height * 0.53 + float(rng.normal(0, 0.025)) * height)
    rotation = float(np.deg2rad(rng.normal(0, 3.5)))
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    across, down = (
        (columns - np.float32(center[0])) * np.float32(pixel),
        (rows - np.float32(center[1])) * np.float32(pixel),
    )
    cos, sin = np.float32(np.cos(rotation)), np.float32(np.sin(rotation))
    return Frame(across * cos + down * sin, down * cos - across * sin, pixel, center, rotation)


def _add_devices(rng: np.random.Generator, light: Field, frame: Frame) -> None:
    """Wires, electrodes and tubes on some patients, ill or not."""
    canvas = np.zeros(frame.shape, np.uint8)
    if rng.random() < 0.3:
        for _ in range(int(rng.integers(1, 4))):
            start = rng.uniform((-0.8, -0.9), (0.6, 0))
            line = frame.pixels(start + np.cumsum(rng.normal((0.05, 0.12), 0.1, (12, 2)), 0))
            cv2.polylines(canvas, [line], False, int(rng.integers(60, 140)), 1, cv2.LINE_AA)
            cv2.circle(canvas, tuple(line[0].tolist()), 4, 160, -1, cv2.LINE_AA)
    if rng.random() < 0.2:
        cv2.line(
            canvas, frame.at(0.02, -1.6), frame.at(float(rng.normal(0, 0.03)), float(rng.uniform(-0.6, -0.3))), 90, 2
        )
    light += canvas.astype(np.float32) * np.float32(1 / 255)


def _develop(rng: np.random.Generator, light: Field, frame: Frame) -> NDArray[np.uint8]:
    """Turn attenuation into gray values: exposure and contrast of the site, grain, letters."""
    blurred = cv2.GaussianBlur(light, (0, 0), float(rng.uniform(0.5, 1.0)))
    # Film and detector answer less and less to denser parts.
    toned = 1 - np.exp(blurred * np.float32(-rng.uniform(0.7, 1.3)))
    centered = (toned - toned.mean()) / toned.std()
    picture = np.float32(rng.uniform(100, 150)) + np.float32(rng.uniform(42, 62)) * centered
    picture += cv2.GaussianBlur(rng.standard_normal(frame.shape, dtype=np.float32), (0, 0), 0.7) * np.float32(
        rng.uniform(2, 9)
    )
    _collimate(rng, picture)
    height = picture.shape[0]
    if rng.random() < 0.8:
        corner = (int(rng.integers(6, 30)), int(rng.integers(20, round(height * 0.4))))
        paint(picture, written(str(rng.choice(["R", "R", "L"])), frame.shape, corner, 0.6), 245.0)
    picture[height - 20 : height - 3, 3:78] = 20.0  # the mark is read on bright tissue too
    paint(picture, written("SYNTHETIC", frame.shape, (6, height - 8), 0.4), 225.0)
    developed: NDArray[np.uint8] = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    return developed


def _collimate(rng: np.random.Generator, picture: Field) -> None:
    """Black borders where the beam was narrowed."""
    if rng.random() < 0.3:
        edge = int(rng.integers(3, 14))
        side = int(rng.integers(4))
        turned = np.rot90(picture, side)  # a view: writing to it darkens the picture
        turned[:edge] = 4.0
