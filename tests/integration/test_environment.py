"""Environments that MLflow builds: a training in conda.yaml's, and a model served in that of its own requirements."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from bad_files.sound import SOUND

from integration.conftest import SMALL, NewProject, Trainings
from integration.model_server import ModelServer, starting
from integration.project import mlflow_run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def test_a_fresh_environment_of_conda_yaml_trains(
    new_project: NewProject, phantom_source: Callable[[str], Path]
) -> None:
    project = new_project()
    settings = {"task": "pneumonia", "data": phantom_source("pneumonia"), **SMALL}
    words = ["uv" if word == "local" else word for word in mlflow_run("train", settings)]
    done = project.run(*words)
    assert done.returncode == 0, done.stderr
    (run,) = project.runs("pneumonia")
    assert run.info.status == "FINISHED"
    assert project.runs("Default")[0].data.tags["mlflow.project.env"] == "uv"


def test_a_model_is_served_from_its_own_requirements_as_it_is_here(
    trained: Trainings, served_tasks: dict[str, ModelServer], tmp_path: Path
) -> None:
    model = trained["pneumonia"].project.model(trained["pneumonia"].run)
    (tmp_path / "empty").mkdir()
    with starting(model, Path(sys.executable), tmp_path / "empty", "uv") as server:
        answers = server.ready().answer(*SOUND.values())
    here = served_tasks["pneumonia"].answer(*SOUND.values())
    assert dict(zip(SOUND, answers, strict=True)) == dict(zip(SOUND, here, strict=True))
    assert {answer["status"] for answer in here} <= {"ok", "out_of_scope"}
