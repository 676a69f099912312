"""Train a model, measure it, and log everything to one run."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace

import keras
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from secondread.bundle import BundleDescription, ModelBundle, save_bundle
from secondread.config import RunConfig
from secondread.data.prepare import Prepared, prepare
from secondread.evaluation.calibration import Calibration, choose_calibration, cross_calibrated
from secondread.evaluation.figures.curves import curves
from secondread.evaluation.figures.reliability import reliability_before_after
from secondread.evaluation.operating_points import OperatingPoint
from secondread.steps.checks import check_explanations
from secondread.steps.present import (
    ImagesOf,
    log_images,
    log_predictions,
    log_why,
    predictions_table,
    present,
    summary_line,
)
from secondread.steps.scope import scope_metrics, scope_of
from secondread.steps.studies import Studies, learn_studies, log_studies, rows_of_test
from secondread.steps.thresholds import SEED, choose_points, every_threshold
from secondread.tasks import Task, load_task
from secondread.tracking.git import git_state
from secondread.tracking.home import home
from secondread.tracking.model import log_model
from secondread.tracking.run import Run, open_run
from secondread.training import Images, Trained, answered_labels, predict
from secondread.training import train as train_network


@dataclass(frozen=True)
class _Outcome:
    """What is served, and what was measured on images that its training did not use.

    Args:
        raw: val and test rows, not calibrated; with folds every row twice, out of fold (`test`) and as the refit
            answers (`train`, without a fold).
        predictions: the same rows, calibrated.
        calibration: of each answered label, chosen on val or out of fold.
        points: of each answered label, chosen on the same rows once they are calibrated.
        studies: answers to whole studies, learned from the same rows; None where there are none.
    """

    trained: Trained
    raw: pd.DataFrame
    predictions: pd.DataFrame
    calibration: dict[str, Calibration]
    points: tuple[OperatingPoint, ...]
    studies: Studies | None


def train(config: RunConfig, step: str = "train", parent: Run | None = None) -> str:
    """Train as configured; a run that was interrupted is continued.

    Args:
        step: what the run is called, `train` where a user asked for it.
        parent: the run that this one is part of.
    Returns:
        the run's id.
    Raises:
        SecondReadError: the images or the configuration cannot be used.
    """
    task = load_task(config.task)
    with open_run(step, config, lambda: _audited(config), parent=parent) as (run, data):
        print(f"{'continuing' if run.resumed else 'opened'} run {run.id}", flush=True)
        labels = answered_labels(task, config, data.manifest)
        log_images(run, data, task)
        outcome = (_cross_validate if config.data.folds else _train_once)(config, data, task, labels, run)
        metrics = _log(run, config, data, task, labels, outcome)
        print(f"run {run.id}: {summary_line(metrics)}", flush=True)
        return run.id


def _audited(config: RunConfig) -> Prepared:
    data = prepare(config, home())
    data.report.refuse(config.data.acknowledge_leaks)
    return data


def _train_once(config: RunConfig, data: Prepared, task: Task, labels: tuple[str, ...], run: Run) -> _Outcome:
    split = data.manifest["split"]
    trained = train_network(
        config,
        Images.of(data, split == "train", labels),
        Images.of(data, split == "val", labels),
        run.folder / "training",
        lambda epoch, values: run.log_epoch(values, epoch),
    )
    raw = _predict(trained.model, config, data, split.isin(["val", "test"]), task, labels)
    calibration = _calibration(raw[raw["split"] == "val"], labels)
    predictions = _calibrated(raw, calibration)
    points = tuple(choose_points(predictions[predictions["split"] == "val"], labels, config))
    studies = learn_studies(predictions, data.manifest, task, labels, config)
    return _Outcome(trained, raw, predictions, calibration, points, studies)


def _cross_validate(config: RunConfig, data: Prepared, task: Task, labels: tuple[str, ...], run: Run) -> _Outcome:
    """Train once a fold, choose on what was left out, and refit on all images for the epochs that were best."""
    parts, best_epochs = [], []
    for fold in range(config.data.folds):
        trained, part = _train_fold(config, data, task, labels, run, fold)
        parts.append(part)
        best_epochs.append(trained.best_epoch)
    left_out = pd.concat(parts, ignore_index=True)
    calibration = _calibration(left_out, labels)
    measured = _cross_calibrated(left_out, labels)
    points = tuple(choose_points(measured, labels, config))
    studies = learn_studies(measured, data.manifest, task, labels, config)
    epochs = round(float(np.median(best_epochs)))
    print(f"refit on all {len(data.manifest):,} images for {epochs} epochs", flush=True)
    everything = pd.Series(True, data.manifest.index)
    refit = train_network(
        config.model_copy(update={"train": config.train.model_copy(update={"epochs": epochs, "early_stopping": None})}),
        Images.of(data, everything, labels),
        None,
        run.folder / "refit",
        lambda epoch, values: run.log_epoch(values, epoch),
    )
    served = _predict(
        refit.model, config, replace(data, manifest=data.manifest.assign(fold=-1)), everything, task, labels
    ).assign(split="train")
    raw = pd.concat([left_out, served], ignore_index=True)
    predictions = pd.concat([measured, _calibrated(served, calibration)], ignore_index=True)
    return _Outcome(refit, raw, predictions, calibration, points, studies)


def _train_fold(
    config: RunConfig, data: Prepared, task: Task, labels: tuple[str, ...], parent: Run, fold: int
) -> tuple[Trained, pd.DataFrame]:
    """Train without one fold, in a child run; within the others, `val` stays for choosing the epoch."""
    manifest = data.manifest
    left_out = manifest["fold"] == fold
    with open_run("fold", config, lambda: data, parent=parent, tags={"fold": str(fold)}) as (run, _):
        print(f"fold {fold + 1} of {config.data.folds}", flush=True)
        trained = train_network(
            config,
            Images.of(data, ~left_out & (manifest["split"] != "val"), labels),
            Images.of(data, ~left_out & (manifest["split"] == "val"), labels),
            parent.folder / f"fold-{fold}",
            lambda epoch, values: run.log_epoch(values, epoch),
        )
        run.log_figure(_curves(trained), "training_curves")
        part = _predict(trained.model, config, data, left_out, task, labels).assign(split="test")
        return trained, part


def _predict(
    model: keras.Model, config: RunConfig, data: Prepared, chosen: pd.Series, task: Task, labels: tuple[str, ...]
) -> pd.DataFrame:
    answers = predict(model, Images.of(data, chosen, labels), config.preprocess.channels)
    return predictions_table(data.manifest[chosen], answers, task, labels)


def _calibration(raw: pd.DataFrame, labels: tuple[str, ...]) -> dict[str, Calibration]:
    """Choose each label's calibration on rows that the network did not learn from."""
    found = {
        label: choose_calibration(raw[f"label_{label}"], raw[f"probability_{label}"], raw["patient_key"], SEED)
        for label in labels
    }
    said = ", ".join(f"{label} {calibration.method}" for label, calibration in found.items())
    print(f"calibration: {said}", flush=True)
    return found


def _calibrated(raw: pd.DataFrame, calibration: Mapping[str, Calibration]) -> pd.DataFrame:
    columns = {f"probability_{label}": each for label, each in calibration.items()}
    return raw.assign(**{column: each.apply(raw[column]) for column, each in columns.items()})


def _cross_calibrated(raw: pd.DataFrame, labels: tuple[str, ...]) -> pd.DataFrame:
    """What is measured out of fold is calibrated out of fold as well."""
    return raw.assign(
        **{
            f"probability_{label}": cross_calibrated(
                raw[f"label_{label}"], raw[f"probability_{label}"], raw["patient_key"], raw["fold"], SEED
            )
            for label in labels
        }
    )


def _log(
    run: Run, config: RunConfig, data: Prepared, task: Task, labels: tuple[str, ...], outcome: _Outcome
) -> dict[str, float]:
    trained, predictions = outcome.trained, outcome.predictions
    log_predictions(run, predictions)
    run.log_figure(_curves(trained), "training_curves")
    run.log_text(_model_summary(trained.model), "model_summary.txt")
    best = trained.history.filter(like="val/").iloc[trained.best_epoch - 1]
    run.log_metrics(
        {"best/epoch": trained.best_epoch} | {f"best/{str(name).replace('/', '_')}": v for name, v in best.items()}
    )
    prior = {label: data.prior[label] for label in labels}
    tested = predictions["split"] == "test"
    places = data.manifest.drop_duplicates("image_key").set_index("image_key")["row"]
    rows = predictions.loc[tested, "image_key"].map(places).to_numpy(np.int64)
    table = predictions[tested].reset_index(drop=True)
    points = every_threshold(table, outcome.points)
    metrics = present(run, table, ImagesOf(data, rows), labels, task.primary, points, prior)
    _log_calibration(run, outcome, task)
    studies = outcome.studies
    if studies is not None:
        points = every_threshold(rows_of_test(studies.table), studies.points)
        metrics |= log_studies(run, studies.table, studies.labels, task.primary, points, studies.prior)
    scope = scope_of(data)
    run.log_metrics(scope_metrics(scope))
    checked = check_explanations(run, trained.model, config, data, task, labels)
    description = BundleDescription(
        task=task.name,
        task_labels=task.labels,
        model=config.model.name,
        labels=labels,
        preprocess=data.preprocess,
        calibration=outcome.calibration,
        operating_points=outcome.points,
        study_rules=studies.rules if studies else (),
        study_operating_points=studies.points if studies else (),
        prior=prior,
        study_prior=studies.prior if studies else {},
        manifest_digest=data.manifest_digest,
        store_digest=data.store_digest,
        git_commit=git_state().commit,
        figures=metrics | scope_metrics(scope),
        explanation=checked.explanation,
        intended_use=task.intended_use,
    )
    folder = run.folder / "bundle"
    save_bundle(folder, description, trained.model, scope, checked.background)
    if not config.data.folds:  # out of fold, other networks answered
        bundle = ModelBundle(description, trained.model, scope, checked.background)
        log_why(run, table, ImagesOf(data, rows), bundle, task.primary)
    run.log_files(folder, "bundle")
    log_model(run, folder, description)
    return metrics


def _log_calibration(run: Run, outcome: _Outcome, task: Task) -> None:
    """Log what calibration did to the test images, a figure a label."""
    tested = outcome.raw["split"] == "test"
    before, after = outcome.raw[tested], outcome.predictions[tested]
    for label, calibration in outcome.calibration.items():
        if before[f"label_{label}"].notna().any():
            figure = reliability_before_after(before, after, label, calibration.method)
            run.log_figure(figure, "calibration" if label == task.primary else f"calibration_{label}")


def _curves(trained: Trained) -> Figure:
    return curves(trained.history.drop(columns="train/seconds"), trained.best_epoch)


def _model_summary(model: keras.Model) -> str:
    text = io.StringIO()
    model.summary(print_fn=lambda line: text.write(line + "\n"))
    return text.getvalue()
