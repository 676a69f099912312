"""A network that has learned nothing, beside the one that has."""

import keras
import numpy as np


def randomised(network: keras.Model, seed: int) -> keras.Model:
    """Give a network of the same layers with fresh weights in all of them; the network itself is left alone.

    Kernels are drawn by He's rule, so that every layer's signal stays alive; biases, scales and averages are those that
    layers begin with. This is the end of the cascade of Adebayo et al., where no learned layer is left.

    Args:
        seed: equal seeds draw equal weights.
    Source: Adebayo et al., Sanity Checks for Saliency Maps, 2018; He et al., Delving Deep into Rectifiers, 2015.
    """
    twin = keras.models.clone_model(network)
    generator = np.random.default_rng(seed)
    for weight in twin.weights:
        if len(weight.shape) > 1:
            weight.assign(generator.normal(0, np.sqrt(2 / _inputs(weight.shape)), weight.shape))
    return twin


def _inputs(shape: tuple[int, ...]) -> int:
    """How many numbers a kernel sums into one; a depthwise one, (rows, columns, channels, 1), leaves channels apart."""
    depthwise = len(shape) == 4 and shape[-1] == 1
    return int(np.prod(shape[:2] if depthwise else shape[:-1]))
