"""What training minimises: cross-entropies that leave unknown labels out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from keras import ops

from secondread.models.outputs import Tensor, logits

LossName: TypeAlias = Literal["cross_entropy", "weighted_log_loss"]
Loss: TypeAlias = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class ClassWeights:
    """How much an image counts by its class, per label: with the label and without it, shape (labels,) each."""

    present: Sequence[float]
    absent: Sequence[float]


def loss_function(name: LossName, class_weights: ClassWeights | None = None) -> Loss:
    """Build the loss of a run's configuration.

    Args:
        name: the setting `train.loss`.
        class_weights: None counts every image once.
    Returns:
        a function of labels, shape (n, labels) with NaN where unknown, and a `learner`'s outputs, to one number.
    """
    chosen = {"cross_entropy": masked_cross_entropy, "weighted_log_loss": weighted_log_loss}[name]

    def loss(labels: Tensor, outputs: Tensor) -> Tensor:
        return chosen(labels, outputs, class_weights)

    loss.__name__ = name
    return loss


def masked_cross_entropy(labels: Tensor, outputs: Tensor, class_weights: ClassWeights | None = None) -> Tensor:
    """Average the binary cross-entropy over all known labels.

    Args:
        labels: 1, 0 or NaN (unknown), shape (n, labels).
        outputs: a `learner`'s, see `logits`.
        class_weights: multiply the entropies and leave the divisor alone, as Keras' `class_weight` does.
    """
    return _mean_entropy(labels, outputs, [1.0] * labels.shape[-1], class_weights)


def weighted_log_loss(labels: Tensor, outputs: Tensor, class_weights: ClassWeights | None = None) -> Tensor:
    """Average the cross-entropy over all known labels, the first label (`any`) counting double.

    Source: RSNA Intracranial Hemorrhage Detection 2019, evaluation.
    """
    return _mean_entropy(labels, outputs, [2.0] + [1.0] * (labels.shape[-1] - 1), class_weights)


def _mean_entropy(
    labels: Tensor, outputs: Tensor, label_weights: Sequence[float], class_weights: ClassWeights | None
) -> Tensor:
    logit = ops.cast(logits(outputs, labels.shape[-1]), "float32")
    labels = ops.cast(labels, "float32")
    known = ops.logical_not(ops.isnan(labels))
    present = ops.where(known, labels, 0.0)
    weights = ops.where(known, ops.convert_to_tensor(label_weights, "float32"), 0.0)
    # -log(sigmoid(z)) is softplus(-z), -log(1 - sigmoid(z)) is softplus(z): neither loses its gradient.
    entropy = present * ops.softplus(-logit) + (1 - present) * ops.softplus(logit)
    entropy = _class_factor(present, class_weights) * entropy
    # A batch in which nothing is known has no loss.
    return ops.sum(weights * entropy) / ops.maximum(ops.sum(weights), 1.0)


def _class_factor(present: Tensor, class_weights: ClassWeights | None) -> Tensor:
    """Weight of each label of each image, shape (n, labels)."""
    if class_weights is None:
        return ops.ones_like(present)
    with_label = ops.convert_to_tensor(class_weights.present, "float32")
    without = ops.convert_to_tensor(class_weights.absent, "float32")
    return present * with_label + (1 - present) * without
