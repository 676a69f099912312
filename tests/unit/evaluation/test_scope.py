"""Scope: images of the right kind are turned away as rarely as is said, others nearly always."""

import numpy as np
import pytest

from secondread.evaluation.scope import Scope, learn_scope

NUMBERS = 43
NO_FOLDS = -1


def looks(rows: int, seed: int, away: float = 0.0) -> "np.ndarray[tuple[int, ...], np.dtype[np.float64]]":
    """Normal numbers with a common part, shifted up and down in turn by so many standard deviations."""
    random = np.random.default_rng(seed)
    return random.normal(size=(rows, NUMBERS)) + random.normal(size=(rows, 1)) + away * (-1) ** np.arange(NUMBERS)


def learned(patients: int, images: int = 4, training: int = 1000) -> Scope:
    """Learn from images of other patients than it is measured on: three times as many."""
    rows = looks(training + patients * images, seed=1)
    owner = [f"t{n % (3 * patients)}" for n in range(training)] + [f"v{n // images}" for n in range(patients * images)]
    scope = learn_scope(rows, owner, np.arange(len(rows)) < training, np.full(len(rows), NO_FOLDS))
    assert scope is not None
    return scope


def test_two_in_a_hundred_are_turned_away_where_there_are_many_patients() -> None:
    scope = learned(patients=400)
    assert (scope.images, scope.patients) == (1600, 400)
    assert scope.false_alarms == pytest.approx(0.02, abs=0.001)
    assert scope.false_alarms_low < 0.02 < scope.false_alarms_high < 0.04
    assert (~scope.holds(looks(20_000, seed=2))).mean() == pytest.approx(0.02, abs=0.008)


def test_few_patients_make_it_lenient_and_the_interval_wide() -> None:
    scope = learned(patients=10)
    assert (scope.images, scope.patients) == (1040, 40)  # those of train too, in folds
    assert scope.farthest > learned(patients=400).farthest
    assert scope.false_alarms_high > 0.05
    assert (~scope.holds(looks(20_000, seed=2))).mean() < 0.01


def test_one_odd_patient_among_few_does_not_let_everything_pass() -> None:
    rows = looks(1040, seed=1)
    rows[1000:1004] += 30 * (-1) ** np.arange(NUMBERS)
    owner = [f"t{n % 30}" for n in range(1000)] + [f"v{n // 4}" for n in range(40)]
    scope = learn_scope(rows, owner, np.arange(1040) < 1000, np.full(1040, NO_FOLDS))
    assert scope is not None
    assert not scope.holds(looks(200, seed=3, away=8)).any()


def test_what_looks_otherwise_is_turned_away() -> None:
    for scope in (learned(patients=400), learned(patients=10)):
        assert not scope.holds(looks(200, seed=3, away=8)).any()
        assert scope.holds(np.zeros((1, NUMBERS))).all()


def test_a_patient_of_many_images_counts_once() -> None:
    training, few, many = looks(1000, seed=1), looks(200, seed=4), looks(2000, seed=5, away=3)
    rows = np.concatenate([training, few, many])
    owner = [f"{n}" for n in range(1200)] + ["one"] * 2000
    scope = learn_scope(rows, owner, np.arange(len(rows)) < 1000, np.full(len(rows), NO_FOLDS))
    assert scope is not None
    assert (scope.images, scope.patients) == (2200, 201)
    assert scope.false_alarms < 0.03
    assert not scope.holds(many).any()


def test_with_folds_each_is_measured_by_the_others() -> None:
    rows = looks(600, seed=1)
    rows[:120] += 50  # one fold is of another kind
    folds = np.arange(600) // 120
    scope = learn_scope(rows, np.arange(600).astype(str), np.full(600, True), folds)
    assert scope is not None
    assert (scope.images, scope.patients) == (600, 600)
    without = learn_scope(looks(600, seed=1), np.arange(600).astype(str), np.full(600, True), folds)
    assert without is not None
    assert scope.farthest > without.farthest + 1  # in sample, the odd fold would have looked like the rest


def test_it_comes_back_from_its_file_to_the_last_bit() -> None:
    scope = learned(patients=10)
    again = Scope.model_validate_json(scope.model_dump_json())
    rows = looks(500, seed=6, away=1)
    assert again == scope
    np.testing.assert_array_equal(again.holds(rows), scope.holds(rows))
    assert len(scope.model_dump_json()) < 40_000


def test_equal_images_make_equal_scopes() -> None:
    assert learned(patients=30) == learned(patients=30)


def test_one_patient_cannot_say_how_far_others_lie() -> None:
    rows = looks(100, seed=1)
    assert learn_scope(rows, ["a"] * 100, np.arange(100) < 90, np.full(100, NO_FOLDS)) is None


def test_images_that_are_all_alike_are_no_error() -> None:
    rows = np.zeros((100, NUMBERS))
    scope = learn_scope(rows, np.arange(100).astype(str), np.arange(100) < 90, np.full(100, NO_FOLDS))
    assert scope is not None
    assert scope.holds(rows).all()
    assert not scope.holds(rows + 5).any()
