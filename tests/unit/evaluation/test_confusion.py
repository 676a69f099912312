"""Counts and proportions by hand."""

import numpy as np
import pytest

from secondread.evaluation.confusion import Confusion
from secondread.evaluation.intervals import wilson_interval


def test_decisions_are_counted_where_the_label_is_known() -> None:
    counted = Confusion.count([1, 1, 1, 0, 0, np.nan], [True, True, False, True, False, True])
    assert counted == Confusion(2, 1, 1, 1)
    assert (counted.positives, counted.negatives) == (3, 2)


def test_proportions_and_their_wilson_intervals() -> None:
    found = Confusion(true_positives=8, false_positives=4, false_negatives=2, true_negatives=6).estimates()
    assert found["sensitivity"] == (0.8, *wilson_interval(8, 10))
    assert found["specificity"] == (0.6, *wilson_interval(6, 10))
    assert found["precision"] == (8 / 12, *wilson_interval(8, 12))
    assert found["accuracy"] == (0.7, *wilson_interval(14, 20))


def test_the_interval_of_f1_is_that_of_the_overlap() -> None:
    value, low, high = Confusion(8, 4, 2, 6).estimates()["f1"]
    assert value == pytest.approx(2 * 8 / (2 * 8 + 4 + 2))
    overlap = wilson_interval(8, 14)
    assert (low / (2 - low), high / (2 - high)) == pytest.approx(overlap)


def test_f1_intervals_cover_the_truth_in_about_95_of_100_samples() -> None:
    generator = np.random.default_rng(0)
    shares = np.array([0.3, 0.08, 0.1, 0.52])
    expected = 0.6 / (0.6 + 0.08 + 0.1)
    covered = 0
    for counts in generator.multinomial(150, shares, size=1000):
        _, low, high = Confusion(*(int(count) for count in counts)).estimates()["f1"]
        covered += low <= expected <= high
    assert 0.93 <= covered / 1000 <= 0.97


def test_what_the_images_leave_undefined_is_left_out() -> None:
    assert set(Confusion(0, 0, 0, 5).estimates()) == {"specificity", "accuracy"}
    assert Confusion(0, 0, 0, 0).estimates() == {}


def test_swapping_looks_for_the_absence() -> None:
    assert Confusion(1, 2, 3, 4).swapped == Confusion(4, 3, 2, 1)
