"""Bins of equal size and the calibration error by hand."""

import numpy as np
import pytest

from secondread.evaluation.calibration import calibration_error, calibration_gaps, quantile_bins


def test_bins_hold_equally_many_rows() -> None:
    values = np.random.default_rng(0).permutation(100) / 100
    np.testing.assert_array_equal(np.bincount(quantile_bins(values)), np.full(10, 10))


def test_equal_probabilities_share_a_bin() -> None:
    bins = quantile_bins([0.0] * 70 + [0.2] * 5 + [1.0] * 25)
    assert [len(set(bins[:70])), len(set(bins[70:75])), len(set(bins[75:]))] == [1, 1, 1]
    assert set(bins) == set(range(bins.max() + 1))


def test_one_probability_for_all_is_one_bin() -> None:
    np.testing.assert_array_equal(quantile_bins([0.3, 0.3, 0.3]), [0, 0, 0])


def test_calibration_error_by_hand() -> None:
    # Bins of 10: at .2 two of ten are positive, at .7 nine of ten: the error is (0 + .2) / 2.
    truth = np.array([1.0] * 2 + [0.0] * 8 + [1.0] * 9 + [0.0])
    probabilities = np.array([0.2] * 10 + [0.7] * 10)
    assert calibration_error(truth, probabilities) == pytest.approx(0.1)


def test_gaps_add_up_to_truth_minus_probability() -> None:
    generator = np.random.default_rng(0)
    truth, probabilities = generator.integers(0, 2, 37).astype(float), generator.random(37)
    np.testing.assert_allclose(calibration_gaps(truth, probabilities).sum(axis=1), truth - probabilities)
