"""What a network's output means."""

import numpy as np
import pytest

from secondread.models.outputs import probabilities


def test_a_label_is_the_sigmoid_of_its_logit() -> None:
    assert probabilities(np.log([[1 / 9, 9]]), labels=2) == pytest.approx(np.array([[0.1, 0.9]]))


def test_of_two_columns_for_one_label_the_second_says_present() -> None:
    outputs = np.log([[0.9, 0.1], [0.2, 0.8]])  # the softmax of logarithms is what they are of
    assert probabilities(outputs, labels=1) == pytest.approx(np.array([[0.1], [0.8]]))


def test_logits_that_float32_would_round_to_certainty_stay_apart() -> None:
    (near, nearer) = probabilities(np.array([[20.0], [21.0]], np.float32), labels=1)[:, 0]
    assert near < nearer < 1
