"""`data.folds`: a child run a fold, figures pooled out of fold, and a refit that is served; also after `kill -9`."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from mlflow.entities import Run
from sklearn.metrics import roc_auc_score

from integration.conftest import NewProject
from integration.project import Project, flags
from secondread.bundle import load_description
from secondread.steps.thresholds import study_thresholds_of, thresholds_of
from secondread.storage import sha256_of
from secondread.tracking.answer import answer_files

pytestmark = pytest.mark.slow  # five trainings: a minute

FOLDS = 3
EPOCHS = 4


@dataclass(frozen=True)
class CrossValidated:
    """A cross-validation, killed in its second fold and continued."""

    project: Project
    source: Path
    run: Run
    folds: list[Run]
    predictions: pd.DataFrame


@pytest.fixture(scope="module")
def validated(new_project: NewProject, phantom_source: Callable[[str], Path]) -> CrossValidated:
    project, source = new_project(), phantom_source("hemorrhage")
    settings = {"task": "hemorrhage", "data": source, "model": "slice_mlp", "data.folds": FOLDS, "train.epochs": EPOCHS}
    command = [sys.executable, "-m", "secondread", "train", *flags(settings)]
    with project.started(*command) as killed:
        killed.wait_until(lambda: second_fold_has_begun(project))
        killed.process.kill()
    done = project.run(*command)
    assert done.returncode == 0, done.stderr
    runs = project.runs("hemorrhage")
    (parent,) = (run for run in runs if run.data.tags["step"] == "train")
    folds = sorted((run for run in runs if run.data.tags["step"] == "fold"), key=lambda run: run.data.tags["fold"])
    predictions = pd.read_parquet(project.artifacts(parent) / "predictions.parquet")
    return CrossValidated(project, source, parent, folds, predictions)


def second_fold_has_begun(project: Project) -> bool | None:
    return bool(list(project.folder.glob("home/runs/*/fold-1/epoch-0001/progress.json"))) or None


def test_each_fold_is_one_finished_child(validated: CrossValidated) -> None:
    assert [fold.data.tags["fold"] for fold in validated.folds] == ["0", "1", "2"]
    for fold in validated.folds:
        assert fold.info.status == "FINISHED"
        assert fold.data.tags["mlflow.parentRunId"] == validated.run.info.run_id
        assert "figures/training_curves.png" in validated.project.files(fold)
        assert not fold.outputs.model_outputs


def test_each_epoch_of_each_fold_is_logged_once(validated: CrossValidated) -> None:
    for fold in validated.folds:
        history = validated.project.client.get_metric_history(fold.info.run_id, "train/loss")
        assert [metric.step for metric in history] == list(range(1, EPOCHS + 1))


def test_each_image_is_tested_once_out_of_fold(validated: CrossValidated) -> None:
    tested = validated.predictions[validated.predictions["split"] == "test"]
    assert len(tested) == len(list(validated.source.glob("stage_2_train/*.dcm")))
    assert tested["image_key"].is_unique
    assert set(tested["fold"]) == set(range(FOLDS))
    assert (tested.groupby("patient_key")["fold"].nunique() == 1).all()


def test_figures_are_pooled_out_of_fold(validated: CrossValidated) -> None:
    tested = validated.predictions[validated.predictions["split"] == "test"]
    metrics = validated.run.data.metrics
    assert metrics["test/auroc"] == pytest.approx(roc_auc_score(tested["label_any"], tested["probability_any"]))
    assert metrics["test/auroc_low"] < metrics["test/auroc"] < metrics["test/auroc_high"]
    assert not [name for fold in validated.folds for name in fold.data.metrics if name.startswith("test/")]


def test_the_model_that_is_served_is_the_refit_and_answers_as_predicted(validated: CrossValidated) -> None:
    refit = validated.predictions[validated.predictions["split"] == "train"]
    assert sorted(refit["image_key"]) == sorted(
        validated.predictions.loc[validated.predictions["split"] == "test", "image_key"]
    )
    assert refit["fold"].isna().all()
    files = {sha256_of(path.read_bytes()): path for path in validated.source.glob("stage_2_train/*.dcm")}
    rows = refit.sample(20, random_state=0)
    answers = answer_files(
        validated.project.model(validated.run), [files[key] for key in rows["image_key"]], "balanced"
    )
    served = [answer["probability_any"] for answer in answers]
    assert served == pytest.approx(rows["probability_any"].to_list(), abs=1e-6)


def test_studies_are_answered_out_of_fold(validated: CrossValidated) -> None:
    folder = validated.project.artifacts(validated.run)
    studies, shared = pd.read_parquet(folder / "studies.parquet"), pd.read_parquet(folder / "manifest.parquet")
    assert sorted(studies["study_key"]) == sorted(shared["study_key"].unique())
    folds = shared.drop_duplicates("study_key").set_index("study_key")["fold"]
    assert (studies["fold"] == studies["study_key"].map(folds)).all()
    auroc = roc_auc_score(studies["label_any"], studies["probability_any"])
    assert validated.run.data.metrics["study/auroc"] == pytest.approx(auroc)


def test_the_thresholds_of_measured_rows_are_found_again(validated: CrossValidated) -> None:
    folder = validated.project.artifacts(validated.run)
    bundle, metrics = load_description(folder / "bundle"), validated.run.data.metrics
    images = validated.predictions[validated.predictions["split"] == "test"].reset_index(drop=True)
    studies = pd.read_parquet(folder / "studies.parquet")
    for table, thresholds, group in ((images, thresholds_of, "test"), (studies, study_thresholds_of, "study")):
        for name, suffix in (("balanced", ""), ("high_sensitivity", "_at_high_sensitivity")):
            positive = table["probability_any"] >= thresholds(table, bundle, name)["any"]
            found = positive[table["label_any"] == 1].mean()
            assert metrics[f"{group}/sensitivity{suffix}"] == pytest.approx(found)
