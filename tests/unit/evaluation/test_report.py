"""The classification report against scikit-learn's."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import precision_recall_fscore_support

from secondread.evaluation.report import classification_report

FRAME = pd.DataFrame(
    {
        "patient_key": [""] * 10,
        "label_pneumonia": [1, 1, 1, 1, 0, 0, 0, 0, 0, np.nan],
        "probability_pneumonia": [0.9, 0.8, 0.7, 0.2, 0.1, 0.2, 0.3, 0.6, 0.1, 0.9],
        "label_fluid": [np.nan] * 10,
        "probability_fluid": [0.5] * 10,
    }
)


def test_the_table_equals_scikit_learns() -> None:
    _, table = classification_report(FRAME, ["pneumonia"], {"pneumonia": 0.5})
    known = FRAME.dropna(subset="label_pneumonia")
    called = known["probability_pneumonia"] >= 0.5
    expected = precision_recall_fscore_support(known["label_pneumonia"], called)
    for column, values in zip(("precision", "recall", "f1", "images"), expected, strict=True):
        np.testing.assert_allclose(table[column], values)
    np.testing.assert_allclose(table["accuracy"], 7 / 9)
    assert list(table["class"]) == ["absent", "present"]


def test_the_text_shows_every_figure_with_its_interval() -> None:
    text, table = classification_report(FRAME, ["pneumonia"], {"pneumonia": 0.5})
    heading, columns, absent, present, accuracy = text.splitlines()
    assert heading == "pneumonia, threshold 0.500"
    assert columns.split() == ["precision", "recall", "f1", "images"]
    assert absent.startswith("absent    0.800 (0.376\N{EN DASH}0.964)")
    assert present.split()[0] == "present"
    low, high = table["accuracy_low"][0], table["accuracy_high"][0]
    assert accuracy.split() == ["accuracy", "0.778", f"({low:.3f}\N{EN DASH}{high:.3f})", "9"]
    assert len({len(line) for line in (columns, absent, present, accuracy)}) == 1


def test_an_unknown_label_is_left_out_and_an_undefined_figure_says_so() -> None:
    frame = FRAME.assign(probability_pneumonia=0.1)
    text, table = classification_report(frame, ["pneumonia", "fluid"], {"pneumonia": 0.5, "fluid": 0.5})
    assert "fluid" not in text
    assert "undefined" in text
    present = table.set_index("class").loc["present"]
    assert np.isnan(present["precision"])
    assert present["recall"] == 0


def test_thresholds_from_cross_validation_are_named_so() -> None:
    text, _ = classification_report(FRAME, ["pneumonia"], {"pneumonia": np.full(10, 0.5)})
    assert text.startswith("pneumonia, cross-fitted threshold\n")


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_one_class_only_is_reported(value: float) -> None:
    frame = FRAME.assign(label_pneumonia=value)
    _, table = classification_report(frame, ["pneumonia"], {"pneumonia": 0.5})
    assert sorted(table["images"]) == [0, 10]
