"""The figures of a test against scikit-learn and by hand."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, f1_score, log_loss, roc_auc_score

from secondread.evaluation.confusion import Confusion
from secondread.evaluation.intervals import delong_interval
from secondread.evaluation.metrics import evaluate, evaluate_point

LABELS = ("any", "subdural")
THRESHOLDS = {"any": 0.4, "subdural": 0.3}
PRIOR = {"any": 0.5, "subdural": 0.25}
EVERY_FIGURE = (
    *("auroc", "average_precision", "sensitivity", "specificity", "precision", "f1", "accuracy", "sensitivity_at_half"),
    *(
        "specificity_at_half",
        "precision_at_half",
        "f1_at_half",
        "accuracy_at_half",
        "log_loss",
        "skill",
        "brier",
        "ece",
    ),
)


def predictions(images: int = 200, labels: Sequence[str] = LABELS, seed: int = 0) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    columns: dict[str, object] = {"patient_key": [f"patient{number // 4}" for number in range(images)]}
    for label in labels:
        truth = (generator.random(images) < 0.4).astype(float)
        columns[f"label_{label}"] = truth
        columns[f"probability_{label}"] = 1 / (1 + np.exp(-generator.normal(size=images) - 2 * truth + 1))
    return pd.DataFrame(columns)


def test_figures_equal_scikit_learns() -> None:
    frame = predictions()
    truth, probabilities = frame["label_any"], frame["probability_any"]
    figures = evaluate(frame, LABELS, "any", THRESHOLDS, PRIOR, seed=0)
    assert figures["auroc"] == pytest.approx(roc_auc_score(truth, probabilities))
    assert figures["average_precision"] == pytest.approx(average_precision_score(truth, probabilities))
    assert figures["log_loss"] == pytest.approx(log_loss(truth, probabilities))
    assert figures["brier"] == pytest.approx(brier_score_loss(truth, probabilities))
    assert figures["f1"] == pytest.approx(f1_score(truth, probabilities >= 0.4))
    assert figures["f1_at_half"] == pytest.approx(f1_score(truth, probabilities >= 0.5))
    assert figures["auroc_subdural"] == pytest.approx(
        roc_auc_score(frame["label_subdural"], frame["probability_subdural"])
    )
    assert figures["auroc_macro"] == pytest.approx((figures["auroc"] + figures["auroc_subdural"]) / 2)


def test_every_figure_has_an_interval_around_it_and_no_other_name_exists() -> None:
    figures = evaluate(predictions(), LABELS, "any", THRESHOLDS, PRIOR, seed=0)
    names = {*EVERY_FIGURE, *(f"{name}_subdural" for name in EVERY_FIGURE), "weighted_log_loss", "auroc_macro"}
    assert set(figures) == {f"{name}{bound}" for name in names for bound in ("", "_low", "_high")}
    assert all(figures[f"{name}_low"] < figures[name] < figures[f"{name}_high"] for name in names)
    assert all(type(value) is float for value in figures.values())


def test_intervals_are_delongs_and_wilsons_by_patient() -> None:
    frame = predictions()
    figures = evaluate(frame, LABELS, "any", THRESHOLDS, PRIOR, seed=0)
    _, low, high = delong_interval(frame["label_any"], frame["probability_any"], frame["patient_key"])
    assert (figures["auroc_low"], figures["auroc_high"]) == (low, high)
    counted = Confusion.count(frame["label_any"], frame["probability_any"] >= 0.4, frame["patient_key"])
    assert (figures["sensitivity_low"], figures["sensitivity_high"]) == counted.estimates()["sensitivity"][1:]


def test_a_single_label_has_no_suffix_and_no_macro() -> None:
    figures = evaluate(predictions(), ("any",), "any", THRESHOLDS, PRIOR, seed=0)
    names = {*EVERY_FIGURE, "weighted_log_loss"}
    assert set(figures) == {f"{name}{bound}" for name in names for bound in ("", "_low", "_high")}
    assert figures["weighted_log_loss"] == pytest.approx(figures["log_loss"])


def test_weighted_log_loss_counts_the_primary_label_twice() -> None:
    figures = evaluate(predictions(), LABELS, "any", THRESHOLDS, PRIOR, seed=0)
    expected = (2 * figures["log_loss"] + figures["log_loss_subdural"]) / 3
    assert figures["weighted_log_loss"] == pytest.approx(expected)


def test_answering_the_prior_has_no_skill() -> None:
    frame = predictions().assign(probability_any=0.5)
    assert evaluate(frame, LABELS, "any", THRESHOLDS, PRIOR, seed=0)["skill"] == pytest.approx(0)


def test_skill_by_hand() -> None:
    # Always .75 for the truth costs -ln .75; the prior .5 costs ln 2.
    frame = pd.DataFrame({"patient_key": ["a", "b"], "label_any": [1.0, 0.0], "probability_any": [0.75, 0.25]})
    figures = evaluate(frame, ("any",), "any", {"any": 0.5}, PRIOR, seed=0)
    assert figures["log_loss"] == pytest.approx(-np.log(0.75))
    assert figures["skill"] == pytest.approx(1 + np.log(0.75) / np.log(2))
    assert figures["brier"] == pytest.approx(1 / 16)


def test_a_saturated_wrong_answer_costs_a_finite_amount() -> None:
    frame = pd.DataFrame({"patient_key": ["a", "b"], "label_any": [1.0, 0.0], "probability_any": [0.0, 0.0]})
    figures = evaluate(frame, ("any",), "any", {"any": 0.5}, PRIOR, seed=0)
    assert figures["log_loss"] == pytest.approx(-np.log(1e-7) / 2)


def test_unknown_labels_are_left_out_label_by_label() -> None:
    frame = predictions()
    frame.loc[:79, "label_subdural"] = np.nan
    figures = evaluate(frame, LABELS, "any", THRESHOLDS, PRIOR, seed=0)
    alone = evaluate(frame.iloc[80:], ("subdural",), "subdural", THRESHOLDS, PRIOR, seed=0)
    assert figures["auroc"] == evaluate(predictions(), LABELS, "any", THRESHOLDS, PRIOR, seed=0)["auroc"]
    for name in EVERY_FIGURE:
        assert figures[f"{name}_subdural"] == pytest.approx(alone[name])


def test_a_label_of_one_class_has_no_ranking_but_keeps_its_errors() -> None:
    frame = predictions().assign(label_subdural=0.0)
    figures = evaluate(frame, LABELS, "any", THRESHOLDS, PRIOR, seed=0)
    missing = {"auroc_subdural", "average_precision_subdural", "sensitivity_subdural"}
    assert not missing & set(figures)
    assert {"specificity_subdural", "log_loss_subdural", "brier_subdural"} <= set(figures)
    assert figures["auroc_macro"] == pytest.approx(figures["auroc"])


def test_a_label_that_no_image_knows_has_no_figures() -> None:
    frame = predictions().assign(label_subdural=np.nan)
    figures = evaluate(frame, LABELS, "any", THRESHOLDS, PRIOR, seed=0)
    assert not [name for name in figures if "subdural" in name]
    assert evaluate(frame, ("subdural",), "subdural", THRESHOLDS, PRIOR, seed=0) == {}


def test_a_threshold_a_row_decides_that_row() -> None:
    frame = predictions()
    exact = np.where(frame["label_any"] == 1, 0.0, 1.0)
    figures = evaluate(frame, LABELS, "any", THRESHOLDS | {"any": exact}, PRIOR, seed=0)
    assert (figures["sensitivity"], figures["specificity"], figures["accuracy"]) == (1, 1, 1)
    assert figures["accuracy_at_half"] < 1


def test_equal_seeds_give_equal_figures() -> None:
    frame = predictions()
    first, again, other = (evaluate(frame, LABELS, "any", THRESHOLDS, PRIOR, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first["brier"] == other["brier"]
    assert first["brier_low"] != other["brier_low"]


def test_intervals_of_errors_count_patients_and_not_their_images() -> None:
    frame = predictions()
    copied = pd.concat([frame] * 4, ignore_index=True)
    once = evaluate(frame, LABELS, "any", THRESHOLDS, PRIOR, seed=0)
    fourfold = evaluate(copied, LABELS, "any", THRESHOLDS, PRIOR, seed=0)
    for name in ("average_precision_low", "log_loss_high", "brier_low"):
        assert fourfold[name] == pytest.approx(once[name])


def test_an_operating_points_decisions_are_named_after_it() -> None:
    frame = predictions()
    found = evaluate_point(frame, LABELS, "any", {"any": 0.6, "subdural": np.full(200, 0.5)}, "high_specificity")
    assert list(found) == [
        f"{measure}_at_high_specificity{suffix}{bound}"
        for suffix in ("", "_subdural")
        for measure in ("sensitivity", "specificity")
        for bound in ("", "_low", "_high")
    ]
    counted = Confusion.count(frame["label_any"], frame["probability_any"] >= 0.6, frame["patient_key"])
    said = [found[f"sensitivity_at_high_specificity{bound}"] for bound in ("", "_low", "_high")]
    assert said == list(counted.estimates()["sensitivity"])
    half = evaluate(frame, LABELS, "any", THRESHOLDS, PRIOR, seed=0)
    assert found["specificity_at_high_specificity_subdural"] == half["specificity_at_half_subdural"]


def test_what_an_operating_point_cannot_measure_is_left_out() -> None:
    frame = predictions(labels=["any"]).assign(label_any=1.0)
    found = evaluate_point(frame, ["any"], "any", {"any": 0.5}, "high_sensitivity")
    assert [name for name in found if "specificity" in name] == []
