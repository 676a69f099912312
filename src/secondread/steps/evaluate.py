"""Measure a logged model on other images, as it is served: its own preprocessing, under its own code."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from secondread.bundle import BundleDescription, load_bundle, load_description
from secondread.config import RunConfig
from secondread.data.feed import Rows
from secondread.data.prepare import Prepared, prepare
from secondread.errors import BundleError, SourceError
from secondread.evaluation.study import study_table
from secondread.steps.present import (
    ImagesOf,
    log_images,
    log_predictions,
    log_why,
    predictions_table,
    present,
    summary_line,
)
from secondread.steps.studies import log_studies, rows_of_test
from secondread.steps.thresholds import study_thresholds_of, thresholds_of
from secondread.tasks import Task, load_task
from secondread.tracking.answer import answer_folder
from secondread.tracking.home import home
from secondread.tracking.model import bundle_folder, fetch_model
from secondread.tracking.run import Run, open_run


def evaluate(config: RunConfig, model_uri: str, split: str) -> str:
    """Measure a model on a source's test images, or on all of them.

    Args:
        split: `test`, given by the source or drawn as in training; or `all`, for images that no training has seen.
    Returns:
        the run's id.
    Raises:
        SecondReadError: the model or the images cannot be used.
    """
    task = load_task(config.task)
    model = fetch_model(model_uri)
    description = load_description(bundle_folder(model))
    if description.task != task.name:
        raise BundleError(f"{model_uri}: a model for {description.task}; use --task {description.task}")
    config = config.model_copy(update={"model": config.model.model_copy(update={"name": description.model})})
    tags = {"evaluated_model": model_uri, "evaluated_manifest_digest": description.manifest_digest, "split": split}
    with open_run("evaluate", config, lambda: _chosen(config, description, split), tags=tags) as (run, data):
        print(f"opened run {run.id}", flush=True)
        log_images(run, data, task)
        table, rows = _answered(data, model, description)
        log_predictions(run, table)
        points = {name: thresholds_of(table, description, name) for name in description.point_names}
        images = ImagesOf(data, rows)
        metrics = present(run, table, images, description.labels, task.primary, points, description.prior)
        if data.preprocess == description.preprocess:  # otherwise the store's pixels are not what was answered
            log_why(run, table, images, load_bundle(bundle_folder(model)), task.primary)
        _log_studies(run, table, description, task)
        print(f"run {run.id}: {summary_line(metrics)}", flush=True)
        return run.id


def _log_studies(run: Run, predictions: pd.DataFrame, description: BundleDescription, task: Task) -> None:
    """Combine the slices as the bundle says, where it says so and studies are known."""
    labels = description.study_labels
    table = study_table(predictions, description.study_rules, labels)
    if labels and len(table):
        tested = rows_of_test(table)
        points = {name: study_thresholds_of(tested, description, name) for name in description.point_names}
        log_studies(run, table, labels, task.primary, points, description.study_prior)


def _chosen(config: RunConfig, description: BundleDescription, split: str) -> Prepared:
    data = prepare(config, home(), preprocess=description.preprocess)
    chosen = data.manifest if split == "all" else data.manifest[data.manifest["split"] == "test"]
    return replace(data, manifest=chosen.assign(split="test").reset_index(drop=True))


def _answered(data: Prepared, model: Path, description: BundleDescription) -> tuple[pd.DataFrame, Rows]:
    """Predictions of the images that the model answered, and their places in the pixels."""
    paths = [str(path) for path in data.manifest["path"]]
    missing = sum(seen is None or seen.kind != "file" for seen in data.root.look(paths))
    if missing:
        raise SourceError(f"{data.root}: {missing} of the store's {len(paths)} source files are gone; bring them back")
    answers = pd.DataFrame(answer_folder(model, data.root, paths, "balanced"))
    answered = (answers["status"] == "ok").to_numpy()
    if not answered.all():
        foreign = int((answers["status"] == "out_of_scope").sum())
        print(
            f"{(~answered).sum()} of {len(answered)} images got no answer ({foreign} of them out of the model's scope) "
            "and are not counted",
            flush=True,
        )
    manifest = data.manifest[answered]
    columns = [f"probability_{label}" for label in description.labels]
    probabilities = answers.loc[answered, columns].to_numpy(np.float64)
    task = load_task(description.task)
    return predictions_table(manifest, probabilities, task, description.labels), manifest["row"].to_numpy(np.int64)
