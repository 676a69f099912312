"""Gradients inside a network: the one place where an explanation speaks the backend's own language."""

from collections.abc import Callable
from typing import TypeAlias

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from secondread.errors import ExplanationError

Float32: TypeAlias = npt.NDArray[np.float32]
Slopes: TypeAlias = Callable[[npt.NDArray[np.generic]], Float32]


def slopes(model: keras.Model) -> Slopes:
    """Compile, once for all numbers of inputs, how a model's answer changes with what it is given.

    Args:
        model: from images, or what lies inside a network, (n, height, width, channels), to one number each.
    Returns:
        a function of inputs to the gradient of each one's number by it, of the inputs' shape.
    Raises:
        ExplanationError: Keras runs on a backend whose gradients are not written here.
    """
    if keras.backend.backend() != "tensorflow":
        raise ExplanationError(
            f"KERAS_BACKEND={keras.backend.backend()}: gradients are written for tensorflow; use occlusion or "
            "partition_shap, which need none"
        )

    @tf.function(input_signature=[tf.TensorSpec((None, *model.input.shape[1:]), tf.float32)])  # type: ignore[untyped-decorator]  # TensorFlow's types are not followed
    def compiled(inputs: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(inputs)
            numbers = model(inputs, training=False)
        return tape.gradient(numbers, inputs)

    return lambda inputs: np.asarray(compiled(tf.constant(inputs, tf.float32)), np.float32)
