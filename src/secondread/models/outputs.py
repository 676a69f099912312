"""What a network's output means: logits while it learns, probabilities when it answers."""

from typing import Any, TypeAlias

import keras
from keras import layers

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

    It is what learns: a probability that has reached 1 in float32 has no gradient any more, its logit still has.
    """
    return keras.Model(model.input, model.get_layer(_LOGIT_NAME).output, name=model.name)


def probabilities(outputs: Tensor, labels: int) -> Tensor:
    """Give the probability of each label.

    Args:
        outputs: what the network answers, shape (n, labels); or (n, 2), a softmax over absent and present, for a
            network that answers one label.
        labels: number of labels that the network answers.
    Returns:
        shape (n, labels), of the type that came in.
    """
    return outputs[:, 1:] if labels == 1 and outputs.shape[-1] == 2 else outputs


def logits(outputs: Tensor, labels: int) -> Tensor:
    """Give the logit of each label's probability from what a `learner` answers; shapes as in `probabilities`."""
    return outputs[:, 1:] - outputs[:, :1] if labels == 1 and outputs.shape[-1] == 2 else outputs
