"""SHAP's PartitionExplainer: what is won when ever smaller parts of the image appear."""

from functools import lru_cache, partial
from typing import Any

import keras
import numpy as np

from secondread.explanation.chance import own_chance
from secondread.explanation.method import Maps, Method
from secondread.explanation.target import logits_of, reference
from secondread.imaging.picture import UInt8Image

_EVALUATIONS = 300  # of the network an image
_BATCH = 32


class PartitionShap(Method):
    """Owen values of halves of halves of the image, whose hidden parts show the reference.

    Source: Lundberg and Lee, 2017; Owen, Values of Games with a Priori Unions, 1977.
    """

    name = "partition_shap"
    is_complete = True

    def _maps(self, network: keras.Model, images: UInt8Image, label: int, background: UInt8Image | None) -> Maps:
        explainer = _explainer(network, label, reference(images, background).tobytes())
        with own_chance():
            maps = [_map(explainer, image) for image in images]
        return np.array(maps).reshape(images.shape[:3])


@lru_cache(2)  # each holds a matrix of every part of the image
def _explainer(network: keras.Model, label: int, hidden: bytes) -> Any:
    import shap  # takes seconds, and most requests ask for another method

    shape = network.input.shape[1:]
    masker = shap.maskers.Image(np.frombuffer(hidden, np.float32).reshape(shape), shape)
    return shap.PartitionExplainer(partial(_answers, network, label), masker)


def _answers(network: keras.Model, label: int, images: Maps) -> Maps:
    return np.asarray(logits_of(network, images, label))


def _map(explainer: Any, image: UInt8Image) -> Maps:
    found = explainer(
        image[np.newaxis].astype(np.float32), max_evals=_EVALUATIONS, batch_size=_BATCH, fixed_context=None, silent=True
    )
    summed: Maps = np.asarray(found.values).reshape(image.shape).sum(axis=-1)
    return summed
