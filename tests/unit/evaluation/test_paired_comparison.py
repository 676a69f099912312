"""Paired tests against slow ones, by patient, under simulation, and where there is nothing to tell."""

from collections.abc import Sequence
from functools import cache
from itertools import product

import numpy as np
import pandas as pd
import pytest
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit

from secondread.evaluation.comparison import Difference, Measure, Paired, compare, pair, spent_alpha
from secondread.evaluation.intervals import auroc_variance
from secondread.evaluation.metrics import log_losses

MEASURES: tuple[Measure, ...] = ("auroc", "sensitivity", "specificity", "accuracy", "log_loss")
Z = 1.6448536269514722  # the standard normal's 95% quantile


def _paired(
    truth: ArrayLike, champion: ArrayLike, challenger: ArrayLike, patients: Sequence[str] | None = None
) -> Paired:
    """Two models that decide at .5; every row is a patient unless said otherwise."""
    before, after = np.asarray(champion, np.float64), np.asarray(challenger, np.float64)
    keys = patients if patients is not None else [str(row) for row in range(len(before))]
    return Paired(np.asarray(truth, np.float64), before, after, before >= 0.5, after >= 0.5, np.array(keys, object))


def _two_nets(seed: int, images: int, better: float = 0.0) -> Paired:
    """Scores normal in each class, 1.6 apart, the challenger's `better` more; correlated .7 between the models."""
    generator = np.random.default_rng(seed)
    truth = np.arange(images) % 2.0
    noise = generator.multivariate_normal([0, 0], [[1, 0.7], [0.7, 1]], size=images)
    champion = expit(noise[:, 0] + 1.6 * (truth - 0.5))
    return _paired(truth, champion, expit(noise[:, 1] + (1.6 + better) * (truth - 0.5)))


@cache
def _clustered(seed: int, patients: int, slices: int = 30) -> Paired:
    """Equally good models; of the patients that bleed a run of slices is ill, and a patient's slices are alike."""
    generator = np.random.default_rng(seed)
    truth = np.zeros((patients, slices))
    for patient in range(patients * 2 // 5):
        length = generator.integers(3, 16)
        start = generator.integers(slices - length)
        truth[patient, start : start + length] = 1

    def noise() -> NDArray[np.float64]:
        own = generator.normal(0, np.sqrt(0.3), (patients, 1))
        return own + generator.normal(0, np.sqrt(0.7), truth.shape)

    shared = noise()
    scores = [np.sqrt(0.7) * shared + np.sqrt(0.3) * noise() + 1.6 * (truth - 0.5) for _ in range(2)]
    keys = [f"p{patient}" for patient in range(patients) for _ in range(slices)]
    return _paired(truth.ravel(), expit(scores[0]).ravel(), expit(scores[1]).ravel(), keys)


def _slow_delong_covariance(truth: NDArray[np.float64], scores: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """DeLong's covariance of AUROCs from every pair of images, as the paper writes it."""
    ill, well = np.flatnonzero(truth == 1), np.flatnonzero(truth == 0)
    wins = np.zeros((len(scores), len(ill), len(well)))
    for model, (i, one), (j, other) in product(range(len(scores)), enumerate(ill), enumerate(well)):
        score = scores[model]
        wins[model, i, j] = 1.0 if score[one] > score[other] else 0.5 if score[one] == score[other] else 0.0
    return np.cov(wins.mean(axis=2)) / len(ill) + np.cov(wins.mean(axis=1)) / len(well)


def test_auroc_is_compared_by_delongs_test_as_written_over_all_pairs() -> None:
    paired = _two_nets(seed=0, images=80, better=0.4)
    coarse = _paired(paired.truth, paired.champion.round(1), paired.challenger.round(1))  # with ties
    for one in (paired, coarse):
        covariance = _slow_delong_covariance(one.truth, [one.champion, one.challenger])
        error = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
        found = compare("auroc", one, alpha=0.05, seed=0)
        assert found.standard_error == pytest.approx(error)
        assert found.low == pytest.approx(found.difference - Z * error)
        assert found.high == pytest.approx(found.difference + Z * error)
        assert found.test == "paired DeLong"


def test_against_a_champion_that_knows_nothing_the_error_is_the_challengers_own() -> None:
    paired = _two_nets(seed=1, images=200)
    found = compare("auroc", _paired(paired.truth, np.full(200, 0.3), paired.challenger), 0.05, seed=0)
    value, variance = auroc_variance(paired.truth, paired.challenger)
    assert (found.champion, found.challenger) == (0.5, value)
    assert found.standard_error == pytest.approx(np.sqrt(variance))


def test_a_patient_whose_images_are_copied_counts_once() -> None:
    once = _two_nets(seed=2, images=60)
    thrice = _paired(
        np.repeat(once.truth, 3),
        np.repeat(once.champion, 3),
        np.repeat(once.challenger, 3),
        [*np.repeat(once.patients, 3)],
    )
    for measure in MEASURES:
        single, copied = compare(measure, once, 0.05, seed=0), compare(measure, thrice, 0.05, seed=0)
        assert copied.difference == pytest.approx(single.difference)
        assert copied.standard_error == pytest.approx(single.standard_error, rel=0.02)
        assert copied.test == f"{single.test}, by patient"
        assert copied.high - copied.low > single.high - single.low  # Student's quantile is wider


def test_a_patient_with_images_of_both_classes_correlates_them() -> None:
    # The champion's only half win is the tie at .5, so a's two images gain 3/4 each and b's gain 1: an eighth around
    # the mean, over two images a class. Sums of products are 2 / 16^2, times 2 / (2 - 1) = 1 / 64; four of them add up.
    paired = _paired([1, 0, 1, 0], [0.5, 0.5, 0.2, 0.8], [0.9, 0.1, 0.8, 0.1], ["a", "a", "b", "b"])
    found = compare("auroc", paired, 0.05, seed=0)
    assert (found.champion, found.challenger, found.difference) == (1 / 8, 1, 7 / 8)
    assert found.standard_error == pytest.approx(np.sqrt(4 / 64))


@pytest.mark.parametrize(("gained", "lost", "rows"), [(9, 3, 40), (0, 5, 30), (4, 0, 12), (1, 0, 44), (0, 0, 25)])
def test_decisions_are_compared_by_the_score_interval_of_a_slow_maximum_likelihood(
    gained: int, lost: int, rows: int
) -> None:
    champion = np.repeat([0.1, 0.9, 0.9], [gained, lost, rows - gained - lost])
    challenger = np.repeat([0.9, 0.1, 0.9], [gained, lost, rows - gained - lost])
    found = compare("sensitivity", _paired(np.ones(rows), champion, challenger), 0.05, seed=0)
    assert found.difference == pytest.approx((gained - lost) / rows)

    def score(difference: float) -> float:
        """How many standard errors the data lie from a difference, at its likeliest nuisance parameter."""

        def unlikelihood(share: float) -> float:
            shares = np.array([share + difference, share, 1 - 2 * share - difference])
            counts = np.array([gained, lost, rows - gained - lost])
            return -float(np.sum(np.where(counts > 0, counts * np.log(np.maximum(shares, 1e-300)), 0)))

        bounds = (max(0.0, -difference), (1 - difference) / 2)
        share = minimize_scalar(unlikelihood, bounds=bounds, method="bounded", options={"xatol": 1e-12}).x
        variance = (2 * share + difference - difference**2) / rows
        return float(((gained - lost) / rows - difference) / np.sqrt(variance))

    assert score(found.low) == pytest.approx(Z, abs=1e-3)
    assert score(found.high) == pytest.approx(-Z, abs=1e-3)


def test_the_score_interval_excludes_zero_when_mcnemars_test_says_so() -> None:
    # (b - c) / sqrt(b + c) is McNemar's statistic: 8 / sqrt(22) = 1.706 and 8 / sqrt(24) = 1.633 around 1.645.
    for gained, lost, superior in ((15, 7, True), (16, 8, False)):
        champion = np.repeat([0.1, 0.9, 0.9], [gained, lost, 100])
        challenger = np.repeat([0.9, 0.1, 0.9], [gained, lost, 100])
        paired = _paired(np.ones(100 + gained + lost), champion, challenger)
        assert compare("sensitivity", paired, 0.05, seed=0).superior() is superior


def test_each_measure_counts_its_own_rows() -> None:
    truth, champion = [1, 1, 1, 1, 0, 0, 0, 0, 0], [0.9, 0.1, 0.1, 0.9, 0.9, 0.9, 0.1, 0.1, 0.1]
    challenger = [0.9, 0.9, 0.9, 0.1, 0.1, 0.9, 0.1, 0.1, 0.9]
    paired = _paired(truth, champion, challenger)
    found = {measure: compare(measure, paired, 0.05, seed=0) for measure in MEASURES}
    assert (found["sensitivity"].champion, found["sensitivity"].challenger) == (2 / 4, 3 / 4)
    assert (found["specificity"].champion, found["specificity"].challenger) == (3 / 5, 3 / 5)
    assert (found["accuracy"].champion, found["accuracy"].challenger) == (5 / 9, 6 / 9)
    assert found["specificity"].difference == 0
    loss = found["log_loss"]
    assert loss.champion == pytest.approx(log_losses(paired.truth, paired.champion).mean())
    assert loss.difference == pytest.approx(loss.champion - loss.challenger)


def test_decisions_are_those_given_and_not_those_at_half() -> None:
    paired = pair(
        _table([1, 1, 0], [0.3, 0.1, 0.2]), _table([1, 1, 0], [0.3, 0.1, 0.2]), "any", {"any": 0.2}, {"any": 0.25}
    )
    found = compare("specificity", paired, 0.05, seed=0)
    assert (found.champion, found.challenger) == (0, 1)


def test_the_bootstraps_error_is_that_of_a_mean() -> None:
    paired = _two_nets(seed=3, images=500)
    better = log_losses(paired.truth, paired.champion) - log_losses(paired.truth, paired.challenger)
    found = compare("log_loss", paired, 0.05, seed=0)
    assert found.standard_error == pytest.approx(better.std(ddof=1) / np.sqrt(500), rel=0.08)
    assert found.low == pytest.approx(found.difference - Z * found.standard_error)
    assert found == compare("log_loss", paired, 0.05, seed=0)


@pytest.mark.parametrize("measure", MEASURES)
def test_turning_the_models_around_turns_the_difference_around(measure: Measure) -> None:
    paired = _clustered(seed=4, patients=20)
    turned = Paired(
        paired.truth,
        paired.challenger,
        paired.champion,
        paired.challenger_positive,
        paired.champion_positive,
        paired.patients,
    )
    there, back = compare(measure, paired, 0.05, seed=0), compare(measure, turned, 0.05, seed=0)
    np.testing.assert_allclose([back.low, back.high], [-there.high, -there.low])


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("patients", [None, ["a", "a", "b", "b", "c", "c"]], ids=["an image each", "two images each"])
def test_equal_models_do_not_differ_and_neither_displaces_the_other(
    measure: Measure, patients: Sequence[str] | None
) -> None:
    separated = _paired([1, 0] * 3, [0.9, 0.1] * 3, [0.9, 0.1] * 3, patients)
    for paired in (separated, _paired([1, 0] * 3, [0.5] * 6, [0.5] * 6, patients)):
        found = compare(measure, paired, 0.05, seed=0)
        assert found.difference == 0
        assert found.low <= 0 <= found.high
        assert not found.superior()
        assert found.non_inferior(0.8)
        assert np.isfinite([found.low, found.high, found.standard_error]).all()


def test_equal_decisions_of_many_images_are_surely_no_worse() -> None:
    # Nothing changed in 400 rows: the score interval ends at z^2 / (n + z^2) = 2.706 / 402.7 = .0067.
    found = compare("sensitivity", _paired(np.ones(400), np.full(400, 0.9), np.full(400, 0.8)), 0.05, seed=0)
    np.testing.assert_allclose([found.low, found.high], [-0.006718, 0.006718], atol=1e-5)


@pytest.mark.parametrize(("images", "superior"), [(4, False), (40, True)])
def test_a_perfect_challenger_of_a_blind_champion_needs_more_than_two_images_of_a_class(
    images: int, superior: bool
) -> None:
    # Every row gains one half, so nothing varies; of m rows a class the error is taken as 2 x 1/2 / (m + 1).
    paired = _paired([1, 0] * (images // 2), [0.5] * images, [0.9, 0.1] * (images // 2))
    found = compare("auroc", paired, 0.05, seed=0)
    assert found.standard_error == pytest.approx(1 / (images // 2 + 1))
    assert found.superior() is superior


@pytest.mark.parametrize("measure", MEASURES)
def test_of_a_single_patient_nothing_is_claimed(measure: Measure) -> None:
    found = compare(measure, _paired([1, 0, 1, 0], [0.1, 0.9] * 2, [0.9, 0.1] * 2, ["a"] * 4), 0.05, seed=0)
    assert found.difference > 0
    assert not found.superior()
    assert np.isfinite([found.low, found.high, found.standard_error]).all()


@pytest.mark.parametrize(
    ("measure", "truth"), [("auroc", 1), ("auroc", 0), ("sensitivity", 0), ("specificity", 1)], ids=str
)
def test_a_class_that_is_missing_is_named(measure: Measure, truth: float) -> None:
    with pytest.raises(ValueError, match="needs"):
        compare(measure, _paired([truth] * 3, [0.1, 0.2, 0.3], [0.1, 0.2, 0.3]), 0.05, seed=0)


def test_superior_is_above_zero_and_non_inferior_above_the_margin() -> None:
    found = Difference("auroc", 0.8, 0.81, 0.01, -0.01, 0.03, 0.9, "paired DeLong", 0.012)
    assert not found.superior()
    assert (found.non_inferior(0.011), found.non_inferior(0.01)) == (True, False)


def test_challenges_of_one_champion_cost_alpha_together() -> None:
    spent = [spent_alpha(0.05, met) for met in range(10_000)]
    assert spent[:2] == [pytest.approx(0.05 * 6 / np.pi**2), pytest.approx(0.05 * 6 / (4 * np.pi**2))]
    assert 0.0499 < sum(spent) < 0.05


def test_a_spent_alpha_asks_for_a_wider_interval() -> None:
    paired = _clustered(seed=5, patients=12)
    for measure in MEASURES:
        lows = [compare(measure, paired, spent_alpha(0.05, met), seed=0).low for met in (0, 1, 20)]
        assert sorted(lows, reverse=True) == lows
        assert len(set(lows)) == 3


def _table(truth: ArrayLike, probabilities: ArrayLike, keys: str = "abcdefgh", by: str = "image_key") -> pd.DataFrame:
    values = np.asarray(probabilities, np.float64)
    columns = {by: list(keys[: len(values)]), "patient_key": [f"p{key}" for key in keys[: len(values)]]}
    return pd.DataFrame(columns | {"label_any": np.asarray(truth, np.float64), "probability_any": values})


@pytest.mark.parametrize("key", ["image_key", "study_key"])
def test_rows_are_paired_by_key_whatever_their_order(key: str) -> None:
    champion = _table([1, 0, np.nan, 1], [0.9, 0.2, 0.5, 0.6], "abcd", key)
    challenger = _table([1, 1, np.nan, 0], [0.7, 0.8, 0.1, 0.3], "dacb", key)[::-1]
    paired = pair(champion, challenger, "any", {"any": 0.6}, {"any": 0.75}, key=key)
    np.testing.assert_array_equal(paired.truth, [1, 0, 1])
    np.testing.assert_array_equal(paired.champion, [0.9, 0.2, 0.6])
    np.testing.assert_array_equal(paired.challenger, [0.8, 0.3, 0.7])
    np.testing.assert_array_equal(paired.champion_positive, [True, False, True])
    np.testing.assert_array_equal(paired.challenger_positive, [True, False, False])
    assert list(paired.patients) == ["pa", "pb", "pd"]


def test_rows_that_only_one_model_answered_are_left_out() -> None:
    paired = pair(_table([1, 0], [0.9, 0.2], "ab"), _table([0, 1], [0.3, 0.4], "bc"), "any", {"any": 0.5}, {"any": 0.5})
    assert list(paired.patients) == ["pb"]


def test_equal_files_are_paired_as_often_as_both_answered_them() -> None:
    twice = _table([1, 1, 0], [0.9, 0.9, 0.2], "aab")
    assert len(pair(twice, twice, "any", {"any": 0.5}, {"any": 0.5}).truth) == 3


def test_thresholds_of_each_row_go_with_their_row() -> None:
    champion = _table([1, 0, np.nan], [0.5, 0.5, 0.5], "abc")
    challenger = _table([np.nan, 0, 1], [0.5, 0.5, 0.5], "cba")
    own, other = np.array([0.4, 0.6, 0.5]), np.array([0.5, 0.4, 0.6])
    paired = pair(champion, challenger, "any", {"any": own}, {"any": other})
    np.testing.assert_array_equal(paired.champion_positive, [True, False])
    np.testing.assert_array_equal(paired.challenger_positive, [False, True])


@pytest.mark.parametrize("measure", ["auroc", "sensitivity", "specificity", "accuracy"])
def test_by_patient_an_interval_of_equal_models_holds_zero_as_often_as_it_says(measure: Measure) -> None:
    """Of 300 intervals of 90% some 270 hold 0; fewer than 253 would happen once in 1,000 times."""
    found = [compare(measure, _clustered(seed, patients=20), 0.05, seed=0) for seed in range(300)]
    assert sum(one.low <= 0 <= one.high for one in found) >= 253


def test_counting_images_as_patients_would_claim_too_much() -> None:
    """What the test above would find if it did not look at patients: a patient's slices are alike."""
    found = []
    for seed in range(300):
        paired = _clustered(seed, patients=20)
        alone = _paired(paired.truth, paired.champion, paired.challenger)
        found.append(compare("specificity", alone, 0.05, seed=0))
    assert sum(one.low <= 0 <= one.high for one in found) < 253


@pytest.mark.slow
@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("patients", [12, 40])
def test_by_patient_bounds_hold_at_each_side(measure: Measure, patients: int) -> None:
    """Of 1,000 bounds of error 5% more than 73 would be passed once in 1,000 times."""
    found = [compare(measure, _clustered(seed, patients), 0.05, seed=0) for seed in range(1000)]
    assert sum(one.low > 0 for one in found) <= 73
    assert sum(one.high < 0 for one in found) <= 73
