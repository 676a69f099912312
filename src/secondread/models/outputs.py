"""What a network's output means: logits while it learns, probabilities when it answers."""

from typing import Any, TypeAlias

import keras
import numpy as np
import numpy.typing as npt
from keras import layers
from scipy.special import expit

Tensor: TypeAlias = Any  # of whichever backend, or a numpy array

OUTPUT_NAME = "probability"
_LOGIT_NAME = "logit"


def sigmoids(x: Tensor, labels: int) -> Tensor:
    """End a network in a sigmoid a label: features of shape (n, k) to probabilities of shape (n, labels)."""
    x = layers.Dense(labels, dtype="float32", name=_LOGIT_NAME)(x)
    return layers.Activation("sigmoid", dtype="float32", name=OUTPUT_NAME)(x)


def softmax_of_two(x: Tensor) -> Tensor:
    """End a network of one label in a softmax over absent and present: (n, k) to (n, 2)."""
    x = layers.Dense(2, dtype="float32", name=_LOGIT_NAME)(x)
    return layers.Activation("softmax", dtype="float32", name=OUTPUT_NAME)(x)


def learner(model: keras.Model) -> keras.Model:
    """Give the network up to its logits, sharing its layers.

    It is what learns and what answers: a probability that has reached 1 in float32 has no gradient and no rank any
    more, its logit still has both.
    """
    return keras.Model(model.input, model.get_layer(_LOGIT_NAME).output, name=model.name)


def logits(outputs: Tensor, labels: int) -> Tensor:
    """Give the logit of each label's probability.

    Args:
        outputs: what a `learner` answers, shape (n, labels); or (n, 2), of a softmax over absent and present, for a
            network that answers one label.
        labels: number of labels that the network answers.
    Returns:
        shape (n, labels), of the type that came in.
    """
    return outputs[:, 1:] - outputs[:, :1] if labels == 1 and outputs.shape[-1] == 2 else outputs


def logit_of(model: keras.Model, label: int) -> keras.Model:
    """Give the network of one label's logit, shape (n, 1), sharing its layers.

    Args:
        label: place among the labels that the network answers.
    """
    labels = 1 if model.get_layer(OUTPUT_NAME).activation is keras.activations.softmax else model.output.shape[-1]
    each = logits(model.get_layer(_LOGIT_NAME).output, labels)
    return keras.Model(model.input, each[:, label : label + 1])


def probabilities(outputs: Tensor, labels: int) -> npt.NDArray[np.float64]:
    """Give the probability of each label from what a `learner` answers; shapes as in `logits`."""
    return np.asarray(expit(np.asarray(logits(outputs, labels), np.float64)), np.float64)
