"""Gradients inside a network: the one place where an explanation speaks the backend's own language."""

from collections.abc import Callable
from typing import TypeAlias

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from secondread.errors import ExplanationError

Float32: TypeAlias = npt.NDArray[np.float32]
Slopes: TypeAlias = Callable[[npt.NDArray[np.generic]], tuple[Float32, Float32]]


def slopes(after: keras.Model, before: keras.Model | None = None) -> Slopes:
    """Compile, once for all numbers of images, how a network's answer changes with what lies inside it.

    Args:
        after: from what lies inside to one number an image.
        before: from images to what lies inside; None is the image itself.
    Returns:
        a function of images, (n, height, width, channels), to what lies inside, and the gradient of the image's number
        by it, of the same shape.
    Raises:
        ExplanationError: Keras runs on a backend whose gradients are not written here.
    """
    if keras.backend.backend() != "tensorflow":
        raise ExplanationError(
            f"KERAS_BACKEND={keras.backend.backend()}: gradients are written for tensorflow; use occlusion or "
            "partition_shap, which need none"
        )
    shape = (before or after).input.shape

    @tf.function(input_signature=[tf.TensorSpec((None, *shape[1:]), tf.float32)])  # type: ignore[untyped-decorator]  # TensorFlow's types are not followed
    def compiled(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        inside = images if before is None else before(images, training=False)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(inside)
            numbers = after(inside, training=False)
        return inside, tape.gradient(numbers, inside)

    def found(images: npt.NDArray[np.generic]) -> tuple[Float32, Float32]:
        inside, gradient = compiled(tf.constant(images, tf.float32))
        return np.asarray(inside, np.float32), np.asarray(gradient, np.float32)

    return found
