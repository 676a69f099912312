"""What a network's output means."""

from typing import Any, TypeAlias

Tensor: TypeAlias = Any  # of whichever backend, or a numpy array

OUTPUT_NAME = "probability"


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
