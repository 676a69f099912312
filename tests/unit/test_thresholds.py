"""Thresholds of measured rows: the bundle's, or chosen by the other folds."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from tiny_bundle import LABELS, description, studied

from secondread.config import load_config
from secondread.errors import BundleError
from secondread.evaluation.operating_points import at_sensitivity, balanced
from secondread.steps.thresholds import (
    SEED,
    choose_points,
    every_threshold,
    study_thresholds_of,
    thresholds_of,
)

CONFIG = load_config("hemorrhage", {"operating_points.high_sensitivity": "0.9"})


def answers(folds: bool) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    table = pd.DataFrame({"patient_key": np.arange(90).astype(str)})
    table["fold"] = pd.Series(np.arange(90) % 3, dtype="Int64") if folds else pd.Series(pd.NA, table.index, "Int64")
    for label in LABELS:
        truth = generator.integers(0, 2, 90).astype(float)
        table[f"label_{label}"] = truth
        table[f"probability_{label}"] = expit(generator.normal(size=90) + 2 * truth - 1)
    return table


def test_every_point_is_chosen_for_every_label_to_its_target() -> None:
    table = answers(folds=False)
    points = list(choose_points(table, LABELS, CONFIG))
    assert [(point.name, point.label, point.target) for point in points] == [
        *(("balanced", label, None) for label in LABELS),
        *(("high_sensitivity", label, 0.9) for label in LABELS),
        *(("high_specificity", label, 0.95) for label in LABELS),
    ]
    columns = table["label_subdural"], table["probability_subdural"], table["patient_key"]
    assert points[1] == balanced("subdural", *columns, SEED)
    assert points[3] == at_sensitivity("subdural", "high_sensitivity", 0.9, *columns, SEED)


def test_without_folds_the_bundle_decides() -> None:
    table = answers(folds=False)
    assert thresholds_of(table, description()) == {"any": 0.5, "subdural": 0.5}
    assert thresholds_of(table, description(), "sensitive") == {"any": 0.25, "subdural": 0.25}
    assert every_threshold(table, description().operating_points) == {
        name: thresholds_of(table, description(), name) for name in ("balanced", "sensitive")
    }


def test_with_folds_the_other_folds_decide_at_the_same_target() -> None:
    table = answers(folds=True)
    points = tuple(choose_points(table, LABELS, CONFIG))
    said = description().model_copy(update={"operating_points": points})
    found = thresholds_of(table, said, "high_sensitivity")["any"]
    others = table[table["fold"] != 1]
    chosen = at_sensitivity("", "", 0.9, others["label_any"], others["probability_any"], others["patient_key"], SEED)
    assert isinstance(found, np.ndarray)
    np.testing.assert_array_equal(found[table["fold"] == 1], chosen.threshold)


def test_studies_have_thresholds_of_their_own() -> None:
    table = answers(folds=False)
    assert study_thresholds_of(table, studied()) == {"any": 0.75}
    assert study_thresholds_of(table, description()) == {}


def test_an_unknown_point_is_refused() -> None:
    for thresholds in (thresholds_of, study_thresholds_of):
        with pytest.raises(BundleError, match="operating_point: this model has balanced, sensitive"):
            thresholds(answers(folds=False), studied(), "bold")
