"""What is explained: one label's logit."""

from functools import lru_cache

import keras
import numpy as np
import numpy.typing as npt

from secondread.imaging.picture import UInt8Image
from secondread.models.outputs import logit_of

_BATCH = 32  # images at a time: memory stays flat
_KEPT = 12  # networks whose compiled functions are kept; six labels and their randomised twins


@lru_cache(_KEPT)
def target(network: keras.Model, label: int) -> keras.Model:
    """Give the network of one label's logit, shape (n, 1), sharing its layers; the same one for the same arguments."""
    return logit_of(network, label)


def logits_of(network: keras.Model, images: npt.NDArray[np.generic], label: int) -> npt.NDArray[np.float64]:
    """Answer images with one label's logit, shape (n,), some images at a time."""
    model = target(network, label)
    parts = [model.predict_on_batch(images[start : start + _BATCH]) for start in range(0, len(images), _BATCH)]
    return np.concatenate([np.zeros((0, 1)), *parts])[:, 0].astype(np.float64)


def reference(images: UInt8Image, background: UInt8Image | None) -> npt.NDArray[np.float32]:
    """What stands for nothing to be seen, shape (height, width, channels): the background's mean, or black."""
    if background is None or not len(background):
        return np.zeros(images.shape[1:], np.float32)
    mean: npt.NDArray[np.float32] = background.mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean
