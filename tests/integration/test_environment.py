"""`mlflow run --env-manager uv` builds conda.yaml in a place of its own and trains in it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from integration.conftest import SMALL, NewProject
from integration.project import mlflow_run


@pytest.mark.slow
@pytest.mark.timeout(1800)
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
