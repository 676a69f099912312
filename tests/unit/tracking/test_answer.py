"""Asking a logged model in a process of its own, and timing it."""

import warnings
from pathlib import Path

import mlflow
import pytest
from s3_server import S3Server

from secondread.errors import BundleError
from secondread.serving import signature
from secondread.storage import open_folder
from secondread.tasks import load_task
from secondread.tracking.answer import AnsweringModel, answer_files, answer_folder, time_answers

# Reads one file alone, `an image`, and counts the requests; does not survive a `bomb` or get through a `maze`.
MODEL = """
import base64
import os
import sys
import time
from pathlib import Path
from types import ModuleType
import mlflow
import pandas as pd

errors = sys.modules["secondread.errors"] = ModuleType("secondread.errors")
exec("class BundleError(Exception): pass", errors.__dict__ | {"__name__": errors.__name__}, errors.__dict__)

class Model(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input: pd.DataFrame, params=None):
        if params["operating_point"] == "nowhere":
            raise errors.BundleError("operating_point: this model has balanced")
        with Path(context.artifacts["count"]).open("a") as count:
            count.write(params["operating_point"] + "\\n")
        return [self.answer(image) for image in model_input["image"]]

    def answer(self, image):
        print("what a model prints is no answer")
        image = image if isinstance(image, bytes) else base64.b64decode(image)
        if image == b"bomb":
            os._exit(9)
        if image == b"maze":
            time.sleep(1000)
        if image != b"an image":
            return {"status": "rejected", "reason": "not an image"}
        return {"status": "ok", "reason": None}

mlflow.models.set_model(Model())
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A logged model's folder."""
    (tmp_path / "code.py").write_text(MODEL)
    (tmp_path / "count").write_text("")
    with warnings.catch_warnings(action="ignore"):  # MLflow's advice to give an example
        mlflow.pyfunc.save_model(
            tmp_path / "model",
            python_model=str(tmp_path / "code.py"),
            artifacts={"count": str(tmp_path / "count")},
            pip_requirements=["mlflow"],
            signature=signature(load_task("pneumonia").labels),
        )
    return tmp_path / "model"


def test_each_image_is_a_request_and_the_first_is_not_counted(model: Path) -> None:
    latency = time_answers(model, b"an image", images=5)
    assert latency.images == 5
    assert latency.load_s > 0
    assert latency.median_ms > 0
    assert (model / "artifacts" / "count").read_text().splitlines() == ["balanced"] * 6


def test_a_model_that_cannot_read_the_image_is_not_timed(model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BundleError, match="the model did not answer"):
        time_answers(model, b"a letter")
    assert "an image to be timed with was rejected: not an image" in capfd.readouterr().err


def files(folder: Path, *contents: bytes) -> list[Path]:
    """Files of these contents."""
    (folder / "files").mkdir()
    paths = [folder / "files" / f"{number} ü\n" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return paths


def test_files_are_answered_in_order_whatever_their_names_and_one_that_is_gone_is_rejected(
    model: Path, tmp_path: Path
) -> None:
    paths = files(tmp_path, *[b"an image", b"a letter"] * 40)
    paths[2].unlink()
    answers = answer_files(model, paths, "balanced")
    assert [answer["status"] for answer in answers] == ["ok", "rejected", "rejected", "rejected"] + [
        "ok",
        "rejected",
    ] * 38
    assert (answers[2]["rule"], answers[2]["reason"]) == ("unreadable", "the file cannot be opened")
    assert (model / "artifacts" / "count").read_text().splitlines() == ["balanced"] * 2  # 64 files a request


def test_files_on_s3_are_answered_as_those_here_and_nothing_of_them_stays(
    model: Path, tmp_path: Path, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECONDREAD_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("secondread.tracking.answer.BATCH", 2)
    folder = open_folder(s3.bucket("answered"))
    for path, content in {"a": b"an image", "b": b"a letter", "d": b"an image"}.items():
        folder.write(path, content)
    answers = answer_folder(model, folder, ["a", "b", "gone", "d"], "balanced")
    assert [answer["reason"] for answer in answers] == [None, "not an image", "the file cannot be opened", None]
    assert list((tmp_path / "home").iterdir()) == []


def test_a_file_that_ends_or_hangs_the_model_is_rejected_and_its_neighbours_are_answered(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secondread.tracking.answer._LONGEST_S", 10)
    answers = answer_files(model, files(tmp_path, b"an image", b"bomb", b"an image", b"maze"), "balanced")
    assert [answer["status"] for answer in answers] == ["ok", "rejected", "ok", "rejected"]
    assert answers[1]["rule"] == answers[3]["rule"] == "model_ended"
    assert answers[1]["reason"] == answers[3]["reason"] == "the model's process ended when it read this file"


def test_a_model_whose_process_ends_too_often_is_given_up(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secondread.tracking.answer._MOST_ENDED", 1)
    with pytest.raises(BundleError, match=r"did not answer \(exit status 9\)"):
        answer_files(model, files(tmp_path, b"bomb", b"an image"), "balanced")


def test_what_the_models_user_can_mend_is_told_in_the_models_words(model: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="operating_point: this model has balanced"):
        answer_files(model, files(tmp_path, b"an image"), "nowhere")


def test_a_model_that_cannot_be_loaded_is_told(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="did not answer"), AnsweringModel(tmp_path / "no model", "balanced"):
        pass
