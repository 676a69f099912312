"""Every preset, from raw files to a server without the project: what it answers is what was tested."""

import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from integration.conftest import NewProject
from integration.model_server import starting
from integration.project import Project, flags
from secondread.config import ModelSettings, load_config, preset_names
from secondread.data.phantom.write import write_phantom
from secondread.models.architectures import build_model
from secondread.models.pretrained import features_of
from secondread.storage import sha256_of
from secondread.tasks import load_task

# By preset: the task, and the settings that make it quick.
QUICK: dict[str, tuple[str, dict[str, object]]] = {
    "chest_cnn": ("pneumonia", {"train.epochs": 1}),
    "compact_resnet": ("pneumonia", {"train.epochs": 1}),
    "head_ct_cnn": ("hemorrhage", {"train.epochs": 1}),
    "inception_v3": ("hemorrhage", {"train.epochs": 1, "data.limit": 200}),
    "mobilenet_v2": ("pneumonia", {"train.epochs": 1}),
    "resnet50": ("hemorrhage", {"train.epochs": 1, "data.limit": 200, "train.frozen_epochs": 0}),  # fine-tuned whole
    "separable_cnn": ("pneumonia", {"train.epochs": 1}),
    "slice_mlp": ("hemorrhage", {"train.epochs": 3}),
    "window_cnn": ("hemorrhage", {"train.epochs": 1}),
}


def assert_served_as_predicted(project: Project, task: str, sources: list[Path], python: Path, folder: Path) -> None:
    """The newest run's model answers raw files as its `predictions.parquet` says."""
    run = next(run for run in project.runs(task) if run.data.tags["step"] == "train")
    predictions = pd.read_parquet(project.artifacts(run) / "predictions.parquet")
    rows = predictions.sample(min(16, len(predictions)), random_state=0)
    suffixes = (".dcm", ".jpeg", ".jpg")
    files = [path for source in sources for path in source.rglob("*.*") if path.suffix in suffixes]
    by_key = {sha256_of(path.read_bytes()): path for path in files}
    folder.mkdir()
    with starting(project.model(run), python, folder) as server:
        answers = server.ready().answer(*(by_key[key].read_bytes() for key in rows["image_key"]))
    predicted = rows.filter(like="probability_").astype(float)
    served = pd.DataFrame(answers, rows.index)
    told = served["status"] == "ok"
    assert (told | (served["status"] == "out_of_scope")).all()
    assert told.mean() > 0.8  # two in a hundred images of the right kind are turned away, of these few perhaps one
    assert ((served[list(predicted.columns)].astype(float) - predicted)[told].abs() <= 1e-5).all(axis=None)


def train(project: Project, settings: dict[str, object]) -> None:
    done = project.run(sys.executable, "-m", "secondread", "train", *flags({"explanation.images": 0} | settings))
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def project(new_project: NewProject) -> Project:
    return new_project()


def test_every_preset_is_tried() -> None:
    assert tuple(sorted(QUICK)) == preset_names()


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("preset", sorted(QUICK))
def test_a_preset_is_served_as_it_was_tested(
    preset: str, project: Project, phantom_source: Callable[[str], Path], bare_python: Path, tmp_path: Path
) -> None:
    task, settings = QUICK[preset]
    asked = {"task": task, "data": phantom_source(task), "model": preset, **settings}
    preprocess = load_config(task, {"model": preset}).preprocess
    if load_config(task, {"model": preset}).model.weights == "imagenet":
        shape = (preprocess.size, preprocess.size, preprocess.channels)
        asked["model.weights"] = tmp_path / "features.weights.h5"
        features_of(build_model(ModelSettings(name=preset), shape, 1)).save_weights(asked["model.weights"])
    train(project, asked)
    assert_served_as_predicted(project, task, [phantom_source(task)], bare_python, tmp_path / "served")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_mobilenet_v2_learns_from_the_shared_weights(
    shared: Path, new_project: NewProject, bare_python: Path, tmp_path: Path
) -> None:
    project, source = new_project(), shared / "data" / "chest_xray"
    weights = shared / "data" / "weights" / "mobilenet_v2_1.0_224_no_top.h5"
    settings = {"model": "mobilenet_v2", "model.weights": weights, "data.limit": 200, "train.epochs": 2}
    train(project, {"task": "pneumonia", "data": source, **settings})
    assert_served_as_predicted(project, "pneumonia", [source], bare_python, tmp_path / "served")
    assert project.runs("pneumonia")[0].data.metrics["test/auroc"] > 0.7


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("size", [50, 75])
@pytest.mark.parametrize("positive", [0.5, 0.9])
def test_slice_mlp_answers_a_separate_evaluation_set(
    size: int,
    positive: float,
    new_project: NewProject,
    phantom_source: Callable[[str], Path],
    bare_python: Path,
    tmp_path: Path,
) -> None:
    project, task = new_project(), load_task("hemorrhage")
    apart = tmp_path / "apart"
    write_phantom(apart, task, patients=8, seed=1, workers=1)
    settings = {"model": "slice_mlp", "preprocess.size": size, "data.positive_fraction": positive, "train.epochs": 3}
    source = phantom_source("hemorrhage")
    train(project, {"task": "hemorrhage", "data": source, "data.evaluation": apart, **settings})
    (run,) = project.runs("hemorrhage")
    predictions = pd.read_parquet(project.artifacts(run) / "predictions.parquet")
    tested = set(predictions.loc[predictions["split"] == "test", "image_key"])
    assert tested == {sha256_of(path.read_bytes()) for path in apart.rglob("*.dcm")}
    counts = (project.artifacts(run) / "audit.txt").read_text().splitlines()
    images, _, bleeding = (int(word) for line in counts if line.startswith("train") for word in line.split()[1:4])
    assert bleeding / images == pytest.approx(positive, abs=0.02)
    assert_served_as_predicted(project, "hemorrhage", [source, apart], bare_python, tmp_path / "served")
