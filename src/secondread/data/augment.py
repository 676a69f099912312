"""Random changes of training images: one affine map an image, as Keras' ImageDataGenerator means it."""

from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from secondread.config import AugmentSettings

Pixels: TypeAlias = npt.NDArray[np.uint8]
Affines: TypeAlias = npt.NDArray[np.float64]


def draw_affines(settings: AugmentSettings, count: int, size: int, random: np.random.Generator) -> Affines:
    """Draw the maps of `count` images.

    Args:
        size: rows and columns of an image.
    Returns:
        shape (count, 2, 3): from a pixel (column, row) of the changed image to its place in the original.
    """
    angle = np.deg2rad(random.uniform(-settings.rotation, settings.rotation, count))
    shift = size * random.uniform(-settings.shift, settings.shift, (count, 2))
    shear = np.deg2rad(random.uniform(-settings.shear, settings.shear, count))
    zoom = random.uniform(1 - settings.zoom, 1 + settings.zoom, (count, 2))
    flip = (random.random((count, 2)) < 0.5) & (settings.horizontal_flip, settings.vertical_flip)
    return compose_affines(angle, shift, shear, zoom, flip, size)


def compose_affines(
    angle: npt.NDArray[np.float64],
    shift: npt.NDArray[np.float64],
    shear: npt.NDArray[np.float64],
    zoom: npt.NDArray[np.float64],
    flip: npt.NDArray[np.bool_],
    size: int,
) -> Affines:
    """Rotate, shift, shear, zoom and flip about the image's center, in ImageDataGenerator's order.

    Args:
        angle: radians, shape (n,).
        shift: pixels along columns and rows, shape (n, 2).
        shear: radians, shape (n,).
        zoom: factors of columns and rows, below 1 enlarges, shape (n, 2).
        flip: left-right and upside down, shape (n, 2).
    Returns:
        shape (n, 2, 3), see `draw_affines`.
    Source: keras.src.legacy.preprocessing.image.apply_affine_transform.
    """
    cosine, sine = np.cos(angle), np.sin(angle)
    rotation = np.stack([np.stack([cosine, -sine], 1), np.stack([sine, cosine], 1)], 1)
    zeros, ones = np.zeros_like(shear), np.ones_like(shear)
    shearing = np.stack([np.stack([ones, -np.sin(shear)], 1), np.stack([zeros, np.cos(shear)], 1)], 1)
    signs = np.where(flip, -1.0, 1.0)
    linear = rotation @ shearing * (zoom * signs)[:, None, :]
    center = np.full(2, (size - 1) / 2)
    offset = (rotation @ shift[:, :, None])[:, :, 0] + center - linear @ center
    return np.concatenate([linear, offset[:, :, None]], 2)


def apply_affines(images: Pixels, affines: Affines) -> Pixels:
    """Change images, bilinearly; what comes from outside repeats the nearest pixel.

    Args:
        images: shape (n, size, size, channels).
        affines: shape (n, 2, 3), see `draw_affines`.
    """
    size = images.shape[1]
    changed = np.empty_like(images)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for image, affine, out in zip(images, affines, changed, strict=True):
        cv2.warpAffine(image, affine, (size, size), dst=out, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return changed
