"""`mlflow run . -e train` on a raw folder: what a user finds in MLflow afterwards."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from integration.conftest import SMALL, NewProject, Trainings
from integration.privacy import traces
from integration.project import Training, flags
from secondread.bundle import load_description, verify_bundle
from secondread.evaluation.explanation import UNCHECKED
from secondread.explanation.methods import METHODS
from secondread.imaging.dicom.read import read_header

LABELS = {
    "pneumonia": ["pneumonia"],
    "hemorrhage": ["any", "epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural"],
}
TASKS = sorted(LABELS)
FIGURES = {
    "gallery",
    "way_of_one_image",
    "training_curves",
    "roc",
    "precision_recall",
    "confusion_balanced",
    "confusion_at_half",
    "reliability",
    "calibration",
    "right_and_wrong",
    "right_and_wrong_explained",
}
MEASURED = ["auroc", "average_precision", "log_loss", "weighted_log_loss", "skill", "brier", "ece"]
POINTS = ["balanced", "high_sensitivity", "high_specificity"]
DECIDED = ["sensitivity", "specificity", "precision", "f1", "accuracy"]


@pytest.fixture(params=TASKS)
def training(request: pytest.FixtureRequest, trained: Trainings) -> Training:
    return trained[request.param]


def test_the_work_has_a_finished_run_in_the_experiment_of_its_task(training: Training) -> None:
    run = training.run
    assert len(training.project.runs(run.data.tags["task"])) == 1
    assert run.info.status == "FINISHED"
    assert run.info.run_id in training.output


def test_the_launcher_is_linked_and_never_adopted(trained: Trainings) -> None:
    launched = trained["pneumonia"]
    (launcher,) = launched.project.runs("Default")
    assert launcher.info.status == "FINISHED"
    assert launcher.data.tags["work_run_id"] == launched.run.info.run_id
    assert launched.run.data.tags["launcher_run_id"] == launcher.info.run_id
    assert not launcher.data.metrics
    assert "launcher_run_id" not in trained["hemorrhage"].run.data.tags


def test_tags_say_what_was_done_on_what_by_which_code(training: Training) -> None:
    tags = training.run.data.tags
    assert tags["step"] == "train"
    assert tags["model"] == "compact_resnet"
    assert len(tags["manifest_digest"]) == 64
    assert len(tags["store_digest"]) == 32
    assert tags["git.commit"] == "unknown" or len(tags["git.commit"]) == 40
    assert tags["git.dirty"] in ("true", "false")
    assert tags["audit"] == "clean"


def test_every_setting_is_a_parameter_by_its_dotted_name_and_overrides_win(training: Training) -> None:
    parameters = training.run.data.params
    assert parameters["task"] == training.run.data.tags["task"]
    assert parameters["data.path"] == str(training.source)
    assert (parameters["train.epochs"], parameters["preprocess.size"]) == ("2", "64")
    assert parameters["train.optimizer"] == "adamw"  # the preset's, which nothing overrides
    assert {name.split(".")[0] for name in parameters} == {
        "task",
        "data",
        "preprocess",
        "augment",
        "model",
        "train",
        "operating_points",
        "explanation",
        "execution",
    }


def test_each_epoch_is_logged_once(training: Training) -> None:
    client, run = training.project.client, training.run.info.run_id
    for name in ("train/loss", "train/accuracy", "train/learning_rate", "val/loss", "val/accuracy", "val/auroc"):
        assert [metric.step for metric in client.get_metric_history(run, name)] == [1, 2], name


def test_final_metrics_have_the_names_that_the_architecture_gives_them(training: Training) -> None:
    metrics = training.run.data.metrics
    at_points = [f"{name}_at_{point}" for name in DECIDED[:2] for point in POINTS[1:]]
    names = [f"test/{name}" for name in (*MEASURED, *DECIDED, *(f"{name}_at_half" for name in DECIDED), *at_points)]
    for name in names:
        if name in metrics:
            assert metrics[f"{name}_low"] <= metrics[name] <= metrics[f"{name}_high"], name
    # Precision of a model that calls nothing positive is no number; the others always are.
    assert set(names) - set(metrics) <= {"test/precision", "test/precision_at_half", "test/f1", "test/f1_at_half"}
    studies = {"study"} if training.run.data.tags["task"] == "hemorrhage" else set()
    assert {name.split("/")[0] for name in metrics} == {"train", "val", "best", "test", "scope"} | studies
    assert metrics["test/sensitivity_at_high_sensitivity"] >= metrics["test/sensitivity"]
    assert metrics["test/specificity_at_high_specificity"] >= metrics["test/specificity"]


def test_every_label_of_hemorrhage_is_measured_under_its_suffix(trained: Trainings) -> None:
    metrics = trained["hemorrhage"].run.data.metrics
    measured = [label for label in LABELS["hemorrhage"][1:] if f"test/auroc_{label}" in metrics]
    assert len(measured) >= 2  # a small test has not every kind of bleed
    assert "test/auroc_any" not in metrics
    assert 0 <= metrics["test/auroc_macro"] <= 1


def test_predictions_have_exactly_the_columns_of_the_architecture(training: Training) -> None:
    task = training.run.data.tags["task"]
    answered = [f"probability_{label}" for label in LABELS[task] if f"probability_{label}" in training.predictions]
    assert list(training.predictions.columns) == [
        *("image_key", "patient_key", "split", "fold"),
        *(f"label_{label}" for label in LABELS[task]),
        *answered,
    ]
    assert answered[0] == f"probability_{LABELS[task][0]}"


def test_what_is_shared_of_the_manifest_has_every_image_and_no_path(training: Training) -> None:
    shared = pd.read_parquet(training.project.artifacts(training.run) / "manifest.parquet")
    assert set(shared["split"]) == {"train", "val", "test"}
    assert set(training.predictions["image_key"]) <= set(shared["image_key"])
    assert "path" not in shared


def test_each_study_of_val_and_test_has_an_answer(trained: Trainings) -> None:
    training = trained["hemorrhage"]
    folder = training.project.artifacts(training.run)
    studies = pd.read_parquet(folder / "studies.parquet")
    shared = pd.read_parquet(folder / "manifest.parquet")
    slices = shared[shared["split"] != "train"].groupby("study_key").size()
    assert dict(zip(studies["study_key"], studies["images"], strict=True)) == dict(slices)
    assert studies["probability_any"].between(0, 1).all()
    metrics, tested = training.run.data.metrics, studies[studies["split"] == "test"]
    assert metrics["study/auroc"] == pytest.approx(roc_auc_score(tested["label_any"], tested["probability_any"]))
    assert metrics["study/auroc_low"] <= metrics["study/auroc"] <= metrics["study/auroc_high"]
    assert metrics["study/sensitivity_at_high_sensitivity"] >= metrics["study/sensitivity"]
    x_rays = trained["pneumonia"]
    assert "studies.parquet" not in x_rays.project.files(x_rays.run)


def test_the_bundle_says_how_its_answers_are_calibrated_and_decided(training: Training) -> None:
    bundle = verify_bundle(training.project.artifacts(training.run) / "bundle")
    assert set(bundle.calibration) == set(bundle.labels)
    assert list(bundle.point_names) == POINTS
    assert bundle.study_labels[:1] == (("any",) if bundle.task == "hemorrhage" else ())
    tested = training.predictions[training.predictions["split"] == "test"]
    for name, suffix in zip(POINTS, ("", "_at_high_sensitivity", "_at_high_specificity"), strict=True):
        label = bundle.labels[0]
        positive = tested[f"probability_{label}"] >= bundle.points(name)[label].threshold
        found = positive[tested[f"label_{label}"] == 1].mean()
        assert training.run.data.metrics[f"test/sensitivity{suffix}"] == pytest.approx(found)


def test_predictions_hold_val_and_test_once_and_no_patient_on_both_sides(training: Training) -> None:
    predictions = training.predictions
    assert set(predictions["split"]) == {"val", "test"}
    assert predictions["fold"].isna().all()
    assert predictions["image_key"].is_unique
    assert (predictions.groupby("patient_key")["split"].nunique() == 1).all()
    probabilities = predictions.filter(like="probability_")
    assert probabilities.notna().all(axis=None)
    assert ((probabilities >= 0) & (probabilities <= 1)).all(axis=None)


def test_every_figure_the_reports_the_bundle_and_the_summary_are_logged(training: Training) -> None:
    files = training.project.files(training.run)
    assert {f"figures/{name}.png" for name in FIGURES} <= files
    assert {"bundle/bundle.json", "bundle/model.keras", "predictions.parquet", "audit.txt", "statistics.html"} <= files
    reports = {f"classification_report_{at}.{kind}" for at in ("balanced", "at_half") for kind in ("txt", "csv")}
    assert reports <= files
    summary = (training.project.artifacts(training.run) / "model_summary.txt").read_text()
    assert "Total params" in summary


def test_the_model_is_found_by_the_run_and_its_code_travels_with_it(training: Training) -> None:
    model = training.project.model(training.run)
    assert (model / "code" / "secondread" / "serving.py").is_file()
    assert not list(model.rglob("*.pkl"))
    requirements = (model / "requirements.txt").read_text()
    assert all("==" in line for line in requirements.splitlines())
    assert "secondread" not in requirements


def test_the_data_set_is_an_input_of_the_run_without_its_place(training: Training) -> None:
    (given,) = training.run.inputs.dataset_inputs
    assert given.dataset.digest == training.run.data.tags["manifest_digest"][:36]
    assert str(training.source) not in f"{given.dataset.source}{given.dataset.profile}"


def test_the_report_of_a_class_counts_the_test_images(training: Training) -> None:
    folder = training.project.artifacts(training.run)
    report = pd.read_csv(folder / "classification_report_balanced.csv")
    assert not report.empty
    assert "precision" in (folder / "classification_report_balanced.txt").read_text()


def test_nothing_that_names_a_patient_reaches_mlflow_or_the_log(training: Training) -> None:
    files = [*training.source.rglob("ID_*.dcm"), *training.source.rglob("[INp]*.jpeg")]
    names = {path.stem for path in files}
    if training.run.data.tags["task"] == "hemorrhage":
        headers = [read_header(path.read_bytes()) for path in files]
        names |= {header.patient_id for header in headers}
        names |= {uid for header in headers for uid in (header.study_uid, header.series_uid, header.sop_uid)}
    assert len(names) >= len(files)
    assert not traces(names, training.project, [training.output])


def test_the_typed_root_is_found_by_the_search_that_finds_no_patient(training: Training) -> None:
    (found, *_) = traces({str(training.source)}, training.project, [])
    assert found.startswith("mlflow.db")


@pytest.mark.slow
def test_a_training_checks_its_maps_and_its_bundle_says_what_was_found(
    new_project: NewProject, phantom_source: Callable[[str], Path]
) -> None:
    project = new_project()
    settings = {"task": "pneumonia", "data": phantom_source("pneumonia")} | SMALL | {"explanation.images": 2}
    done = project.secondread("train", *flags(settings))
    assert done.returncode == 0, done.stderr
    [run] = project.runs("pneumonia")
    found = load_description(project.artifacts(run) / "bundle").explanation
    assert found != UNCHECKED
    assert run.data.tags["explanation"] == (found.method or "none")
    assert found.reason in done.stdout
    assert set(pd.read_csv(project.artifacts(run) / "explanation_checks.csv")["method"]) == set(METHODS)
    assert "explanation/grad_cam_pointing" in run.data.metrics
