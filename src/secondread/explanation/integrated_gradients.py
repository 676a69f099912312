"""Integrated gradients: the slope of the logit, collected on the way from nothing to the image."""

from functools import lru_cache

import keras
import numpy as np

from secondread.explanation.gradients import Slopes, slopes
from secondread.explanation.method import Maps, Method
from secondread.explanation.smooth import smooth
from secondread.explanation.target import reference, target
from secondread.imaging.picture import UInt8Image

_STEPS = 64
_BATCH = 16


class IntegratedGradients(Method):
    """The image's difference from the reference times the mean slope between them, smoothed.

    Source: Sundararajan et al., Axiomatic Attribution for Deep Networks, 2017; the integral by the midpoint rule.
    """

    name = "integrated_gradients"
    is_complete = True

    def _maps(self, network: keras.Model, images: UInt8Image, label: int, background: UInt8Image | None) -> Maps:
        found, nothing = _compiled(network, label), reference(images, background)
        return np.array([_map(found, image - nothing, nothing) for image in images]).reshape(images.shape[:3])


@lru_cache(12)
def _compiled(network: keras.Model, label: int) -> Slopes:
    return slopes(target(network, label))


def _map(found: Slopes, difference: Maps, nothing: Maps) -> Maps:
    """The map of one image, by its difference from nothing, shape (height, width, channels)."""
    shares = (np.arange(_STEPS, dtype=np.float32) + np.float32(0.5)) / np.float32(_STEPS)
    total = np.zeros(nothing.shape, np.float64)
    for start in range(0, _STEPS, _BATCH):
        way = nothing + shares[start : start + _BATCH, None, None, None] * difference
        total += found(way).sum(axis=0)
    mean: Maps = (difference * total / _STEPS).sum(axis=-1)
    return smooth(mean)
