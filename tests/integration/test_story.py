"""`make demo`: the whole story as a newcomer sees it."""

import json
import re

import pytest

from integration.conftest import NewProject
from integration.project import Project


@pytest.fixture(scope="module")
def told(new_project: NewProject) -> tuple[Project, str]:
    project = new_project()
    done = project.run("mlflow", "run", ".", "--env-manager", "local")
    assert done.returncode == 0, done.stdout + done.stderr
    return project, done.stdout


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_champions_are_promoted_and_one_answers(told: tuple[Project, str]) -> None:
    project, said = told
    for task in ("hemorrhage", "pneumonia"):
        champion = project.client.get_model_version_by_alias(task, "champion")
        run = project.client.get_run(champion.run_id)
        assert run.info.status == "FINISHED"
        assert run.data.metrics["test/skill_low"] > 0
        assert run.data.metrics["test/auroc"] > 0.8
    answer = json.loads(re.findall(r"^  (\{.*\})$", said, re.MULTILINE)[-1])
    assert answer["status"] == "ok"
    assert 0 <= answer["probability_any"] <= 1


@pytest.mark.slow
def test_every_run_ends_and_the_reader_is_told_what_to_open(told: tuple[Project, str]) -> None:
    project, said = told
    for experiment in ("Default", "hemorrhage", "pneumonia"):
        assert {run.info.status for run in project.runs(experiment)} == {"FINISHED"}
    assert "mlflow ui" in said
    assert "mlflow models serve -m models:/pneumonia@champion" in said
