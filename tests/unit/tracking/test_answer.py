"""Timing a logged model in a process of its own."""

import warnings
from pathlib import Path

import mlflow
import pytest

from secondread.errors import BundleError
from secondread.serving import signature
from secondread.tasks import load_task
from secondread.tracking.answer import time_answers

# Reads one file alone, `an image`, and counts the requests.
MODEL = """
import base64
from pathlib import Path
import mlflow
import pandas as pd

class Model(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input: pd.DataFrame, params=None):
        (image,) = model_input["image"]
        if base64.b64decode(image) != b"an image":
            return [{"status": "rejected", "reason": "not an image"}]
        with Path(context.artifacts["count"]).open("a") as count:
            count.write(params["operating_point"] + "\\n")
        return [{"status": "ok", "reason": None}]

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
