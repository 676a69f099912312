"""Counts and proportions by hand."""

import numpy as np
import pytest

from secondread.evaluation.confusion import Confusion
from secondread.evaluation.intervals import wilson_interval


def counted(found: int, alarms: int, missed: int, quiet: int) -> Confusion:
    """So many true positives, false positives, false negatives and true negatives, each of a patient of its own."""
    counts = [found, alarms, missed, quiet]
    return Confusion.count(np.repeat([1, 0, 1, 0], counts), np.repeat([True, True, False, False], counts))


def test_decisions_are_counted_where_the_label_is_known() -> None:
    known = Confusion.count([1, 1, 1, 0, 0, np.nan], [True, True, False, True, False, True])
    assert known == Confusion(2, 1, 1, 1)
    assert (known.positives, known.negatives) == (3, 2)


def test_proportions_and_their_wilson_intervals() -> None:
    found = counted(8, 4, 2, 6).estimates()
    assert found["sensitivity"] == (0.8, *wilson_interval(8, 10))
    assert found["specificity"] == (0.6, *wilson_interval(6, 10))
    assert found["precision"] == (8 / 12, *wilson_interval(8, 12))
    assert found["accuracy"] == (0.7, *wilson_interval(14, 20))


def test_the_interval_of_f1_is_that_of_the_overlap() -> None:
    value, low, high = counted(8, 4, 2, 6).estimates()["f1"]
    assert value == pytest.approx(2 * 8 / (2 * 8 + 4 + 2))
    overlap = wilson_interval(8, 14)
    assert (low / (2 - low), high / (2 - high)) == pytest.approx(overlap)


def test_f1_intervals_cover_the_truth_in_about_95_of_100_samples() -> None:
    generator = np.random.default_rng(0)
    shares = np.array([0.3, 0.08, 0.1, 0.52])
    expected = 0.6 / (0.6 + 0.08 + 0.1)
    covered = 0
    for counts in generator.multinomial(150, shares, size=1000):
        _, low, high = counted(*counts).estimates()["f1"]
        covered += low <= expected <= high
    assert 0.93 <= covered / 1000 <= 0.97


def test_what_the_images_leave_undefined_is_left_out() -> None:
    assert set(counted(0, 0, 0, 5).estimates()) == {"specificity", "accuracy"}
    assert counted(0, 0, 0, 0).estimates() == {}


def test_swapping_looks_for_the_absence() -> None:
    given, swapped = counted(1, 2, 3, 4), counted(1, 2, 3, 4).swapped
    assert swapped == Confusion(4, 3, 2, 1)
    assert swapped.estimates() == counted(4, 3, 2, 1).estimates()
    assert swapped.swapped.estimates() == given.estimates()


def test_copies_of_a_patients_image_tell_no_more_than_one() -> None:
    truth, positive = np.repeat([1, 1, 1, 1, 0, 0], 10), np.repeat([True, True, True, False, False, True], 10)
    patients = np.repeat(list("abcdef"), 10)
    found = Confusion.count(truth, positive, patients).estimates()
    value, low, high = found["sensitivity"]
    assert value == 0.75
    # The variance of four patients (4 / 3 makes it unbiased) against that of 40 images (40 / 39): 40 / 13 trials; and
    # Student's quantile with 3 degrees of freedom is 3.182.
    trials = 40 / 13 * (1.959964 / 3.182446) ** 2
    assert (low, high) == pytest.approx(tuple(wilson_interval(0.75 * trials, trials)), rel=1e-5)
    assert found["sensitivity"].high - low > 0.5 > np.ptp(Confusion.count(truth, positive).estimates()["sensitivity"])


def test_intervals_by_patient_cover_the_truth_where_slices_of_a_patient_are_alike() -> None:
    generator = np.random.default_rng(0)
    patients = np.repeat(np.arange(40), 20).astype(str)
    covered = []
    for _ in range(500):
        right = generator.random(800) < np.repeat(generator.beta(4, 1, 40), 20)  # .8 on average
        by_patient = Confusion.count(np.ones(800), right, patients).estimates()["sensitivity"]
        alone = Confusion.count(np.ones(800), right).estimates()["sensitivity"]
        covered.append([found.low <= 0.8 <= found.high for found in (by_patient, alone)])
    with_patients, without = np.mean(covered, axis=0)
    assert 0.925 <= with_patients <= 0.985
    assert without < 0.8
