"""Grad-CAM: where the last convolution saw what the answer depends on."""

from functools import lru_cache

import cv2
import keras
import numpy as np
from keras import layers

from secondread.explanation.gradients import Slopes, slopes
from secondread.explanation.method import Maps, Method
from secondread.explanation.target import target
from secondread.imaging.picture import UInt8Image

_CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D)
_BATCH = 16


class GradCam(Method):
    """The last feature map, each channel weighted by the mean slope of the logit.

    The sign is kept, where the original cuts what speaks against. Of a network that pools the map's mean and then is
    linear, the map is exact but for the logit's constant; of others it is an approximation.

    Source: Selvaraju et al., Grad-CAM, 2017.
    """

    name = "grad_cam"
    is_complete = False

    def fits(self, model: keras.Model) -> str | None:
        """Refuse a network without convolutions."""
        if last_map(model) is None:
            return "the network has no convolution to look into; use integrated_gradients, which fits every network"
        return None

    def explain_features(self, network: keras.Model, features: Maps, label: int) -> Maps:
        """Draw maps as `explain` does, from what the last convolution gave for the images.

        It takes a part of the time, where a prediction has given the features by the way.

        Args:
            features: values of `last_map`, shape (n, rows, columns, channels).
        """
        height, width = network.input.shape[1:3]
        coarse = _coarse(features, _head(network, label)(features))
        return np.array([_enlarged(each, height, width) for each in coarse]).reshape(-1, height, width)

    def _maps(self, network: keras.Model, images: UInt8Image, label: int, background: UInt8Image | None) -> Maps:
        model = _trunk(network)
        parts = [
            self.explain_features(network, model.predict_on_batch(images[start : start + _BATCH]), label)
            for start in range(0, len(images), _BATCH)
        ]
        return np.concatenate([np.zeros((0, *images.shape[1:3]), np.float32), *parts])


def last_map(model: keras.Model) -> keras.KerasTensor | None:
    """The last convolution's output, after whatever follows at the same size: normalisation, activation, a sum."""
    maps = [layer.output for layer in model.layers if _is_map(layer)]
    convolved = [layer.output.shape for layer in model.layers if isinstance(layer, _CONVOLUTIONS)]
    return [each for each in maps if each.shape[1:3] == convolved[-1][1:3]][-1] if convolved else None


@lru_cache(12)
def _trunk(network: keras.Model) -> keras.Model:
    """From images to the last map."""
    return keras.Model(network.input, last_map(network))


@lru_cache(12)
def _head(network: keras.Model, label: int) -> Slopes:
    """How the label's logit changes with the last map."""
    return slopes(keras.Model(last_map(network), target(network, label).output))


def _is_map(layer: layers.Layer) -> bool:
    return isinstance(layer.output, keras.KerasTensor) and len(layer.output.shape) == 4


def _coarse(features: Maps, slope: Maps) -> Maps:
    """Shape (n, rows, columns), of features and slopes of shape (n, rows, columns, channels)."""
    summed: Maps = np.einsum("nhwc,nc->nhw", features, slope.mean(axis=(1, 2)))
    return summed


def _enlarged(coarse: Maps, height: int, width: int) -> Maps:
    """Spread each cell's share of the logit over its pixels."""
    rows, columns = coarse.shape
    large: Maps = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    return large * np.float32(rows * columns / (height * width))
