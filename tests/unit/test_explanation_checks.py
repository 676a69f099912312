"""A training's checks of explanations: on val alone, against masks as the model sees them, and logged."""

import io
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import cv2
import keras
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from secondread.config import RunConfig, load_config
from secondread.data.masks import masks_of
from secondread.data.prepare import Prepared, prepare
from secondread.evaluation.explanation import UNCHECKED
from secondread.explanation.check import QUESTIONS
from secondread.explanation.methods import METHODS
from secondread.imaging.preprocess import Preprocess
from secondread.models.outputs import sigmoids
from secondread.steps.checks import check_explanations, spread, usual
from secondread.storage import open_folder
from secondread.tasks import load_task
from secondread.tracking.run import Run

TASK = load_task("pneumonia")
SIZE = 32


@dataclass
class Logged:
    """A run that keeps what is logged to it."""

    texts: dict[str, str] = field(default_factory=dict)
    figures: dict[str, Figure] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def log_text(self, text: str, name: str) -> None:
        self.texts[name] = text

    def log_figure(self, figure: Figure, name: str) -> None:
        self.figures[name] = figure

    def log_metrics(self, metrics: dict[str, float]) -> None:
        self.metrics |= metrics

    def set_tags(self, tags: dict[str, str]) -> None:
        self.tags |= tags


def config(source: object, **more: object) -> RunConfig:
    return load_config("pneumonia", {"data": str(source), "preprocess.size": SIZE, "execution.workers": 1, **more})


@pytest.fixture(scope="module")
def data(phantom_source: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare(config(phantom_source("pneumonia")), tmp_path_factory.mktemp("home"), say=lambda line: None)


@pytest.fixture(scope="module")
def network() -> keras.Model:
    """It learned nothing."""
    keras.utils.set_random_seed(0)
    images = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Conv2D(4, 3, activation="relu")(keras.layers.Rescaling(1 / 255)(images))
    return keras.Model(images, sigmoids(keras.layers.GlobalAveragePooling2D()(x), labels=1))


def learned_from(data: Prepared) -> Prepared:
    """The same with all images in train."""
    return replace(data, manifest=data.manifest.assign(split="train"))


def test_what_is_found_is_logged_and_goes_into_the_bundle(
    data: Prepared, network: keras.Model, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Logged()
    checked = check_explanations(
        cast(Run, run), network, config(data.root.address, **{"explanation.images": 3}), data, TASK, ("pneumonia",)
    )
    table = pd.read_csv(io.StringIO(run.texts["explanation_checks.csv"]))
    assert list(table["method"].unique()) == list(METHODS)
    assert list(table["name"].unique()) == list(QUESTIONS)
    assert list(run.figures) == ["explanation_checks"]
    pointed = table[table["name"] == "pointing"]
    assert (pointed["images"] == 3).all()
    assert run.metrics["explanation/occlusion_pointing"] == pointed.set_index("method")["value"]["occlusion"]
    assert np.isfinite(list(run.metrics.values())).all()
    assert checked.explanation.method is None  # of three images nothing is certain
    assert run.tags["explanation"] == "none"
    assert f"explanation: {checked.explanation.reason}" in capsys.readouterr().out


def test_no_image_of_test_or_train_is_looked_at(data: Prepared, network: keras.Model) -> None:
    manifest = data.manifest.assign(path=data.manifest["path"].where(data.manifest["split"] == "val", "nowhere"))
    run = Logged()
    asked = config(data.root.address, **{"explanation.images": 1000})
    check_explanations(cast(Run, run), network, asked, replace(data, manifest=manifest), TASK, ("pneumonia",))
    assert "explanation/occlusion_pointing" in run.metrics


def test_without_such_an_image_in_val_no_method_may_be_shown(data: Prepared, network: keras.Model) -> None:
    run = Logged()
    asked = config(data.root.address)
    found = check_explanations(cast(Run, run), network, asked, learned_from(data), TASK, ("pneumonia",)).explanation
    assert (found.method, found.reason) == (None, "val has no image with pneumonia to check one on")
    assert not run.metrics


def test_zero_images_leave_it_unchecked_with_what_is_usual(data: Prepared, network: keras.Model) -> None:
    asked = config(data.root.address, **{"explanation.images": 0})
    checked = check_explanations(cast(Run, Logged()), network, asked, learned_from(data), TASK, ("pneumonia",))
    assert checked.explanation == UNCHECKED
    assert checked.background is not None
    assert checked.background.shape == (1, SIZE, SIZE, 3)


def test_usual_is_the_mean_of_training_images_without_the_label(data: Prepared) -> None:
    whole = learned_from(data)
    expected = whole.pixels.take(whole.rows(whole.manifest["label_pneumonia"] == 0)).mean(axis=0)
    found = usual(whole, TASK)
    assert found is not None
    np.testing.assert_allclose(found[0], np.repeat(expected, 3, axis=-1), atol=0.5)


def test_a_mean_of_few_patients_would_show_them(data: Prepared) -> None:
    manifest = learned_from(data).manifest
    healthy = manifest.loc[manifest["label_pneumonia"] == 0, "patient_key"].unique()
    assert len(healthy) >= 10
    few = manifest[~manifest["patient_key"].isin(healthy[9:])]
    assert usual(replace(data, manifest=few), TASK) is None


def test_each_patients_first_image_comes_before_anybodys_second() -> None:
    rows = pd.DataFrame({"patient_key": ["a"] * 5 + ["b"] * 2 + ["c"]})
    assert sorted(spread(rows, 3)["patient_key"]) == ["a", "b", "c"]
    assert sorted(spread(rows, 5)["patient_key"]) == ["a", "a", "b", "b", "c"]
    assert len(spread(rows, 100)) == 8


@pytest.mark.parametrize(("aspect", "rows"), [("squash", (8, 16)), ("keep", (12, 16))])
def test_a_mask_lies_where_the_image_lies(aspect: str, rows: tuple[int, int], tmp_path: Path) -> None:
    """The second quarter of an image of 64 x 128: of 32 rows as they are, or of the 16 in the middle."""
    (tmp_path / "masks").mkdir()
    mask = np.zeros((64, 128), np.uint8)
    mask[16:32, 64:] = 4  # a bit of BLEEDS
    cv2.imwrite(str(tmp_path / "masks" / "one.png"), mask)
    form = Preprocess.model_validate(
        {"unit": "display", "size": 32, "channels": 1, "aspect": aspect, "modalities": ("DX",)}
    )
    found = masks_of(open_folder(tmp_path), ["train/NORMAL/one.jpeg"], form)
    assert not isinstance(found, str)
    expected = np.zeros((1, 32, 32), bool)
    expected[0, rows[0] : rows[1], 16:] = True
    np.testing.assert_array_equal(found, expected)


def test_a_source_without_masks_says_so(tmp_path: Path) -> None:
    form = Preprocess(unit="display", size=32, channels=1, modalities=("DX",))
    source = open_folder(tmp_path)
    assert masks_of(source, ["one.png"], form) == "the source has no masks that say where its findings are"
    (tmp_path / "masks").mkdir()
    cv2.imwrite(str(tmp_path / "masks" / "one.png"), np.ones((64, 64), np.uint8))
    (tmp_path / "masks" / "two.png").write_bytes(b"no picture")
    found = masks_of(source, ["one.png", "two.png", "three.png"], form)
    assert found == "the source has no mask of 2 of 3 images"
