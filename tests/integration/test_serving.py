"""A run's model, served from an empty folder without the project: it answers raw files as it was tested."""

import random
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from integration.conftest import Trainings
from integration.model_server import ModelServer, text
from integration.project import Training
from secondread.storage import sha256_of

TASKS = ("hemorrhage", "pneumonia")
GARBAGE = b"no image at all"


@pytest.fixture(params=TASKS)
def task(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(task: str, served_tasks: dict[str, ModelServer]) -> ModelServer:
    return served_tasks[task]


@pytest.fixture
def training(task: str, trained: Trainings) -> Training:
    return trained[task]


def raw_files(training: Training, count: int) -> tuple[list[bytes], pd.DataFrame]:
    """Raw files in a random order, with the run's predictions of them."""
    by_key = {sha256_of(path.read_bytes()): path for path in training.source.rglob("*.*") if path.suffix != ".png"}
    rows = training.predictions.sample(count, random_state=0)
    return [by_key[key].read_bytes() for key in rows["image_key"]], rows


def assert_answers_are_predictions(answers: list[dict[str, object]], rows: pd.DataFrame) -> None:
    assert [answer["status"] for answer in answers] == ["ok"] * len(rows)
    predicted = rows.filter(like="probability_").astype(np.float64)
    served = pd.DataFrame(answers, rows.index)[list(predicted.columns)].astype(np.float64)
    assert ((served - predicted).abs() <= 1e-6).all(axis=None)


def test_the_project_is_not_installed_where_it_is_served(bare_python: Path, tmp_path: Path) -> None:
    missing = subprocess.run([bare_python, "-c", "import secondread"], cwd=tmp_path, capture_output=True, text=True)
    assert "No module named 'secondread'" in missing.stderr
    assert (
        subprocess.run([bare_python, "-c", "import mlflow.version, numpy"], cwd=tmp_path, check=False).returncode == 0
    )


def test_raw_files_are_answered_as_predicted_in_order(server: ModelServer, training: Training) -> None:
    files, rows = raw_files(training, count=12)
    assert_answers_are_predictions(server.answer(*files), rows)


def test_an_answer_has_exactly_the_keys_of_the_contract(server: ModelServer, training: Training) -> None:
    files, _ = raw_files(training, count=1)
    labels = [str(column).removeprefix("label_") for column in training.predictions.filter(like="label_").columns]
    keys = ["status", "reason", *(f"probability_{label}" for label in labels)]
    keys += [*(f"positive_{label}" for label in labels), "heatmap"]
    good, bad = server.answer(files[0], GARBAGE)
    assert list(good) == list(bad) == keys
    assert (good["reason"], good["heatmap"]) == (None, None)
    assert bad["status"] == "rejected"
    assert bad["reason"] == "the file is neither DICOM nor JPEG nor PNG"
    assert {bad[key] for key in keys[2:]} == {None}


@pytest.mark.parametrize("form", ["dataframe_records", "dataframe_split", "inputs", "instances"])
@pytest.mark.parametrize("bad", [text(GARBAGE), "", "no base64!", "ключ", None, 5, text(b"\xff\xd8\xff" + bytes(40))])
def test_one_bad_image_never_fails_its_neighbours(
    server: ModelServer, training: Training, form: str, bad: object
) -> None:
    files, rows = raw_files(training, count=2)
    images = [text(files[0]), bad, text(files[1])]
    bodies: dict[str, object] = {
        "dataframe_records": [{"image": image} for image in images],
        "dataframe_split": {"columns": ["image"], "data": [[image] for image in images]},
        "inputs": {"image": images},
        "instances": [{"image": image} for image in images],
    }
    first, rejected, last = server.post({form: bodies[form]})
    assert_answers_are_predictions([first, last], rows)
    assert rejected["status"] == "rejected"
    assert rejected["reason"]


def test_base64_may_be_broken_into_lines(server: ModelServer, training: Training) -> None:
    files, rows = raw_files(training, count=1)
    code = text(files[0])
    lines = "\n".join(code[start : start + 76] for start in range(0, len(code), 76))
    assert_answers_are_predictions(server.post({"dataframe_records": [{"image": lines}]}), rows)


def test_a_batch_of_any_size_is_answered_alike(server: ModelServer, training: Training) -> None:
    files, rows = raw_files(training, count=3)
    order = [random.Random(0).randrange(3) for _ in range(37)]
    assert_answers_are_predictions(server.answer(*(files[place] for place in order)), rows.iloc[order])


def test_positive_is_the_probability_against_the_operating_point(server: ModelServer, training: Training) -> None:
    files, _ = raw_files(training, count=12)
    primary = "any" if "label_any" in training.predictions else "pneumonia"
    answers = server.answer(*files)
    called = [answer[f"probability_{primary}"] for answer in answers if answer[f"positive_{primary}"]]
    passed = [answer[f"probability_{primary}"] for answer in answers if not answer[f"positive_{primary}"]]
    assert max(passed, default=0) < min(called, default=1)


def test_a_png_of_an_x_ray_is_answered_as_its_jpeg(served_tasks: dict[str, ModelServer], trained: Trainings) -> None:
    files, _ = raw_files(trained["pneumonia"], count=1)
    gray = cv2.imdecode(np.frombuffer(files[0], np.uint8), cv2.IMREAD_GRAYSCALE)
    jpeg, png = served_tasks["pneumonia"].answer(files[0], cv2.imencode(".png", gray)[1].tobytes())
    assert png["status"] == "ok"
    # A large JPEG is decoded at a fraction of its size, so the pixels are not quite the same.
    assert png["probability_pneumonia"] == pytest.approx(jpeg["probability_pneumonia"], abs=0.02)


def test_a_picture_of_a_ct_is_refused_by_a_model_of_hounsfield_units(
    served_tasks: dict[str, ModelServer], trained: Trainings
) -> None:
    picture = cv2.imencode(".png", np.random.default_rng(0).integers(0, 256, (128, 128), np.uint8))[1].tobytes()
    (answer,) = served_tasks["hemorrhage"].answer(picture)
    assert answer["status"] == "rejected"
    assert "Hounsfield" in answer["reason"]


def test_a_ct_is_refused_by_a_model_of_x_rays(served_tasks: dict[str, ModelServer], trained: Trainings) -> None:
    files, _ = raw_files(trained["hemorrhage"], count=1)
    (answer,) = served_tasks["pneumonia"].answer(files[0])
    assert (answer["status"], answer["probability_pneumonia"]) == ("rejected", None)
