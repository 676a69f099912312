"""Where thresholds are put, and that nobody's own fold chooses for him."""

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy.special import expit

from secondread.evaluation.intervals import wilson_interval
from secondread.evaluation.operating_points import (
    OperatingPoint,
    at_sensitivity,
    at_specificity,
    balanced,
    cross_fitted,
    decide,
)

ONE_PATIENT = ["a"] * 6


def test_the_threshold_is_the_middle_in_logits_of_the_best_stretch() -> None:
    # One patient, so every resample is the sample. Between logits -1 and 3 all are decided rightly: the middle is 1.
    point = balanced("any", [0, 0, 0, 1, 1, 1], expit(np.array([-5.0, -4, -1, 3, 4, 5])), ONE_PATIENT, seed=0)
    assert point.threshold == pytest.approx(expit(1))
    assert (point.sensitivity, point.sensitivity_high) == (1, 1)
    assert point.sensitivity_low is not None
    assert point.sensitivity_low < 0.05  # one patient tells next to nothing about others
    assert (point.specificity, point.positives, point.negatives) == (1, 3, 3)
    assert (point.label, point.name, point.fallback) == ("any", "balanced", False)


def test_two_equally_good_stretches_count_by_their_lengths() -> None:
    # Youden's index is 1/2 from logit 2 to 6 (half found, no false alarm) and from -3 to -1 (all found, half alarmed).
    probabilities = expit(np.array([6.0, -1.0, 2.0, -3.0]))
    point = balanced("any", [1, 1, 0, 0], probabilities, ["a"] * 4, seed=0)
    assert point.threshold == pytest.approx(expit((4 * 4 + 2 * -2) / 6))


def test_on_separable_images_the_threshold_stays_inside_the_gap_whatever_the_seed() -> None:
    generator = np.random.default_rng(0)
    truth = np.repeat([0.0, 1.0], 150)
    probabilities = expit(generator.normal(size=300).clip(-2, 2) + np.where(truth == 1, 4, -4))
    patients = [str(number) for number in range(300)]
    thresholds = [balanced("any", truth, probabilities, patients, seed).threshold for seed in range(5)]
    assert all(probabilities[:150].max() < threshold < probabilities[150:].min() for threshold in thresholds)
    assert np.ptp(thresholds) < 0.02


def test_the_threshold_is_near_the_best_of_two_normals() -> None:
    # Logits normal around -1 and 2 with equal spread: Youden's best threshold is the middle, .5.
    generator = np.random.default_rng(1)
    truth = np.repeat([0.0, 1.0], 1000)
    logits = generator.normal(size=2000) + np.where(truth == 1, 2, -1)
    point = balanced("any", truth, expit(logits), np.arange(2000).astype(str), seed=0)
    assert point.threshold == pytest.approx(expit(0.5), abs=0.08)


def test_unknown_labels_do_not_choose() -> None:
    truth, probabilities = [0, 1, np.nan, np.nan], [0.2, 0.8, 0.001, 0.999]
    point = balanced("any", truth, probabilities, ["a"] * 4, seed=0)
    assert point.threshold == pytest.approx(0.5)
    assert (point.positives, point.negatives) == (1, 1)


@pytest.mark.parametrize(
    ("truth", "probabilities"),
    [([1, 1, 1], [0.1, 0.2, 0.3]), ([0, 1, 1], [0.3, 0.3, 0.3]), ([np.nan] * 3, [0.1, 0.2, 0.3])],
    ids=["one class", "one probability", "all unknown"],
)
def test_where_nothing_can_be_chosen_the_threshold_is_half_and_says_so(
    truth: list[float], probabilities: list[float]
) -> None:
    point = balanced("any", truth, probabilities, ["a", "b", "c"], seed=0)
    assert (point.threshold, point.fallback) == (0.5, True)


def test_one_class_leaves_the_other_classs_measure_empty() -> None:
    point = balanced("any", [1, 1], [0.6, 0.1], ["a", "b"], seed=0)
    assert (point.sensitivity, point.specificity, point.specificity_low) == (0.5, None, None)


def test_saturated_probabilities_have_a_threshold_between_them() -> None:
    point = balanced("any", [0, 0, 1, 1], [0.0, 0.0, 1.0, 1.0], ["a"] * 4, seed=0)
    assert point.threshold == pytest.approx(0.5)


def test_a_probability_at_the_threshold_is_positive() -> None:
    point = balanced("any", [0, 1], [0.25, 0.75], ["a", "a"], seed=0)
    np.testing.assert_array_equal(decide([0.49, point.threshold, 0.51], point), [False, True, True])


def test_an_operating_point_survives_its_json_and_refuses_more() -> None:
    point = balanced("any", [1, 1], [0.6, 0.1], ["a", "b"], seed=0)
    assert OperatingPoint.model_validate_json(point.model_dump_json()) == point
    with pytest.raises(ValidationError):
        OperatingPoint.model_validate(point.model_dump() | {"more": 1})


def test_a_folds_threshold_is_chosen_by_the_other_folds() -> None:
    truth, probabilities, patients, folds = _three_folds()
    thresholds = cross_fitted(truth, probabilities, patients, folds, seed=0)
    for fold in range(3):
        others = folds != fold
        chosen = balanced("any", truth[others], probabilities[others], patients[others], seed=0).threshold
        np.testing.assert_array_equal(thresholds[folds == fold], chosen)


def test_a_folds_own_labels_do_not_move_its_threshold() -> None:
    truth, probabilities, patients, folds = _three_folds()
    turned = np.where(folds == 1, 1 - truth, truth)
    before = cross_fitted(truth, probabilities, patients, folds, seed=0)
    after = cross_fitted(turned, probabilities, patients, folds, seed=0)
    np.testing.assert_array_equal(before[folds == 1], after[folds == 1])
    assert (before[folds != 1] != after[folds != 1]).all()


def _three_folds() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.str_], NDArray[np.int64]]:
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 2, 90).astype(float)
    patients = np.arange(90).astype(str)
    return truth, expit(generator.normal(size=90) + 2 * truth - 1), patients, np.arange(90) % 3


# Positives at logits 1, 4, 5, 6, 7 and negatives at -4, -3, -2, 2, 3, of one patient: every resample is the sample.
# `balanced` lies between 3 and 4, where four of five are found without a false alarm.
TRUTH = [1, 1, 1, 1, 1, 0, 0, 0, 0, 0]
PROBABILITIES = expit(np.array([1.0, 4, 5, 6, 7, -4, -3, -2, 2, 3]))


def test_high_sensitivity_is_the_middle_of_the_best_specificity_that_reaches_it() -> None:
    point = at_sensitivity("any", "high_sensitivity", 0.9, TRUTH, PROBABILITIES, ["a"] * 10, seed=0)
    # All five are found from logit 1 down, and down to -2 no further negative is called: the middle is -.5.
    assert point.threshold == pytest.approx(expit(-0.5))
    assert (point.name, point.target, point.sensitivity, point.specificity) == ("high_sensitivity", 0.9, 1, 0.6)
    alone = at_sensitivity("any", "high_sensitivity", 0.9, TRUTH, PROBABILITIES, [""] * 10, seed=0)
    assert (alone.specificity_low, alone.specificity_high) == wilson_interval(round(5 * (alone.specificity or 0)), 5)
    assert at_sensitivity("any", "", 0.8, TRUTH, PROBABILITIES, ["a"] * 10, 0).threshold == pytest.approx(expit(3.5))


def test_high_specificity_is_the_middle_of_the_best_sensitivity_that_reaches_it() -> None:
    turned = 1 - np.array(TRUTH)
    point = at_specificity("any", "high_specificity", 0.9, turned, 1 - PROBABILITIES, ["a"] * 10, seed=0)
    assert point.threshold == pytest.approx(expit(0.5))
    assert (point.name, point.target, point.sensitivity, point.specificity) == ("high_specificity", 0.9, 0.6, 1)


def test_a_target_below_what_balanced_has_asks_for_no_less() -> None:
    for target in (0.2, 0.4, 0.6, 0.8):
        for choose in (at_sensitivity, at_specificity):
            point = choose("any", "", target, TRUTH, PROBABILITIES, ["a"] * 10, seed=0)
            assert point.threshold == pytest.approx(expit(3.5))


def test_a_target_that_only_calling_all_alike_reaches_is_reached_just_beyond_all() -> None:
    turned = 1 - np.array(TRUTH)
    found = at_sensitivity("any", "high_sensitivity", 0.9, turned, PROBABILITIES, ["a"] * 10, seed=0)
    assert found.sensitivity == 1
    assert found.threshold == pytest.approx(expit(-4.05))
    cleared = at_specificity("any", "high_specificity", 0.9, turned, PROBABILITIES, ["a"] * 10, seed=0)
    assert cleared.specificity == 1
    assert cleared.threshold == pytest.approx(expit(7.05))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("target", [0.9, 0.95, 0.99])
def test_a_target_is_reached_on_the_images_that_it_was_chosen_on(target: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 2, 80).astype(float)
    probabilities, patients = expit(generator.normal(size=80) + 2 * truth - 1), (np.arange(80) // 2).astype(str)
    high = at_sensitivity("any", "high_sensitivity", target, truth, probabilities, patients, seed)
    low = at_specificity("any", "high_specificity", target, truth, probabilities, patients, seed)
    middle = balanced("any", truth, probabilities, patients, seed)
    assert high.sensitivity is not None
    assert high.sensitivity >= target
    assert low.specificity is not None
    assert low.specificity >= target
    assert high.threshold <= middle.threshold <= low.threshold


def test_a_point_of_any_name_can_be_chosen_out_of_fold() -> None:
    truth, probabilities, patients, folds = _three_folds()
    thresholds = cross_fitted(truth, probabilities, patients, folds, 0, "high_sensitivity", 0.95)
    others = folds != 1
    chosen = at_sensitivity("", "high_sensitivity", 0.95, truth[others], probabilities[others], patients[others], 0)
    np.testing.assert_array_equal(thresholds[folds == 1], chosen.threshold)


def test_points_that_need_both_classes_fall_back_without_them() -> None:
    for point in (
        at_sensitivity("any", "high_sensitivity", 0.9, [1, 1], [0.2, 0.8], ["a", "b"], seed=0),
        at_specificity("any", "high_specificity", 0.9, [1, 1], [0.2, 0.8], ["a", "b"], seed=0),
    ):
        assert (point.threshold, point.fallback) == (0.5, True)
