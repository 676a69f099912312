"""A logged model without a network: it measures the share of white in a picture, and counts what it answers."""

import warnings
from pathlib import Path

import cv2
import mlflow
import numpy as np

from secondread.bundle import BundleDescription
from secondread.evaluation.calibration import Calibration
from secondread.evaluation.operating_points import OperatingPoint
from secondread.evaluation.study import StudyRule
from secondread.imaging.preprocess import Preprocess
from secondread.serving import signature
from secondread.storage import sha256_of
from secondread.tasks import load_task

# `any` is sigmoid(4 w - 2) of a share w of white, and `subdural` the rest to 1.
_CODE = """
import hashlib
import math
import time
from pathlib import Path

import cv2
import mlflow
import numpy as np
import pandas as pd

THRESHOLDS = {"balanced": 0.5, "sensitive": 0.25}


class Model(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        self.folder = Path(context.artifacts["counts"])

    def predict(self, context, model_input: pd.DataFrame, params=None):
        return [self.answer(image, THRESHOLDS[params["operating_point"]]) for image in model_input["image"]]

    def answer(self, image, threshold):
        time.sleep(float((self.folder / "delay").read_text()))
        with (self.folder / "answered").open("a") as answered:
            answered.write(hashlib.sha256(image).hexdigest() + "\\n")
        pixels = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_GRAYSCALE) if image else None
        if pixels is None:
            return {"status": "rejected", "rule": "format", "reason": "the file is neither DICOM nor JPEG nor PNG"}
        if pixels[:63].min() == 255:
            return {"status": "out_of_scope", "rule": "constant", "reason": "the image shows nothing"}
        first = 1 / (1 + math.exp(2 - 4 * pixels.mean() / 255))
        probabilities = {"any": first, "subdural": 1 - first}
        answer = {"status": "ok", "rule": None, "reason": None}
        answer |= {f"probability_{label}": value for label, value in probabilities.items()}
        return answer | {f"positive_{label}": value >= threshold for label, value in probabilities.items()}


mlflow.models.set_model(Model())
"""


class CountingModel:
    """A model for hemorrhage, with a rule for studies: the mean of the three highest logits of `any`.

    Args:
        folder: a new one.
        rules: whether it has that rule.
    """

    def __init__(self, folder: Path, *, rules: bool = True) -> None:
        (folder / "counts").mkdir(parents=True)
        (folder / "counts" / "answered").write_text("")
        (folder / "counts" / "delay").write_text("0")
        (folder / "code.py").write_text(_CODE)
        (folder / "bundle").mkdir()
        (folder / "bundle" / "model.keras").write_bytes(b"no network")
        (folder / "bundle" / "bundle.json").write_text(_description(rules=rules).model_dump_json())
        self.folder = folder / "model"
        with warnings.catch_warnings(action="ignore"):  # MLflow's advice to give an example
            mlflow.pyfunc.save_model(
                self.folder,
                python_model=str(folder / "code.py"),
                artifacts={"bundle": str(folder / "bundle"), "counts": str(folder / "counts")},
                pip_requirements=["mlflow"],
                signature=signature(load_task("hemorrhage").labels),
            )

    @property
    def answered(self) -> list[str]:
        """SHA-256 of every file that it was shown, in order."""
        return (self.folder / "artifacts" / "counts" / "answered").read_text().splitlines()

    def take(self, seconds: float) -> None:
        """Let every answer take so long."""
        (self.folder / "artifacts" / "counts" / "delay").write_text(str(seconds))


def picture(number: int, white_rows: int) -> bytes:
    """A PNG of 64 rows, some of them white, the last one telling its number; 63 white ones are out of scope."""
    pixels = np.zeros((64, 64), np.uint8)
    pixels[:white_rows] = 255
    pixels[63, :32] = np.unpackbits(np.frombuffer(number.to_bytes(4, "big"), np.uint8)) * 255
    return bytes(cv2.imencode(".png", pixels)[1])


def write_pictures(root: Path, count: int, a_study: int = 8) -> None:
    """Write pictures of random whiteness into folders of `a_study` each."""
    random = np.random.default_rng(0)
    for number in range(count):
        folder = root / f"Mustermann_{number // a_study:05d}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"kopf{number:05d}.png").write_bytes(picture(number, int(random.integers(0, 60))))


def _description(*, rules: bool) -> BundleDescription:
    task = load_task("hemorrhage")
    labels = ("any", "subdural")
    points = {"balanced": 0.5, "sensitive": 0.25}
    learned = {
        "study_rules": (StudyRule(label="any", pool="highest", slices=3),),
        "study_operating_points": tuple(_point("any", name, threshold) for name, threshold in points.items()),
        "study_prior": {"any": 0.5},
    }
    return BundleDescription(
        task=task.name,
        task_labels=task.labels,
        model="compact_resnet",
        labels=labels,
        preprocess=Preprocess(unit="display", size=16, channels=1, modalities=task.modalities),
        calibration={label: Calibration(method="none") for label in labels},
        operating_points=tuple(
            _point(label, name, threshold) for name, threshold in points.items() for label in labels
        ),
        prior={"any": 0.4, "subdural": 0.1},
        manifest_digest="m",
        store_digest="s",
        git_commit="unknown",
        figures={"test/auroc": 0.9},
        intended_use=task.intended_use,
        files={"model.keras": sha256_of(b"no network")},
    ).model_copy(update=learned if rules else {})


def _point(label: str, name: str, threshold: float) -> OperatingPoint:
    measured = dict.fromkeys(("sensitivity", "sensitivity_low", "sensitivity_high"), 0.9)
    measured |= dict.fromkeys(("specificity", "specificity_low", "specificity_high"), 0.8)
    return OperatingPoint(label=label, name=name, threshold=threshold, positives=10, negatives=10, **measured)
