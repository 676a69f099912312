"""Losses, by numbers that a hand can derive: -log(1/2) is log 2, -log(1/4) is 2 log 2."""

from math import log

import keras
import numpy as np
import pytest

from secondread.models.losses import (
    ClassWeights,
    LossName,
    loss_function,
    masked_cross_entropy,
    weighted_log_loss,
)

LOG2 = log(2)
UNKNOWN = np.nan


def number(value: object) -> float:
    return float(keras.ops.convert_to_numpy(value))


def table(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32)


def saying(*rows: list[float]) -> np.ndarray:
    """Logits of these probabilities."""
    probability = table(*rows)
    logit: np.ndarray = np.log(probability / (1 - probability))
    return logit


def test_cross_entropy_is_the_average_over_images_and_labels() -> None:
    labels = table([1, 0], [0, 1])
    outputs = saying([0.5, 0.5], [0.75, 0.25])  # log 2 twice, then 2 log 2 twice
    assert number(masked_cross_entropy(labels, outputs)) == pytest.approx(1.5 * LOG2)


def test_an_unknown_label_changes_nothing_whatever_is_answered() -> None:
    known = number(masked_cross_entropy(table([1.0]), saying([0.25])))
    for answer in (0.01, 0.3, 0.99):
        labels, outputs = table([1.0, UNKNOWN]), saying([0.25, answer])
        assert number(masked_cross_entropy(labels, outputs)) == pytest.approx(known) == pytest.approx(2 * LOG2)


def test_a_batch_in_which_nothing_is_known_has_no_loss() -> None:
    assert number(weighted_log_loss(table([UNKNOWN, UNKNOWN]), saying([0.2, 0.7]))) == 0


def test_weighted_log_loss_counts_any_double_and_divides_by_the_weights() -> None:
    labels = table([1, 0, 0, 0, 0, 0])
    outputs = saying([0.25, 0.5, 0.5, 0.5, 0.5, 0.5])
    # any: weight 2, loss 2 log 2; five others: weight 1, loss log 2
    assert number(weighted_log_loss(labels, outputs)) == pytest.approx((2 * 2 + 5) / 7 * LOG2)


def test_weighted_log_loss_with_any_alone_known_is_its_cross_entropy() -> None:
    labels = table([1, *[UNKNOWN] * 5])
    assert number(weighted_log_loss(labels, saying([0.25] * 6))) == pytest.approx(2 * LOG2)


def test_class_weights_multiply_each_label_by_its_class_and_leave_the_divisor() -> None:
    weights = ClassWeights(present=(3, 1), absent=(0.5, 1))
    labels, outputs = table([1, 1], [0, 1]), saying([0.5, 0.5], [0.5, 0.5])
    assert number(masked_cross_entropy(labels, outputs, weights)) == pytest.approx((3 + 1 + 0.5 + 1) / 4 * LOG2)


def test_a_softmax_over_absent_and_present_is_read_by_its_second_column() -> None:
    labels, outputs = table([1], [0]), np.log(table([0.75, 0.25], [0.5, 0.5]))
    assert number(masked_cross_entropy(labels, outputs)) == pytest.approx(1.5 * LOG2)


def test_a_certain_wrong_answer_costs_its_logit_and_still_has_a_gradient() -> None:
    # In float32 the sigmoid of 40 is 1 and flat; log(1 + exp(40)) is 40, and 1 steeper per unit.
    costs = [number(masked_cross_entropy(table([0]), table([logit]))) for logit in (40, 41)]
    assert costs == pytest.approx([40, 41])


@pytest.mark.parametrize("name", ["cross_entropy", "weighted_log_loss"])
def test_keras_minimises_each_loss_over_unknown_labels(name: LossName) -> None:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((1,))
    model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    model.compile(loss=loss_function(name), optimizer=keras.optimizers.Adam(0.1), jit_compile=False)
    images, labels = table([1], [-1]), table([1, UNKNOWN], [0, 1])
    history = model.fit(images, labels, epochs=20, verbose=0).history["loss"]
    assert np.isfinite(history).all()
    assert history[-1] < history[0] / 2
