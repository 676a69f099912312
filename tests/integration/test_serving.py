"""A run's model, served from an empty folder without the project: it answers raw files as it was tested."""

import base64
import random
import subprocess
import urllib.error
from io import BytesIO
from pathlib import Path
from struct import pack

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from pydicom import dcmread
from sklearn.datasets import images as datasets_images

from integration.conftest import Trainings
from integration.model_server import ModelServer, text
from integration.project import Training
from secondread.storage import sha256_of

TASKS = ("hemorrhage", "pneumonia")
GARBAGE = b"no image at all"
PHOTOGRAPHS = Path(str(datasets_images.__file__)).parent


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
    rows = training.predictions.sample(count, random_state=1)
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
    keys = ["status", "rule", "reason", *(f"probability_{label}" for label in labels)]
    keys += [*(f"positive_{label}" for label in labels), "heatmap"]
    good, bad = server.answer(files[0], GARBAGE)
    assert list(good) == list(bad) == keys
    assert (good["rule"], good["reason"], good["heatmap"]) == (None, None, None)
    assert (bad["status"], bad["rule"]) == ("rejected", "format")
    assert bad["reason"] == "the file is neither DICOM nor JPEG nor PNG"
    assert {bad[key] for key in keys[3:]} == {None}


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
    assert answer["status"] == "out_of_scope"
    assert "Hounsfield" in answer["reason"]


def test_images_of_the_other_task_and_photographs_are_out_of_scope(
    served_tasks: dict[str, ModelServer], trained: Trainings
) -> None:
    (head,), _ = raw_files(trained["hemorrhage"], count=1)
    (chest,), _ = raw_files(trained["pneumonia"], count=1)
    photographs = [(PHOTOGRAPHS / name).read_bytes() for name in ("china.jpg", "flower.jpg")]
    gray = [cv2.imencode(".jpg", cv2.imdecode(np.frombuffer(each, np.uint8), 0))[1].tobytes() for each in photographs]
    answered = {
        "hemorrhage": served_tasks["hemorrhage"].answer(chest, *photographs, *gray),
        # A training of two dozen patients knows too little to tell every photograph; a real one does, see docs/LOG.md.
        "pneumonia": served_tasks["pneumonia"].answer(head, photographs[0], gray[0]),
    }
    for answers in answered.values():
        for answer in answers:
            assert answer["status"] == "out_of_scope"
            assert {value for name, value in answer.items() if name not in ("status", "rule", "reason")} == {None}


def test_few_images_of_the_right_kind_are_out_of_scope(server: ModelServer, training: Training) -> None:
    tested = training.predictions[training.predictions["split"] == "test"]
    by_key = {sha256_of(path.read_bytes()): path for path in training.source.rglob("*.*") if path.suffix != ".png"}
    answers = server.answer(*(by_key[key].read_bytes() for key in tested["image_key"]))
    assert {answer["status"] for answer in answers} <= {"ok", "out_of_scope"}
    # A training of two dozen patients knows little; on real images it is at most one in twenty, see docs/LOG.md.
    assert sum(answer["status"] == "ok" for answer in answers) >= 0.8 * len(answers)


@pytest.mark.parametrize("point", ["balanced", "high_sensitivity", "high_specificity"])
def test_the_operating_point_is_chosen_by_each_request(server: ModelServer, training: Training, point: str) -> None:
    files, rows = raw_files(training, count=2)
    records = [{"image": text(file)} for file in files]
    answers = server.post({"dataframe_records": records, "params": {"operating_point": point, "explain": False}})
    assert_answers_are_predictions(answers, rows)
    assert {answer["heatmap"] for answer in answers} == {None}


def test_an_unknown_operating_point_is_a_400_that_quotes_neither_image_nor_path(
    server: ModelServer, training: Training
) -> None:
    (file,), _ = raw_files(training, count=1)
    with pytest.raises(urllib.error.HTTPError) as caught:
        server.post({"dataframe_records": [{"image": text(file)}], "params": {"operating_point": "bold"}})
    said = caught.value.read().decode()
    assert caught.value.code == 400
    assert "operating_point: this model has balanced, high_sensitivity, high_specificity" in said
    assert text(file)[:8] not in said
    assert "Traceback" not in said
    assert "/" not in said


def size_of(file: bytes) -> tuple[int, int]:
    """Rows and columns of a DICOM or JPEG file."""
    if file[128:132] == b"DICM":
        header = dcmread(BytesIO(file), stop_before_pixels=True)
        return header.Rows, header.Columns
    return decoded(file).shape[:2]


def decoded(picture: bytes) -> npt.NDArray[np.uint8]:
    """Of a PNG or JPEG, shape (height, width, 3), blue first."""
    found: npt.NDArray[np.uint8] | None = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
    assert found is not None
    return found


def test_an_explained_answer_is_the_same_with_a_picture_of_its_image(server: ModelServer, training: Training) -> None:
    files, rows = raw_files(training, count=2)
    records = [{"image": text(file)} for file in (files[0], GARBAGE, files[1])]
    first, rejected, last = server.post({"dataframe_records": records, "params": {"explain": True}})
    assert_answers_are_predictions([first, last], rows)
    assert (rejected["status"], rejected["heatmap"]) == ("rejected", None)
    assert first["heatmap"] != last["heatmap"]
    for answer, file in ((first, files[0]), (last, files[1])):
        drawn = decoded(base64.b64decode(str(answer["heatmap"])))
        height, width = size_of(file)
        letter = max(14, width // 40)
        assert drawn.shape[:2] == (round(4.8 * letter) + height + round(4.4 * letter), max(384, width))  # words and bar
        assert (drawn[..., 0] != drawn[..., 2]).any()


def test_another_label_is_explained_by_another_picture_and_one_that_is_not_answered_by_none(
    served_tasks: dict[str, ModelServer], trained: Trainings
) -> None:
    (file,), _ = raw_files(trained["hemorrhage"], count=1)
    records = [{"image": text(file)}]
    first, second, default = (
        served_tasks["hemorrhage"].post({"dataframe_records": records, "params": {"explain": True} | label})[0]
        for label in ({"label": "any"}, {"label": "subdural"}, {})
    )
    assert first["heatmap"] == default["heatmap"] != second["heatmap"]
    with pytest.raises(urllib.error.HTTPError) as caught:
        served_tasks["pneumonia"].post({"dataframe_records": records, "params": {"explain": True, "label": "any"}})
    assert caught.value.code == 400
    assert "label: this model answers pneumonia" in caught.value.read().decode()


@pytest.mark.parametrize("form", ["list", "rows", "records", "one"])
def test_inputs_may_be_a_list_of_images_or_of_rows(server: ModelServer, training: Training, form: str) -> None:
    files, rows = raw_files(training, count=2)
    images = [text(file) for file in files]
    forms = {"list": images, "rows": [[image] for image in images], "records": [{"image": image} for image in images]}
    if form == "one":
        assert_answers_are_predictions(server.post({"inputs": {"image": images[0]}}), rows[:1])
        return
    assert_answers_are_predictions(server.post({"inputs": forms[form]}), rows)
    assert_answers_are_predictions(server.post({"instances": forms[form]}), rows)


def test_a_file_that_hangs_its_decoder_is_rejected_and_its_neighbours_are_answered(
    served_tasks: dict[str, ModelServer], trained: Trainings
) -> None:
    files, rows = raw_files(trained["hemorrhage"], count=2)
    elements = (pack("<HH2sH", 0x7FE1 + 2 * (n >> 15), 0x1000 + (n & 0x7FFF), b"LO", 0) for n in range(1_500_000))
    hostile = files[0] + b"".join(elements)  # pydicom reads it for a quarter of a minute
    before, rejected, after = served_tasks["hemorrhage"].answer(files[0], hostile, files[1])
    assert (rejected["status"], rejected["reason"]) == ("rejected", "the file was not decoded within 5 seconds")
    assert_answers_are_predictions([before, after], rows)
