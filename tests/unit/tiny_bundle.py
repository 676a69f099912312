"""A bundle whose answers can be worked out by hand: it measures the share of white in a picture."""

import cv2
import keras
import numpy as np

from secondread.bundle import BundleDescription
from secondread.evaluation.calibration import Calibration
from secondread.evaluation.operating_points import OperatingPoint
from secondread.evaluation.study import StudyRule
from secondread.imaging.preprocess import Preprocess
from secondread.models.outputs import sigmoids, softmax_of_two
from secondread.tasks import load_task

LABELS = ("any", "subdural")
NONE = Calibration(method="none")


def point(label: str, name: str, threshold: float) -> OperatingPoint:
    """An operating point whose measured values do not matter."""
    measured = dict.fromkeys(("sensitivity", "sensitivity_low", "sensitivity_high"), 0.9)
    measured |= dict.fromkeys(("specificity", "specificity_low", "specificity_high"), 0.8)
    return OperatingPoint(label=label, name=name, threshold=threshold, positives=10, negatives=10, **measured)


def description() -> BundleDescription:
    """A model for pictures of hemorrhage that answers two of the six labels, at two operating points."""
    task = load_task("hemorrhage")
    return BundleDescription(
        task=task.name,
        task_labels=task.labels,
        model="compact_resnet",
        labels=LABELS,
        preprocess=Preprocess(unit="display", size=16, channels=1, modalities=("CT",)),
        calibration=dict.fromkeys(LABELS, NONE),
        operating_points=tuple(
            point(label, name, threshold)
            for name, threshold in (("balanced", 0.5), ("sensitive", 0.25))
            for label in LABELS
        ),
        prior={"any": 0.4, "subdural": 0.1},
        manifest_digest="m",
        store_digest="s",
        git_commit="unknown",
        figures={"test/auroc": 0.9},
        intended_use=task.intended_use,
    )


def network() -> keras.Model:
    """Of a share w of white: sigmoid(4 w - 2) for the first label and sigmoid(2 - 4 w) for the second."""
    images = keras.Input((16, 16, 1))
    white = keras.layers.Rescaling(1 / 255)(keras.layers.GlobalAveragePooling2D()(images))
    model = keras.Model(images, sigmoids(white, labels=2))
    model.get_layer("logit").set_weights([np.array([[4.0, -4.0]]), np.array([-2.0, 2.0])])
    return model


def network_of_two_classes() -> keras.Model:
    """Of a share w of white: a softmax of absent and present, where present has sigmoid(4 w - 2)."""
    images = keras.Input((16, 16, 1))
    white = keras.layers.Rescaling(1 / 255)(keras.layers.GlobalAveragePooling2D()(images))
    model = keras.Model(images, softmax_of_two(white))
    model.get_layer("logit").set_weights([np.array([[-1.0, 3.0]]), np.array([1.5, -0.5])])
    return model


def picture(white_rows: int) -> bytes:
    """A black PNG of 64 rows, of which some are white; rows come in fours, so that 16 rows hold them exactly."""
    assert white_rows % 4 == 0
    pixels = np.zeros((64, 64), np.uint8)
    pixels[:white_rows] = 255
    return bytes(cv2.imencode(".png", pixels)[1])


def first_answer(white_rows: int) -> float:
    """What the network says of the first label; of the second it says the rest to 1."""
    return float(1 / (1 + np.exp(2 - 4 * white_rows / 64)))


def studied() -> BundleDescription:
    """The same model with a rule for whole studies of its first label."""
    points = tuple(point("any", name, threshold) for name, threshold in (("balanced", 0.75), ("sensitive", 0.5)))
    rule = StudyRule(label="any", pool="highest", slices=3)
    learned = {"study_rules": (rule,), "study_operating_points": points, "study_prior": {"any": 0.5}}
    return description().model_copy(update=learned)
