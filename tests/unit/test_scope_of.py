"""A run's images say what the model's scope is: from train and val, or out of fold."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from secondread.data.audit import audit
from secondread.data.prepare import Prepared
from secondread.data.store import Pixels
from secondread.imaging.preprocess import Preprocess
from secondread.steps.scope import scope_metrics, scope_of
from secondread.storage import open_folder


def prepared(split: list[str], fold: Any = -1) -> Prepared:
    """Images of rising brightness, a patient each; those of test are noise."""
    count = len(split)
    pixels = np.random.default_rng(0).normal(0, 3, (count, 32, 32, 1)) + np.arange(count)[:, None, None, None] % 50
    pixels[np.array(split) == "test"] = np.random.default_rng(1).integers(0, 256, (32, 32, 1))
    manifest = pd.DataFrame(
        {
            "image_key": [f"i{n}" for n in range(count)],
            "patient_key": [f"p{n}" for n in range(count)],
            "study_key": "",
            "group": np.arange(count),
            "split": split,
            "given": False,
            "label_any": np.arange(count) % 2.0,
            "row": np.arange(count),
            "fold": fold,
        }
    )
    form = Preprocess(unit="display", size=32, channels=1, modalities=("CT",))
    table = Pixels([pixels.clip(0, 255).astype(np.uint8)])
    report = audit(manifest)
    return Prepared("phantom", open_folder("."), manifest, table, form, {"any": 0.5}, report, {})


def test_it_is_learned_from_train_and_measured_on_val_alone(capsys: pytest.CaptureFixture[str]) -> None:
    split = ["train"] * 200 + ["val"] * 120 + ["test"] * 50
    scope = scope_of(prepared(split))
    assert scope is not None
    assert (scope.images, scope.patients) == (120, 120)
    assert scope == scope_of(prepared(split[:320]))  # what lies in test changes nothing
    assert "scope: of 120 images by 120 patients, 0.0" in capsys.readouterr().out
    assert list(scope_metrics(scope)) == ["scope/false_alarms", "scope/false_alarms_low", "scope/false_alarms_high"]


def test_with_folds_every_image_is_measured() -> None:
    scope = scope_of(prepared(["train"] * 200, np.arange(200) % 5))
    assert scope is not None
    assert (scope.images, scope.patients) == (200, 200)


def test_where_val_has_few_patients_those_of_train_are_measured_out_of_fold_too() -> None:
    scope = scope_of(prepared(["train"] * 60 + ["val"] * 20))
    assert scope is not None
    assert (scope.images, scope.patients) == (80, 80)


def test_without_patients_to_measure_there_is_none_which_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert scope_of(prepared(["train"])) is None
    assert "train and val hold fewer than two patients" in capsys.readouterr().out
    assert scope_metrics(None) == {}
