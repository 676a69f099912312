"""Intervals against hand-made numbers, a slow direct DeLong, and a small simulation of their coverage."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import logit

from secondread.evaluation import intervals
from secondread.evaluation.intervals import (
    auroc_variance,
    clustered_bootstrap,
    delong_interval,
    independent_trials,
    mean_interval,
    percentile_interval,
    wilson_interval,
)

Floats = NDArray[np.float64]


def test_wilson_of_all_successes_is_trials_over_trials_plus_z_squared() -> None:
    low, high = wilson_interval(10, 10)
    assert low == pytest.approx(10 / (10 + 1.959964**2), abs=1e-6)
    assert high == 1


def test_a_mean_of_two_patients_is_as_uncertain_as_two_numbers() -> None:
    """Of 0 and 1 the standard error is 1/2, and Student's quantile with one degree of freedom 12.706."""
    twice = mean_interval(np.array([0.0, 0, 1, 1]), np.array([0, 0, 1, 1]))
    assert twice == pytest.approx((0.5, 0.5 - 12.7062 / 2, 0.5 + 12.7062 / 2), abs=1e-3)
    assert mean_interval(np.array([0.0, 1]), np.array([0, 1])) == pytest.approx(twice)


def test_a_mean_of_one_patient_has_no_end() -> None:
    assert mean_interval(np.array([1.0, 3]), np.array([0, 0])) == (2, -np.inf, np.inf)


def test_wilson_of_half_is_symmetric_and_of_no_success_mirrors_all() -> None:
    assert sum(wilson_interval(5, 10)) == pytest.approx(1)
    assert wilson_interval(0, 10) == pytest.approx((0, 1 - wilson_interval(10, 10).low))


def test_wilson_refuses_no_trials() -> None:
    with pytest.raises(ValueError, match="at least one trial"):
        wilson_interval(0, 0)


def test_auroc_and_its_variance_by_hand() -> None:
    # Positives beat 2/2 and 1/2 of the negatives, negatives lose to 1/2 and 2/2 of the positives: variance 1/8 each.
    assert auroc_variance([1, 1, 0, 0], [0.9, 0.4, 0.5, 0.1]) == pytest.approx((0.75, 0.125 / 2 + 0.125 / 2))


@pytest.mark.parametrize("seed", range(5))
def test_auroc_variance_equals_the_direct_definition_with_ties(seed: int) -> None:
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 2, 60)
    scores = generator.integers(0, 8, 60) / 8 + truth / 4
    assert auroc_variance(truth, scores) == pytest.approx(_direct_delong(truth, scores), rel=1e-12)


def _direct_delong(truth: NDArray[np.int64], scores: Floats) -> tuple[float, float]:
    above, below = scores[truth == 1], scores[truth == 0]
    wins = (above[:, None] > below).astype(float) + 0.5 * (above[:, None] == below)
    placed, displaced = wins.mean(axis=1), wins.mean(axis=0)
    return wins.mean(), np.var(placed, ddof=1) / len(above) + np.var(displaced, ddof=1) / len(below)


def test_auroc_needs_both_classes() -> None:
    with pytest.raises(ValueError, match="3 positive, 0 negative"):
        auroc_variance([1, 1, 1], [0.1, 0.2, 0.3])


def test_delong_interval_is_symmetric_in_logits() -> None:
    value, low, high = delong_interval([1, 1, 0, 0], [0.9, 0.4, 0.5, 0.1])
    logits = np.log(np.array([low, value, high]) / (1 - np.array([low, value, high])))
    # The variance of a logit is variance / (p (1 - p))^2.
    assert logits[2] - logits[1] == pytest.approx(1.959964 * 0.125**0.5 / (0.75 * 0.25), abs=1e-6)
    assert logits[1] - logits[0] == pytest.approx(logits[2] - logits[1])


def test_a_perfect_ranking_is_as_certain_as_its_smaller_class_allows() -> None:
    assert delong_interval([1, 1, 0, 0, 0], [0.8, 0.9, 0.1, 0.2, 0.3]) == (1, *wilson_interval(2, 2))


def test_a_single_positive_still_has_an_interval() -> None:
    value, low, high = delong_interval([1, 0, 0], [0.5, 0.1, 0.9])
    assert (value, (low, high)) == (0.5, wilson_interval(0.5, 1))


def test_delong_interval_covers_the_truth_in_about_95_of_100_samples() -> None:
    generator = np.random.default_rng(0)
    truth = np.repeat([0, 1], [80, 40])
    # Two normals one apart with a standard deviation of 1/sqrt(2) each: the AUROC is Phi(1).
    expected = 0.841345
    covered = 0
    for _ in range(600):
        _, low, high = delong_interval(truth, generator.normal(size=120) / 2**0.5 + truth)
        covered += low <= expected <= high
    assert 0.92 <= covered / 600 <= 0.98


def _weights(weights: Floats) -> Floats:
    return weights


def test_the_bootstrap_draws_whole_patients_and_as_many_as_there_are() -> None:
    drawn = clustered_bootstrap(["a", "b", "a", "c"], _weights, seed=0, resamples=50)
    assert drawn.shape == (50, 4)
    assert (drawn[:, 0] == drawn[:, 2]).all()
    assert (drawn[:, [0, 1, 3]].sum(axis=1) == 3).all()


def test_rows_without_a_patient_are_drawn_by_themselves() -> None:
    drawn = clustered_bootstrap(np.array(["", "", None, "a", "a"], object), _weights, seed=0, resamples=200)
    assert (drawn[:, [0, 1, 2, 3]].sum(axis=1) == 4).all()
    assert (drawn[:, 0] != drawn[:, 1]).any()
    assert (drawn[:, 1] != drawn[:, 2]).any()


def test_equal_seeds_draw_equal_patients_however_many_fit_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    patients = [str(number) for number in range(7)]
    at_once = clustered_bootstrap(patients, _weights, seed=3, resamples=20)
    monkeypatch.setattr(intervals, "_CELLS_AT_ONCE", 7 * 6)
    np.testing.assert_array_equal(clustered_bootstrap(patients, _weights, seed=3, resamples=20), at_once)
    assert (clustered_bootstrap(patients, _weights, seed=4, resamples=20) != at_once).any()


def test_ten_copies_of_each_patients_image_do_not_narrow_an_interval() -> None:
    values = np.random.default_rng(0).normal(size=30)
    patients = [str(number) for number in range(30)]

    def mean_of(values: Floats) -> intervals.Statistic:
        return lambda weights: ((weights @ values) / weights.sum(axis=1))[:, None]

    once = clustered_bootstrap(patients, mean_of(values), seed=0)
    copied = clustered_bootstrap(np.repeat(patients, 10), mean_of(np.repeat(values, 10)), seed=0)
    np.testing.assert_allclose(once, copied)


def test_undefined_resamples_are_left_out_of_an_interval() -> None:
    samples = np.column_stack([np.append(np.linspace(0, 1, 41), np.nan), np.full(42, np.nan)])
    low, high = percentile_interval(samples)
    assert (low[0], high[0]) == pytest.approx((0.025, 0.975))
    assert np.isnan([low[1], high[1]]).all()


def test_copies_of_images_leave_the_interval_of_an_auroc_as_wide_by_patient() -> None:
    truth, scores = np.tile([1, 0], 20), np.random.default_rng(0).normal(size=40) + np.tile([1, 0], 20)
    value, low, high = delong_interval(truth, scores)
    copies = np.repeat(truth, 5), np.repeat(scores, 5), np.repeat(np.arange(40).astype(str), 5)
    again, again_low, again_high = delong_interval(*copies)
    assert again == pytest.approx(value)
    # Student's quantile (20 patients of the class with fewer) is wider than the normal's.
    assert logit(again_high) - logit(again_low) == pytest.approx((logit(high) - logit(low)) * 2.093 / 1.96, rel=1e-3)
    assert np.ptp(delong_interval(*copies[:2])) < 0.6 * (high - low)


def test_rows_of_a_patient_count_as_many_trials_as_they_differ() -> None:
    owner = np.repeat(np.arange(50), 4)
    alike, apart = np.repeat(np.arange(50) % 2, 4).astype(float), np.tile([1.0, 0.0, 1.0, 0.0], 50)
    assert independent_trials(alike, owner) == pytest.approx(50, rel=0.02)
    assert independent_trials(apart, owner) == 200  # each patient as good as everyone: never more than all rows
    assert independent_trials(np.ones(200), owner) == 50
