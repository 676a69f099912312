"""What a search seeks: every patient counts alike, whatever the number of images."""

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from secondread.errors import AuditError
from tuning.objective import measure, measure_answers, refuse_unmeasurable
from tuning.settings import OBJECTIVES

RANKED = ["auroc", "average_precision"]


def table(patients: str, truth: Sequence[float], probability: Sequence[float], label: str = "any") -> pd.DataFrame:
    """A row an image: its patient's letter, its truth and what was answered."""
    return pd.DataFrame(
        {"patient_key": list(patients), f"label_{label}": truth, f"probability_{label}": probability}, dtype=object
    ).astype({f"label_{label}": float, f"probability_{label}": float})


# The patient `a` has two images, each of which weighs a half.
UNEVEN = table("aabc", [1, 1, 0, 0], [0.9, 0.2, 0.5, 0.1])


def test_auroc_compares_patients() -> None:
    # .9 is above both negatives: .5 * 2; .2 above one: .5 * 1. Of 1 * 2 pairs.
    assert measure(["auroc"], UNEVEN, ["any"], "any", None) == pytest.approx((1.5 / 2,))


def test_average_precision_weighs_patients() -> None:
    # Recall rises by .5 at .9, where all is right, and by .5 at .2, where 1 of 2 is; by image the latter is 2 of 3.
    assert measure(["average_precision"], UNEVEN, ["any"], "any", None) == pytest.approx((0.5 * 1 + 0.5 * 1 / 2,))


def test_log_loss_is_a_mean_over_patients() -> None:
    by_patient = [-(math.log(0.9) + math.log(0.2)) / 2, -math.log(0.5), -math.log(0.9)]
    assert measure(["log_loss"], UNEVEN, ["any"], "any", None) == pytest.approx((sum(by_patient) / 3,))


def test_more_images_of_a_patient_that_are_answered_alike_change_nothing() -> None:
    random = np.random.default_rng(0)
    once = table("abcdefgh", [0, 1] * 4, random.random(8).tolist())
    often = once.loc[np.repeat(np.arange(8), [1, 5, 2, 1, 9, 3, 1, 1])].reset_index(drop=True)
    assert measure_answers(often, ["any"], "any") == pytest.approx(measure_answers(once, ["any"], "any"))


def test_one_image_a_patient_is_the_plain_figure() -> None:
    from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

    random = np.random.default_rng(1)
    truth, probability = random.integers(0, 2, 60).astype(float), random.random(60).round(2)  # with ties
    rows = pd.DataFrame(
        {"patient_key": [f"p{n}" for n in range(60)], "label_any": truth, "probability_any": probability}
    )
    found = measure_answers(rows, ["any"], "any")
    assert found["auroc"] == pytest.approx(roc_auc_score(truth, probability))
    assert found["average_precision"] == pytest.approx(average_precision_score(truth, probability))
    assert found["log_loss"] == pytest.approx(log_loss(truth, np.clip(probability, 1e-7, 1 - 1e-7)))


def test_an_unknown_label_leaves_the_patients_other_images_their_weight() -> None:
    unknown = table("aaabc", [1, math.nan, 1, 0, 0], [0.9, 0.99, 0.2, 0.5, 0.1])
    assert measure_answers(unknown, ["any"], "any") == pytest.approx(measure_answers(UNEVEN, ["any"], "any"))


def test_log_losses_are_of_all_labels_and_the_weighted_one_counts_the_primary_twice() -> None:
    both = UNEVEN.assign(label_subdural=[math.nan, 1.0, math.nan, 0.0], probability_subdural=[0.5, 0.8, 0.5, 0.4])
    primary = 3 * measure(["log_loss"], UNEVEN, ["any"], "any", None)[0]  # of 3 patients
    other = -math.log(0.8) - math.log(0.6)  # of 2
    found = measure_answers(both, ["any", "subdural"], "any")
    assert found["log_loss"] == pytest.approx((primary + other) / (3 + 2))
    assert found["weighted_log_loss"] == pytest.approx((2 * primary + other) / (2 * 3 + 2))
    assert found["auroc"] == pytest.approx(0.75)


def test_a_single_class_has_no_rank() -> None:
    found = measure_answers(table("ab", [1, 1], [0.3, 0.4]), ["any"], "any")
    assert math.isnan(found["auroc"])
    assert math.isnan(found["average_precision"])
    assert found["log_loss"] == pytest.approx(-(math.log(0.3) + math.log(0.4)) / 2)


@pytest.mark.parametrize("name", RANKED)
def test_images_of_one_class_are_refused_where_a_rank_is_sought(name: str) -> None:
    with pytest.raises(AuditError, match=f"val has not both images with and without any, and {name} needs both"):
        refuse_unmeasurable(["latency", name], table("abc", [1, 1, math.nan], [0, 0, 0]), "any")
    refuse_unmeasurable(["log_loss", "latency"], table("ab", [1, 1], [0, 0]), "any")


def test_images_of_which_nothing_is_known_are_refused() -> None:
    with pytest.raises(AuditError, match="val has no image for which any is known"):
        refuse_unmeasurable(["log_loss"], table("ab", [math.nan, math.nan], [0, 0]), "any")


class Slow:
    """A network that takes its time, most of it at first."""

    input_shape = (None, 8, 8, 3)

    def __init__(self) -> None:
        self.shapes: set[tuple[int, ...]] = set()
        self._left = 5

    def predict_on_batch(self, images: Any) -> None:
        self.shapes.add(images.shape)
        time.sleep(0.1 if self._left > 0 else 0.004)
        self._left -= 1

    def count_params(self) -> int:
        return 175_000


def test_latency_is_of_one_image_once_the_network_is_warm_and_parameters_are_counted() -> None:
    model = Slow()
    latency, parameters = measure(["latency", "parameters"], UNEVEN, ["any"], "any", model)
    assert 4 <= latency < 50
    assert parameters == 175_000
    assert model.shapes == {(1, 8, 8, 3)}


def test_every_objective_of_the_settings_is_measured_in_the_order_asked() -> None:
    names = sorted(OBJECTIVES)
    values = dict(zip(names, measure(names, UNEVEN, ["any"], "any", Slow()), strict=True))
    assert values.keys() == OBJECTIVES.keys()
    answers = measure_answers(UNEVEN, ["any"], "any")
    assert {name: values[name] for name in answers} == answers
