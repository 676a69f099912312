"""Runs as a training leaves them, made by hand: figures, predictions and a bundle whose network is never loaded."""

import itertools
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput, LoggedModelStatus, Metric, RunTag

from secondread.bundle import BundleDescription
from secondread.data.manifest import manifest_digest
from secondread.evaluation.calibration import Calibration
from secondread.evaluation.operating_points import OperatingPoint
from secondread.imaging.preprocess import Preprocess
from secondread.storage import sha256_of
from secondread.tasks import load_task

Made = TypeVar("Made")

TIMES = itertools.count(1_700_000_000_000, 1000)  # in ms, each later than the one before
IMAGES = 240  # of which 40 train, 40 val and 160 test

GOOD = {"test/skill": 0.5, "test/skill_low": 0.4, "test/skill_high": 0.6, "best/val_auroc": 0.9}
CLEAN = {"audit": "clean", "git.commit": "c" * 40, "git.dirty": "false", "model": "compact_resnet"}


def prepare_store(folder: Path, database: Path, make: Callable[[MlflowClient], Made]) -> Made:
    """Make a tracking store in a folder once, for tests that each begin with a copy of it.

    Args:
        database: an empty one, to begin with.
    """
    folder.mkdir()
    shutil.copy(database, folder / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        patch.setenv("SECONDREAD_HOME", str(folder / "home"))
        patch.chdir(folder)
        made = make(MlflowClient())
    shutil.copytree(folder / "mlruns", folder / "kept")
    return made


def restore_store(folder: Path, workplace: Path) -> MlflowClient:
    """Begin with the store as it was made: a copy of the database, and the artifacts where it says that they are."""
    shutil.rmtree(folder / "mlruns")
    shutil.copytree(folder / "kept", folder / "mlruns")
    shutil.copy(folder / "mlflow.db", workplace / "mlflow.db")
    return MlflowClient()


def manifest(first: int = 0, labels: tuple[str, ...] = ("pneumonia",)) -> pd.DataFrame:
    """A patient an image, every other one ill; `first` numbers the first image."""
    numbers = np.arange(first, first + IMAGES)
    frame = pd.DataFrame(
        {
            "image_key": [sha256_of(f"image {number}".encode()) for number in numbers],
            "patient_key": [f"patient {number}" for number in numbers],
            "study_key": "",
            "series_key": "",
            "order": np.nan,
            "split": np.where(numbers - first < 40, "train", np.where(numbers - first < 80, "val", "test")),
            "fold": -1,
        }
    )
    for label in labels:
        frame[f"label_{label}"] = (numbers % 2).astype(float)
    return frame


def predictions(images: pd.DataFrame, wrong: int, seed: int = 0) -> pd.DataFrame:
    """Test rows answered .8 and .2 with a little noise; every `wrong`-th of them the wrong way around."""
    chosen = images[images["split"] != "train"].reset_index(drop=True)
    noise = np.random.default_rng(seed).uniform(-0.15, 0.15, len(chosen))
    table = chosen[["image_key", "patient_key", "split"]].copy()
    table["fold"] = pd.array([pd.NA] * len(chosen), "Int64")
    for column in (name for name in chosen.columns if name.startswith("label_")):
        turned = np.arange(len(chosen)) % wrong == 0
        ill = (chosen[column] == 1) ^ turned
        table[column] = chosen[column]
        table[f"probability_{column.removeprefix('label_')}"] = np.where(ill, 0.8, 0.2) + noise
    return table


def trained(
    client: MlflowClient,
    *,
    task: str = "pneumonia",
    wrong: int = 5,
    images: pd.DataFrame | None = None,
    metrics: Mapping[str, float] = GOOD,
    tags: Mapping[str, str] = CLEAN,
    params: Mapping[str, str] | None = None,
    labels: tuple[str, ...] | None = None,
    files: Mapping[str, bytes] | None = None,
    left_out: tuple[str, ...] = (),
) -> str:
    """A FINISHED training with a whole model.

    Args:
        wrong: every how many-th answer is wrong.
        files: further files of the logged model, or others in place of its own.
        left_out: tables that the run lacks, such as `predictions.parquet`.
    """
    about = load_task(task)
    labels = labels or about.labels
    images = manifest(labels=about.labels) if images is None else images
    found = client.get_experiment_by_name(task)
    number = found.experiment_id if found else client.create_experiment(task)
    identity = {"task": task, "step": "train", "manifest_digest": manifest_digest(images)}
    run_id = str(client.create_run(number, tags={**identity, **tags}).info.run_id)
    time = next(TIMES)
    client.log_batch(
        run_id,
        metrics=[Metric(key, value, time, 0) for key, value in metrics.items()],
        tags=[RunTag("made", "by hand")],
    )
    for key, text in (params or {"data.path": "phantom"}).items():
        client.log_param(run_id, key, text)
    answers = predictions(images, wrong)
    answers = answers.drop(columns=[f"probability_{name}" for name in about.labels if name not in labels])
    with tempfile.TemporaryDirectory() as folder:
        for name, table in (("predictions.parquet", answers), ("manifest.parquet", images)):
            if name not in left_out:
                table.to_parquet(Path(folder) / name, index=False)
        client.log_artifacts(run_id, folder)
    _log_model(client, number, run_id, task, labels, files or {})
    client.set_terminated(run_id, "FINISHED", end_time=next(TIMES))
    return run_id


def _log_model(
    client: MlflowClient, experiment: str, run_id: str, task: str, labels: tuple[str, ...], files: Mapping[str, bytes]
) -> None:
    network = b"a network"
    described = description(task, labels).model_copy(update={"files": {"model.keras": sha256_of(network)}})
    contents = {
        "MLmodel": json.dumps({"flavors": {}, "signature": {"inputs": "[]"}}).encode(),
        "requirements.txt": b"keras==3\n",
        "artifacts/bundle/model.keras": network,
        "artifacts/bundle/bundle.json": described.model_dump_json().encode(),
        **files,
    }
    model = client.create_logged_model(experiment, "model", source_run_id=run_id)
    with tempfile.TemporaryDirectory() as folder:
        for name, content in contents.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        client.log_model_artifacts(model.model_id, folder)
    client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])


def description(task: str, labels: tuple[str, ...]) -> BundleDescription:
    """A bundle that decides at .5."""
    about = load_task(task)
    names = ("high_sensitivity", "balanced", "high_specificity")
    return BundleDescription(
        task=task,
        task_labels=about.labels,
        model="compact_resnet",
        labels=labels,
        preprocess=Preprocess(unit="display", size=16, channels=1, modalities=about.modalities),
        calibration={label: Calibration(method="none") for label in labels},
        operating_points=tuple(_point(label, name) for name in names for label in labels),
        prior=dict.fromkeys(labels, 0.5),
        manifest_digest="m",
        store_digest="s",
        git_commit="unknown",
        figures={},
        intended_use=about.intended_use,
    )


def _point(label: str, name: str) -> OperatingPoint:
    measured: dict[str, Any] = dict.fromkeys(("sensitivity", "sensitivity_low", "sensitivity_high"), 0.9)
    measured |= dict.fromkeys(("specificity", "specificity_low", "specificity_high"), 0.8)
    return OperatingPoint(label=label, name=name, threshold=0.5, positives=10, negatives=10, **measured)
