"""Occlusion: how far the logit falls when a patch of the image is covered."""

from collections.abc import Iterator

import keras
import numpy as np

from secondread.explanation.method import Maps, Method
from secondread.explanation.target import logits_of, reference
from secondread.imaging.picture import UInt8Image

_PATCHES = 8  # a side
_STEPS = 2  # a patch moves by half of itself
_BATCH = 32


class Occlusion(Method):
    """The mean fall of the logit, a covered pixel, of the patches that cover a pixel.

    Source: Zeiler and Fergus, Visualizing and Understanding Convolutional Networks, 2014.
    """

    name = "occlusion"
    is_complete = False

    def _maps(self, network: keras.Model, images: UInt8Image, label: int, background: UInt8Image | None) -> Maps:
        nothing, whole = reference(images, background), logits_of(network, images, label)
        maps = [_map(network, image, label, nothing, logit) for image, logit in zip(images, whole, strict=True)]
        return np.array(maps).reshape(images.shape[:3])


def _map(network: keras.Model, image: UInt8Image, label: int, nothing: Maps, logit: float) -> Maps:
    fall, covered = np.zeros(image.shape[:2], np.float64), np.zeros(image.shape[:2], np.int64)
    patches = list(_patches(*image.shape[:2]))
    for start in range(0, len(patches), _BATCH):
        some = patches[start : start + _BATCH]
        hidden = np.repeat(image[np.newaxis].astype(np.float32), len(some), axis=0)
        for each, patch in zip(hidden, some, strict=True):
            each[patch] = nothing[patch]
        for patch, left in zip(some, logits_of(network, hidden, label), strict=True):
            fall[patch] += (logit - left) / covered[patch].size
            covered[patch] += 1
    return (fall / covered).astype(np.float32)


def _patches(height: int, width: int) -> Iterator[tuple[slice, slice]]:
    rows, columns = (max(_STEPS, -(-length // _PATCHES)) for length in (height, width))
    for top in range(0, height - rows // _STEPS, rows // _STEPS):
        for left in range(0, width - columns // _STEPS, columns // _STEPS):
            yield slice(top, top + rows), slice(left, left + columns)
