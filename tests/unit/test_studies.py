"""How a training learns to answer whole studies, and when it does not."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from secondread.config import RunConfig, load_config
from secondread.evaluation.study import choose_study_rule, cross_fitted_studies, study_table
from secondread.steps.studies import learn_studies, rows_of_test
from secondread.steps.thresholds import SEED, choose_points
from secondread.tasks import load_task

LABELS = ("any", "subdural")
TASK = load_task("hemorrhage")
CONFIG = load_config("hemorrhage", {})
FOLDED = load_config("hemorrhage", {"data.folds": 3})


def slices(patients: int = 40, folds: int = 0, **columns: Any) -> pd.DataFrame:
    """Ten slices a patient: half the patients bleed, the others do not; val and test alternate in pairs."""
    generator = np.random.default_rng(0)
    patient = np.repeat(np.arange(patients), 10)
    bleeds = (patient % 2 == 0) & (np.tile(np.arange(10), patients) > 5)
    probability = expit(generator.normal(size=len(patient)) + 3 * bleeds - 2)
    table = pd.DataFrame({"patient_key": patient.astype(str), "study_key": [f"s{number}" for number in patient]})
    table["order"] = np.tile(np.arange(10.0), patients)
    table["split"] = "test" if folds else np.where(patient // 2 % 2, "val", "test")
    table["fold"] = pd.Series(patient % folds if folds else pd.NA, table.index, "Int64")
    for label in LABELS:
        table[f"label_{label}"], table[f"probability_{label}"] = bleeds.astype(float), probability
    return table.assign(**columns)


def learned(predictions: pd.DataFrame, config: RunConfig = CONFIG) -> Any:
    training = slices(8).assign(split="train")
    training[["label_any", "label_subdural"]] = 0.0
    manifest = pd.concat([predictions, training.assign(study_key="t" + training["study_key"])], ignore_index=True)
    return learn_studies(predictions, manifest, TASK, LABELS, config)


def test_rules_and_points_come_from_val_and_answer_val_and_test() -> None:
    predictions = slices()
    found = learned(predictions)
    val = predictions[predictions["split"] == "val"]
    assert found.rules == tuple(choose_study_rule(val, label, SEED) for label in LABELS)
    pd.testing.assert_frame_equal(
        rows_of_test(found.table), study_table(predictions[predictions["split"] == "test"], found.rules, LABELS)
    )
    assert dict(found.table["split"].value_counts()) == {"val": 20, "test": 20}
    assert found.points == tuple(choose_points(study_table(val, found.rules, LABELS), LABELS, CONFIG))


def test_the_test_teaches_nothing() -> None:
    predictions = slices()
    tested = predictions["split"] == "test"
    turned = predictions.assign(label_any=predictions["label_any"].mask(tested, 1 - predictions["label_any"]))
    one, other = learned(predictions), learned(turned)
    assert (one.rules, one.points, one.prior) == (other.rules, other.points, other.prior)


def test_the_prior_is_the_share_of_studies_outside_the_test() -> None:
    # Of 20 studies of val half bleed, of 8 of train none.
    assert learned(slices()).prior == {"any": 10 / 28, "subdural": 10 / 28}


def test_with_folds_what_is_measured_is_answered_out_of_fold() -> None:
    predictions = slices(folds=3)
    found = learned(predictions, FOLDED)
    pd.testing.assert_frame_equal(found.table, cross_fitted_studies(predictions, LABELS, SEED))
    assert found.rules == tuple(choose_study_rule(predictions, label, SEED) for label in LABELS)
    assert found.points == tuple(choose_points(found.table, LABELS, FOLDED))


def test_a_label_of_one_kind_has_no_rule() -> None:
    found = learned(slices(label_subdural=0.0))
    assert found.labels == ("any",)
    assert "probability_subdural" not in found.table
    assert {point.label for point in found.points} == {"any"}


@pytest.mark.parametrize("columns", [{"label_any": 1.0}, {"study_key": ""}], ids=["one kind", "no study known"])
def test_without_both_kinds_of_studies_nothing_is_learned_and_it_is_said(
    columns: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert learned(slices(**columns)) is None
    assert capsys.readouterr().out == "no study rule: not both studies with and without any to learn it from\n"


def test_images_that_stand_alone_are_not_combined() -> None:
    predictions = slices().rename(columns=lambda name: name.replace("any", "pneumonia"))
    assert learn_studies(predictions, predictions, load_task("pneumonia"), ("pneumonia",), CONFIG) is None
