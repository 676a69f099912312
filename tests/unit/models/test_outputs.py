"""What a network's output means."""

import numpy as np

from secondread.models.outputs import probabilities


def test_a_sigmoid_a_label_is_the_probability() -> None:
    outputs = np.array([[0.1, 0.9]])
    assert probabilities(outputs, labels=2) is outputs


def test_of_two_columns_for_one_label_the_second_says_present() -> None:
    assert probabilities(np.array([[0.9, 0.1], [0.2, 0.8]]), labels=1).tolist() == [[0.1], [0.8]]
