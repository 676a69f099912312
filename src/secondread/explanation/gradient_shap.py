"""SHAP's GradientExplainer: integrated gradients from many images, at random points of the ways."""

from functools import lru_cache
from typing import Any

import keras
import numpy as np

from secondread.explanation.chance import own_chance
from secondread.explanation.method import Maps, Method
from secondread.explanation.smooth import smooth
from secondread.explanation.target import logits_of, target
from secondread.imaging.picture import UInt8Image

_SAMPLES = 100
_BATCH = 50
_SEED = 1


class GradientShap(Method):
    """Expected gradients, smoothed; complete in expectation, so within the noise of 100 samples.

    Source: Lundberg and Lee, A Unified Approach to Interpreting Model Predictions, 2017; Erion et al., 2021.
    """

    name = "gradient_shap"
    is_complete = True

    def baseline(
        self, network: keras.Model, images: UInt8Image, label: int, background: UInt8Image | None = None
    ) -> float:
        """The mean logit of the background, not the logit of its mean."""
        return float(logits_of(network, _background(images, background), label).mean())

    def _maps(self, network: keras.Model, images: UInt8Image, label: int, background: UInt8Image | None) -> Maps:
        explainer = _explainer(network, label)
        explainer.explainer.data = [_background(images, background)]
        with own_chance():
            maps = [_map(explainer, image) for image in images]
        return np.array(maps).reshape(images.shape[:3])


@lru_cache(12)
def _explainer(network: keras.Model, label: int) -> Any:
    import shap  # takes seconds, and most requests ask for another method

    model = target(network, label)
    nothing = np.zeros((1, *model.input.shape[1:]), np.float32)
    # Both ends of the model: of a whole one SHAP takes the last layer, which is before the label is chosen.
    return shap.GradientExplainer(([model.input], model.output), nothing, batch_size=_BATCH)


def _background(images: UInt8Image, background: UInt8Image | None) -> Maps:
    if background is None or not len(background):
        return np.zeros((1, *images.shape[1:]), np.float32)
    return background.astype(np.float32)


def _map(explainer: Any, image: UInt8Image) -> Maps:
    values = explainer.shap_values(image[np.newaxis].astype(np.float32), nsamples=_SAMPLES, rseed=_SEED)
    summed: Maps = np.asarray(values).reshape(image.shape).sum(axis=-1)
    return smooth(summed)
