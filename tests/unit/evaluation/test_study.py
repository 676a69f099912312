"""One answer per study: pooled by hand, calibrated to be finite, better than the bare maximum, and fast."""

import time

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy.special import expit

from secondread.evaluation.metrics import log_losses
from secondread.evaluation.study import (
    BARE_MAXIMUM,
    StudyRule,
    choose_study_rule,
    cross_fitted_studies,
    study_table,
)

LOGITS = np.array([0.0, 4.0, -2.0, 1.0, 2.0])
UNKNOWN = np.full(5, np.nan)


def _slices(studies: list[str], **columns: object) -> pd.DataFrame:
    given = {"study_key": studies, "order": np.nan, "patient_key": studies, "split": "val", "fold": -1}
    return pd.DataFrame(given | columns)


def _simulated(patients: int, seed: int, slices: int = 30) -> pd.DataFrame:
    """Half the patients bleed over six neighbouring slices; single slices of anybody hold a bright artefact."""
    generator = np.random.default_rng(seed)
    truth = np.zeros((patients, slices))
    for patient in range(0, patients, 2):
        start = generator.integers(slices - 6)
        truth[patient, start : start + 6] = 1
    logits = -3 + 3 * truth + generator.normal(size=truth.shape) + generator.normal(0, 0.5, (patients, 1))
    artefacts = generator.random(truth.shape) < 0.03
    logits[artefacts] += 5
    keys = [f"p{patient}" for patient in range(patients) for _ in range(slices)]
    order = np.tile(np.arange(slices), patients)
    return _slices(keys, order=order, label_any=truth.ravel(), probability_any=expit(logits).ravel())


@pytest.mark.parametrize(
    ("rule", "pooled"),
    [
        (StudyRule(label="any", pool="highest"), 4.0),
        (StudyRule(label="any", pool="highest", slices=3), (4 + 2 + 1) / 3),
        (StudyRule(label="any", pool="highest", slices=9), 1.0),
        (StudyRule(label="any", pool="soft", sharpness=2), np.log(np.exp(2 * LOGITS).sum()) / 2),
        (StudyRule(label="any", pool="neighbours", slices=2), 2.0),
        (StudyRule(label="any", pool="neighbours", slices=9), 1.0),
    ],
    ids=lambda value: value.name if isinstance(value, StudyRule) else None,
)
def test_slices_are_pooled_in_logits(rule: StudyRule, pooled: float) -> None:
    assert rule.answer(expit(LOGITS), np.arange(5)) == pytest.approx(expit(pooled))


def test_the_pool_is_calibrated() -> None:
    rule = StudyRule(label="any", pool="highest", slope=0.5, intercept=-1)
    assert rule.answer(expit(LOGITS), UNKNOWN) == pytest.approx(expit(0.5 * 4 - 1))


def test_neighbours_are_found_by_order_and_not_by_row() -> None:
    rule = StudyRule(label="any", pool="neighbours", slices=2)
    # In order the logits are 4, 2, 1, 0, -2.
    assert rule.answer(expit(LOGITS), [3, 0, 4, 2, 1]) == pytest.approx(expit(3))


@pytest.mark.parametrize("order", [UNKNOWN, [0, 1, 2, 3, np.nan]], ids=["no place known", "one place unknown"])
def test_without_places_the_highest_stand_for_neighbours(order: NDArray[np.float64]) -> None:
    rule = StudyRule(label="any", pool="neighbours", slices=2)
    assert rule.answer(expit(LOGITS), order) == pytest.approx(expit(3))


def test_saturated_slices_give_a_finite_answer() -> None:
    rule = StudyRule(label="any", pool="highest", slices=2)
    assert rule.answer([1.0, 0.0], UNKNOWN[:2]) == pytest.approx(0.5)
    assert rule.answer([1.0, 1.0], UNKNOWN[:2]) == pytest.approx(1 - 1e-7)


def test_a_study_without_slices_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one slice"):
        StudyRule(label="any", pool="highest").answer([], [])


def test_a_rule_survives_its_json_and_refuses_nonsense() -> None:
    rule = StudyRule(label="any", pool="soft", sharpness=0.5, slope=2, intercept=-1, log_losses={"soft_0.5": 0.3})
    assert StudyRule.model_validate_json(rule.model_dump_json()) == rule
    for wrong in ({"slices": 0}, {"sharpness": 0}, {"slope": -1}, {"pool": "lowest"}, {"more": 1}):
        with pytest.raises(ValidationError):
            StudyRule.model_validate(rule.model_dump() | wrong)


def test_a_study_has_a_label_when_a_slice_has_it_and_lacks_it_when_every_slice_does() -> None:
    truth = [0, 1, np.nan, 0, np.nan, 0, 0]
    slices = _slices(["b", "b", "b", "a", "a", "c", "c"], label_any=truth)
    table = study_table(slices, [], ["any"])
    assert list(table) == ["study_key", "patient_key", "split", "fold", "images", "label_any"]
    assert list(table["study_key"]) == ["b", "a", "c"]
    assert list(table["images"]) == [3, 2, 2]
    np.testing.assert_array_equal(table["label_any"], [1, np.nan, 0])


def test_slices_without_a_study_are_left_out() -> None:
    slices = _slices(["a", "", "a"], label_any=[0, 1, 0], probability_any=[0.1, 0.9, 0.2])
    table = study_table(slices, [StudyRule(label="any", pool="highest")], ["any"])
    assert (list(table["images"]), list(table["label_any"])) == ([2], [0])
    assert table["probability_any"][0] == pytest.approx(0.2)
    assert study_table(slices[1:2], [StudyRule(label="any", pool="highest")], ["any"]).empty


def test_the_table_answers_as_the_rule_does_study_by_study_whatever_the_rows_order() -> None:
    slices = pd.concat([_simulated(4, seed=0, slices=9), _simulated(8, seed=1).assign(order=np.nan)[120:]])
    shuffled = slices.sample(frac=1, random_state=0)
    for pool in ("highest", "soft", "neighbours"):
        rule = StudyRule.model_validate({"label": "any", "pool": pool, "slices": 12, "slope": 0.7, "intercept": 1})
        table = study_table(shuffled, [rule], ["any"]).set_index("study_key")["probability_any"]
        for key, own in slices.groupby("study_key"):
            assert table[key] == pytest.approx(rule.answer(own["probability_any"], own["order"]))


def test_a_learned_rule_beats_the_bare_maximum_on_unseen_patients() -> None:
    unseen = _simulated(400, seed=1)
    truth = study_table(unseen, [], ["any"])["label_any"].to_numpy()
    bare = log_losses(truth, unseen.groupby("study_key", sort=False)["probability_any"].max().to_numpy()).mean()
    for patients in (8, 12, 100):
        rule = choose_study_rule(_simulated(patients, seed=2), "any", seed=0)
        answers = study_table(unseen, [rule], ["any"])["probability_any"].to_numpy()
        assert log_losses(truth, answers).mean() < bare - 0.2


def test_with_enough_studies_a_single_slice_is_not_trusted() -> None:
    rule = choose_study_rule(_simulated(200, seed=3), "any", seed=0)
    assert rule.name != "highest_1"
    assert rule.log_losses[rule.name] < rule.log_losses["highest_1"] - 0.05
    assert rule.log_losses["highest_1"] < rule.log_losses[BARE_MAXIMUM]


def test_a_learned_rule_is_calibrated() -> None:
    rule = choose_study_rule(_simulated(300, seed=4), "any", seed=0)
    unseen = study_table(_simulated(300, seed=5), [rule], ["any"])
    assert unseen["probability_any"].mean() == pytest.approx(0.5, abs=0.04)


def test_eight_separable_studies_give_a_finite_slope() -> None:
    keys = [f"p{number}" for number in range(8)]
    slices = _slices(keys, label_any=[0, 1] * 4, probability_any=[1e-9, 1 - 1e-9] * 4)
    rule = choose_study_rule(slices, "any", seed=0)
    # The smoothed targets are 1/6 and 5/6; a slope of 1, which saturates, has the weight of a few studies.
    answers = study_table(slices, [rule], ["any"])["probability_any"].to_numpy()
    assert ((answers[1::2] > 5 / 6) & (answers[1::2] < 0.9)).all()
    np.testing.assert_allclose(answers[::2], 1 - answers[1::2])


@pytest.mark.parametrize(
    ("truth", "answer"),
    [([1, 1, 1], 4 / 5), ([0, 0, 0], 1 / 5), ([np.nan] * 3, 1 / 2)],
    ids=["all present", "all absent", "all unknown"],
)
def test_studies_of_one_kind_teach_only_their_smoothed_share(truth: list[float], answer: float) -> None:
    slices = _slices(["a", "b", "c"], label_any=truth, probability_any=[0.1, 0.5, 0.9])
    rule = choose_study_rule(slices, "any", seed=0)
    assert rule.slope == 0
    assert rule.answer([0.99], [0]) == pytest.approx(answer)


def test_probabilities_that_fall_with_the_label_are_not_turned_around() -> None:
    keys = [f"p{number}" for number in range(20)]
    slices = _slices(keys, label_any=[0, 1] * 10, probability_any=[0.9, 0.1] * 10)
    rule = choose_study_rule(slices, "any", seed=0)
    assert rule.slope == 0
    assert rule.answer([0.9], [0]) == pytest.approx(0.5)


def test_a_single_patient_is_answered_without_cross_validation() -> None:
    slices = _slices(["a", "b"], patient_key="one", label_any=[0, 1], probability_any=[0.1, 0.9])
    rule = choose_study_rule(slices, "any", seed=0)
    assert rule.log_losses == {}
    # Between the smoothed target of one study and what the slice itself said.
    assert 2 / 3 < rule.answer([0.9], [0]) < 0.9


def test_two_studies_move_the_slope_little_and_many_move_it_to_where_they_lie() -> None:
    def slope(studies: int) -> float:
        keys = [f"p{number}" for number in range(studies)]
        # Of those at logit 2 a share of expit(.5) is present, of those at -2 as many are absent: the slope is 1/4.
        rows = np.arange(studies)
        truth = (rows % 100 < 62.25) == (rows % 2 == 0)
        slices = _slices(keys, label_any=truth.astype(float), probability_any=expit(np.where(rows % 2, -2.0, 2.0)))
        return choose_study_rule(slices, "any", seed=0).slope

    assert slope(4) > 0.7
    assert slope(5000) == pytest.approx(0.25, abs=0.02)


def test_equal_seeds_learn_equal_rules() -> None:
    slices = _simulated(12, seed=6)
    assert choose_study_rule(slices, "any", seed=7) == choose_study_rule(slices, "any", seed=7)


def test_unknown_studies_do_not_teach() -> None:
    slices = _simulated(12, seed=6)
    unknown = slices.assign(study_key="u" + slices["study_key"], patient_key="u", label_any=np.nan)
    both = pd.concat([slices, unknown.assign(probability_any=1 - unknown["probability_any"])])
    assert choose_study_rule(both, "any", seed=0) == choose_study_rule(slices, "any", seed=0)


def test_a_folds_studies_are_answered_by_the_rule_of_the_other_folds() -> None:
    slices = _simulated(24, seed=8)
    slices["fold"] = slices["patient_key"].str[1:].astype(int) // 2 % 3
    table = cross_fitted_studies(slices, ["any"], seed=0)
    assert sorted(table["study_key"]) == sorted(slices["study_key"].unique())
    own = slices["fold"] == 1
    rule = choose_study_rule(slices[~own], "any", seed=0)
    pd.testing.assert_frame_equal(
        table[table["fold"] == 1].reset_index(drop=True), study_table(slices[own], [rule], ["any"])
    )


def test_a_folds_own_labels_do_not_move_its_answers() -> None:
    slices = _simulated(24, seed=8)
    slices["fold"] = slices["patient_key"].str[1:].astype(int) // 2 % 3
    turned = slices.assign(label_any=np.where(slices["fold"] == 1, 1 - slices["label_any"], slices["label_any"]))
    before, after = (cross_fitted_studies(frame, ["any"], seed=0).set_index("fold") for frame in (slices, turned))
    np.testing.assert_array_equal(before.loc[1, "probability_any"], after.loc[1, "probability_any"])
    assert (before.loc[[0, 2], "probability_any"] != after.loc[[0, 2], "probability_any"]).any()


def test_no_study_at_all_gives_an_empty_table() -> None:
    table = cross_fitted_studies(_slices(["", ""], label_any=[0, 1], probability_any=[0.1, 0.9]), ["any"], seed=0)
    assert table.empty


@pytest.mark.slow
def test_twenty_thousand_studies_are_learned_from_in_seconds() -> None:
    slices = _simulated(20_000, seed=9)
    start = time.perf_counter()
    rule = choose_study_rule(slices, "any", seed=0)
    study_table(slices, [rule], ["any"])
    assert time.perf_counter() - start < 60
