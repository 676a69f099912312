"""Registered models that take no training: each measures the share of white in a picture."""

import base64
import warnings
from pathlib import Path

import cv2
import keras
import mlflow.pyfunc
import numpy as np
import pandas as pd
from mlflow import MlflowClient

import secondread
from secondread.bundle import BundleDescription, save_bundle
from secondread.evaluation.calibration import Calibration
from secondread.evaluation.explanation import UNCHECKED, Explanation
from secondread.evaluation.operating_points import OperatingPoint
from secondread.imaging.preprocess import Preprocess
from secondread.models.outputs import sigmoids
from secondread.serving import signature
from secondread.tasks import Task, load_task

PACKAGE = Path(secondread.__file__).parent
PASSED = Explanation(method="integrated_gradients", reason="it passed every check")
THRESHOLDS = {"high_sensitivity": 0.25, "balanced": 0.5, "high_specificity": 0.75}


def register_tiny_champion(client: MlflowClient, task: str, folder: Path, bias: float) -> str:
    """Register a model that answers sigmoid(4 w + bias) of a share w of white, and make it champion.

    Of pneumonia it draws heat maps; of hemorrhage no method was checked.

    Args:
        folder: a new one, which stays: the version's files are in it.
    Returns:
        the version.
    """
    about = load_task(task)
    save_bundle(folder / "bundle", _description(about), _network(bias))
    example = pd.DataFrame({"image": [base64.b64encode(picture(32)).decode()]})
    with warnings.catch_warnings():
        # MLflow compares a table's index with a range to save an example.
        warnings.filterwarnings("ignore", "Operation with range is deprecated")
        mlflow.pyfunc.save_model(
            path=str(folder / "model"),
            python_model=str(PACKAGE / "serving.py"),
            artifacts={"bundle": str(folder / "bundle")},
            code_paths=[str(PACKAGE)],
            pip_requirements=["mlflow"],
            signature=signature(about.labels),
            input_example=example,
        )
    if not client.search_registered_models(f"name = '{task}'"):
        client.create_registered_model(task)
    version = str(client.create_model_version(task, str(folder / "model")).version)
    client.set_registered_model_alias(task, "champion", version)
    return version


def picture(white_rows: int) -> bytes:
    """A black PNG of 64 rows, of which some are white; rows come in fours, so that 16 rows hold them exactly."""
    assert white_rows % 4 == 0
    pixels = np.zeros((64, 64), np.uint8)
    pixels[:white_rows] = 255
    return bytes(cv2.imencode(".png", pixels)[1])


def _network(bias: float) -> keras.Model:
    images = keras.Input((16, 16, 1))
    white = keras.layers.Rescaling(1 / 255)(keras.layers.GlobalAveragePooling2D()(images))
    model = keras.Model(images, sigmoids(white, labels=1))
    model.get_layer("logit").set_weights([np.array([[4.0]]), np.array([bias])])
    return model


def _description(task: Task) -> BundleDescription:
    return BundleDescription(
        task=task.name,
        task_labels=task.labels,
        model="compact_resnet",
        labels=(task.primary,),
        preprocess=Preprocess(unit="display", size=16, channels=1, modalities=task.modalities),
        calibration={task.primary: Calibration(method="none")},
        operating_points=tuple(_point(task.primary, name, threshold) for name, threshold in THRESHOLDS.items()),
        prior={task.primary: 0.4},
        manifest_digest="m",
        store_digest="s",
        git_commit="unknown",
        figures={"test/auroc": 0.9},
        explanation=PASSED if task.name == "pneumonia" else UNCHECKED,
        intended_use=task.intended_use,
    )


def _point(label: str, name: str, threshold: float) -> OperatingPoint:
    measured = dict.fromkeys(("sensitivity", "sensitivity_low", "sensitivity_high"), 0.9)
    measured |= dict.fromkeys(("specificity", "specificity_low", "specificity_high"), 0.8)
    return OperatingPoint(label=label, name=name, threshold=threshold, positives=10, negatives=10, **measured)
