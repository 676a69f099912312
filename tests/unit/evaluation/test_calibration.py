"""Which map makes probabilities mean what they say; bins of equal size and the calibration error by hand."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy.special import expit, logit

from secondread.evaluation.calibration import (
    Calibration,
    calibration_error,
    calibration_gaps,
    choose_calibration,
    cross_calibrated,
    quantile_bins,
)

FloatArray = NDArray[np.float64]


def drawn(slope: float, intercept: float, images: int = 3000, seed: int = 0) -> tuple[FloatArray, FloatArray]:
    """Truth and probabilities of a network whose logits z should have been `slope` z + `intercept`."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=images) * 4
    return (generator.random(images) < expit(slope * logits + intercept)).astype(float), expit(logits)


def patients(images: int) -> NDArray[np.str_]:
    return np.arange(images).astype(str)


def test_probabilities_that_mean_what_they_say_are_left_as_they_are() -> None:
    truth, probabilities = drawn(1, 0)
    found = choose_calibration(truth, probabilities, patients(3000), seed=0)
    assert found.method == "none"
    assert list(found.log_losses) == ["none", "temperature", "platt", "isotonic"]
    np.testing.assert_array_equal(found.apply(probabilities), probabilities)


def test_the_temperature_of_an_overconfident_network_is_recovered() -> None:
    truth, probabilities = drawn(0.4, 0)
    found = choose_calibration(truth, probabilities, patients(3000), seed=0)
    assert found.method == "temperature"
    assert found.slope == pytest.approx(0.4, abs=0.02)
    assert found.log_losses["temperature"] < found.log_losses["none"]


def test_the_slope_and_intercept_of_a_shifted_network_are_recovered() -> None:
    truth, probabilities = drawn(0.5, -1.5)
    found = choose_calibration(truth, probabilities, patients(3000), seed=0)
    assert found.method == "platt"
    assert found.slope == pytest.approx(0.5, abs=0.03)
    assert found.intercept == pytest.approx(-1.5, abs=0.15)


def test_a_bend_that_no_line_follows_takes_isotonic() -> None:
    generator = np.random.default_rng(0)
    probabilities = generator.random(4000)
    meant = np.where(probabilities < 0.5, 0.1, np.where(probabilities < 0.9, 0.5, 0.6))
    truth = (generator.random(4000) < meant).astype(float)
    found = choose_calibration(truth, probabilities, patients(4000), seed=0)
    assert found.method == "isotonic"
    assert found.apply([0.25, 0.7, 0.95]) == pytest.approx([0.1, 0.5, 0.6], abs=0.06)


def test_isotonic_by_hand_is_linear_between_the_centers_of_flat_stretches() -> None:
    found = Calibration(method="isotonic", knots=(-2, 0, 2), values=(0.1, 0.5, 0.6))
    logits = np.array([-2, -1, 0, 1, 2])
    assert found.apply(expit(logits)) == pytest.approx([0.1, 0.3, 0.5, 0.55, 0.6])


def test_isotonic_ties_no_two_images_beyond_its_knots() -> None:
    found = Calibration(method="isotonic", knots=(-2, 2), values=(0.1, 0.6))
    low, lower, high, higher = found.apply(expit(np.array([-3, -12, 3, 12])))
    assert lower < low < 0.1 < 0.6 < high < higher
    assert [logit(0.1) - logit(lower), logit(higher) - logit(0.6)] == pytest.approx([0.1, 0.1])


@pytest.mark.parametrize("seed", range(4))
def test_every_calibration_rises_and_isotonic_never_answers_0_or_1(seed: int) -> None:
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 2, 60).astype(float)
    probabilities = expit(generator.normal(size=60) * 9 * (seed - 1.5))
    asked = np.sort(np.concatenate([probabilities, [0, 1e-300, 0.5, 1]]))
    for others in (truth, 1 - truth, (probabilities > 0.5).astype(float)):
        found = choose_calibration(others, probabilities, patients(60), seed)
        answers = found.apply(asked)
        assert (np.diff(answers) >= 0).all()
        assert found.method != "isotonic" or (answers.min() > 0 and answers.max() < 1)


def test_a_separable_val_gives_a_finite_slope() -> None:
    truth = np.repeat([0.0, 1.0], 50)
    timid = np.repeat([0.45, 0.55], 50)  # always right and never sure
    found = choose_calibration(truth, timid, patients(100), seed=0)
    # Platt's targets are 1/52 and 51/52, so that is what is answered.
    assert found.apply([0.45, 0.55]) == pytest.approx([1 / 52, 51 / 52], abs=1e-3)
    assert max(abs(found.slope), abs(found.intercept), *map(abs, found.knots)) < 100


def test_saturated_probabilities_are_calibrated_too() -> None:
    truth = np.tile([0.0, 0, 0, 1, 1, 1, 1, 0], 25)
    found = choose_calibration(truth, np.tile([0.0, 0, 0, 0, 1, 1, 1, 1], 25), patients(200), seed=0)
    assert found.method == "temperature"
    assert found.apply([0.0, 1.0]) == pytest.approx([0.25, 0.75], abs=0.01)


@pytest.mark.parametrize(
    "truth", [[1.0] * 30, [0.0] * 30, [np.nan] * 30, [1.0, 1.0] + [0.0] * 28], ids=["all", "no", "unknown", "two"]
)
def test_one_class_or_too_few_patients_of_a_class_teach_nothing(truth: list[float]) -> None:
    found = choose_calibration(truth, np.linspace(0.9, 1, 30), patients(30), seed=0)
    assert found == Calibration(method="none")


def test_unknown_truth_teaches_nothing() -> None:
    truth, probabilities = drawn(0.4, 0, 300)
    more = np.concatenate([truth, [np.nan] * 200])
    strange = np.concatenate([probabilities, np.linspace(0, 1, 200)])
    keys = patients(500)
    assert choose_calibration(more, strange, keys, 0) == choose_calibration(truth, probabilities, keys[:300], 0)


def test_an_order_that_is_turned_around_is_never_followed() -> None:
    truth, probabilities = drawn(-0.5, 0, 1000)
    found = choose_calibration(truth, probabilities, patients(1000), seed=0)
    assert found.slope > 0
    assert (np.diff(found.apply(np.linspace(0, 1, 11))) >= 0).all()


def test_patients_are_kept_whole() -> None:
    # Each patient has one odd stretch of logits of his own, ten images alike: known patients would be told apart by
    # isotonic regression, new ones cannot be.
    generator = np.random.default_rng(0)
    keys = np.repeat(np.arange(60), 10)
    logits = (generator.permutation(60) / 10 - 3)[keys] + generator.normal(size=600) / 1000
    truth = generator.integers(0, 2, 60).astype(float)[keys]
    whole = choose_calibration(truth, expit(logits), keys.astype(str), seed=0)
    parted = choose_calibration(truth, expit(logits), patients(600), seed=0)
    assert parted.log_losses["isotonic"] < whole.log_losses["isotonic"]
    assert whole.method != "isotonic"


def test_equal_seeds_choose_equally() -> None:
    truth, probabilities = drawn(0.5, -1, 200)
    chosen = [choose_calibration(truth, probabilities, patients(200), seed=3) for _ in range(2)]
    assert chosen[0] == chosen[1]


def test_a_folds_calibration_is_learned_from_the_other_folds() -> None:
    truth, probabilities = drawn(0.4, 0, 600)
    folds, keys = np.arange(600) % 3, patients(600)
    answers = cross_calibrated(truth, probabilities, keys, folds, seed=0)
    for fold in range(3):
        others = folds != fold
        learned = choose_calibration(truth[others], probabilities[others], keys[others], seed=0)
        np.testing.assert_array_equal(answers[~others], learned.apply(probabilities[~others]))
    turned = cross_calibrated(np.where(folds == 1, 1 - truth, truth), probabilities, keys, folds, seed=0)
    np.testing.assert_array_equal(answers[folds == 1], turned[folds == 1])


def test_a_calibration_survives_its_json_to_the_last_bit() -> None:
    truth, probabilities = drawn(0.4, 0.3, 200)
    found = choose_calibration(truth, probabilities, patients(200), seed=0)
    again = Calibration.model_validate_json(found.model_dump_json())
    assert again == found
    np.testing.assert_array_equal(again.apply(probabilities), found.apply(probabilities))


def test_temperature_and_platt_by_hand() -> None:
    assert Calibration(method="temperature", slope=0.5).apply([0.5, 0.9]) == pytest.approx([0.5, expit(logit(0.9) / 2)])
    assert float(Calibration(method="platt", slope=2, intercept=1).apply(expit(3.0))) == pytest.approx(expit(7))


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": "platt", "slope": -1},
        {"method": "temperature", "slope": 0},
        {"method": "isotonic"},
        {"method": "none", "knots": (0, 1), "values": (0.1, 0.2)},
        {"method": "isotonic", "knots": (0, 1), "values": (0.1,)},
        {"method": "isotonic", "knots": (1, 0), "values": (0.1, 0.2)},
        {"method": "isotonic", "knots": (0, 1), "values": (0.2, 0.1)},
        {"method": "isotonic", "knots": (0, 1), "values": (0.2, 1)},
        {"method": "none", "more": 1},
    ],
)
def test_what_is_no_rising_map_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Calibration.model_validate(wrong)


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
