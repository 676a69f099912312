"""Synthetic chests: no shortcut to the label, and an opacity that pixels give away."""

import io
import re
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from secondread.data.phantom.opacity import draw_opacity
from secondread.data.phantom.texture import Field
from secondread.data.phantom.thorax import draw_chest, draw_lungs
from secondread.data.phantom.write import write_phantom
from secondread.data.phantom.xray import Finding, draw_frame, draw_xrays
from secondread.tasks import load_task

FINDINGS: tuple[Finding, ...] = ("normal", "bacteria", "virus")


@dataclass(frozen=True)
class XraySet:
    """A written data set, a row an image."""

    patients: NDArray[np.str_]
    labels: NDArray[np.int64]
    features: dict[str, NDArray[np.float64]]
    textures: NDArray[np.float64]
    thumbnails: NDArray[np.float32]


@pytest.fixture(scope="module")
def xray_set(tmp_path_factory: pytest.TempPathFactory) -> XraySet:
    root = tmp_path_factory.mktemp("xray") / "set"
    write_phantom(root, load_task("pneumonia"), patients=160, seed=0)
    paths = sorted(root.glob("t*/*/*.jpeg")) + sorted(root.glob("val/*/*.jpeg"))
    images = [np.asarray(Image.open(io.BytesIO(path.read_bytes()))) for path in paths]
    rows = [_describe(path, image) for path, image in zip(paths, images, strict=True)]
    small = [cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA).ravel() for image in images]
    return XraySet(
        patients=np.array([re.sub(r"[_-]\d+$", "", path.stem) for path in paths]),
        labels=np.array([int(path.parent.name == "PNEUMONIA") for path in paths]),
        features={key: np.array([row[key] for row in rows]) for key in rows[0]},
        textures=np.array([_lung_texture(image) for image in images]),
        thumbnails=np.array(small, np.float32),
    )


def _describe(path: Path, image: NDArray[np.uint8]) -> dict[str, float]:
    """What a glance at a file tells."""
    height, width = image.shape
    features = {
        "mean": image.mean(),
        "median": np.median(image),
        "std": image.std(),
        "maximum": image.max(),
        "minimum": image.min(),
        "dark tenth": np.percentile(image, 10),
        "bright tenth": np.percentile(image, 90),
        "rows": height,
        "columns": width,
        "area": height * width,
        "aspect": width / height,
        "file length": path.stat().st_size,
        "bytes a pixel": path.stat().st_size / (height * width),
    }
    return {key: float(value) for key, value in features.items()}


def _lung_texture(image: NDArray[np.uint8]) -> list[float]:
    """Size, extremes and skewness of details of four sizes, in the left and the right of the equalised chest."""
    even = cv2.equalizeHist(cv2.resize(image, (128, 128), interpolation=cv2.INTER_AREA)).astype(np.float32) / 255
    features: list[float] = []
    for sigma in (1, 2, 4, 8):
        details = cv2.GaussianBlur(even, (0, 0), sigma) - cv2.GaussianBlur(even, (0, 0), 1.6 * sigma)
        for lung in (details[20:90, 12:58], details[20:90, 70:116]):
            skewness = ((lung - lung.mean()) ** 3).mean() / lung.std() ** 3
            features += [lung.std(), *np.percentile(lung, (2, 98)), lung.max(), skewness]
    features += np.percentile(even[20:90, 12:58], (5, 20, 50, 80)).tolist()
    features += np.percentile(even[20:90, 70:116], (5, 20, 50, 80)).tolist()
    return [float(value) for value in features]


def test_no_single_glance_tells_pneumonia_from_normal(xray_set: XraySet) -> None:
    aurocs = {name: float(roc_auc_score(xray_set.labels, values)) for name, values in xray_set.features.items()}
    assert {name: auroc for name, auroc in aurocs.items() if not 0.25 <= auroc <= 0.75} == {}


def test_the_texture_of_the_lungs_tells_pneumonia_from_normal(xray_set: XraySet) -> None:
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.3, max_iter=2000))
    groups = np.unique(xray_set.patients, return_inverse=True)[1]
    answers = cross_val_predict(
        model, xray_set.textures, xray_set.labels, groups=groups, cv=GroupKFold(5), method="predict_proba"
    )
    assert roc_auc_score(xray_set.labels, answers[:, 1]) > 0.85


def test_images_of_different_patients_are_no_near_duplicates(xray_set: XraySet) -> None:
    centered = xray_set.thumbnails - xray_set.thumbnails.mean(axis=1, keepdims=True)
    centered /= np.linalg.norm(centered, axis=1, keepdims=True)
    foreign = xray_set.patients[:, None] != xray_set.patients[None, :]
    assert (centered @ centered.T)[foreign].max() < 0.99


def test_55_of_100_patients_have_pneumonia(xray_set: XraySet) -> None:
    patients, first = np.unique(xray_set.patients, return_index=True)
    assert len(patients) == 160
    assert xray_set.labels[first].sum() == 88


def test_a_normal_chest_has_no_mask_and_a_sick_one_has() -> None:
    assert not draw_xrays(np.random.default_rng(0), "normal", 1)[0].mask.any()
    assert draw_xrays(np.random.default_rng(0), "bacteria", 1)[0].mask.any()
    assert draw_xrays(np.random.default_rng(0), "virus", 1)[0].mask.any()


def test_every_exposure_of_a_patient_is_another_picture() -> None:
    first, second = draw_xrays(np.random.default_rng(0), "normal", 2)
    assert first.pixels.shape != second.pixels.shape


@pytest.mark.parametrize("kind", ["lobar", "patchy", "interstitial"])
def test_an_opacity_lies_inside_the_lungs(kind: str) -> None:
    rng = np.random.default_rng(0)
    chest, frame = draw_chest(rng), draw_frame(rng)
    lungs = draw_lungs(chest, frame)
    lost: Field = draw_opacity(rng, kind, frame, lungs)
    assert lost.max() > 0.4
    assert lost[lungs.coverage == 0].max() == 0


def test_the_burned_in_mark_is_the_same_in_every_picture() -> None:
    marks = [
        draw_xrays(np.random.default_rng(seed), finding, 1)[0].pixels[-20:-3, 3:78]
        for seed, finding in enumerate(FINDINGS)
    ]
    assert all(np.array_equal(mark, marks[0]) for mark in marks)
    assert np.count_nonzero(marks[0] > 150) > 100
