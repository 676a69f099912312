"""`make demo`: the whole story as a newcomer sees it."""

import json
import re
import shutil
from pathlib import Path

import pytest
from planted.search import traces_in_file
from planted.sources import plant_phantom

from integration.conftest import NewProject
from integration.privacy import planted_traces
from integration.project import Project
from secondread.config import load_config
from secondread.data.prepare import PHANTOM, source_index
from secondread.tasks import load_task, task_names


@pytest.fixture(scope="module")
def told(new_project: NewProject) -> tuple[Project, str]:
    """The story of synthetic patients whose files name them, as those of hospitals do."""
    project = new_project()
    for task in task_names():
        make_planted_phantom(task, project.folder / "home")
    done = project.run("mlflow", "run", ".", "--env-manager", "local")
    assert done.returncode == 0, done.stdout + done.stderr
    return project, done.stderr + done.stdout


def make_planted_phantom(task: str, home: Path) -> None:
    """Make the phantom where the story looks for it, and let its files name patients."""
    made = home / "phantom"
    before = set(made.glob("*"))
    source_index(PHANTOM, "auto", load_task(task), load_config(task, {}), home, print)
    (root,) = set(made.glob("*")) - before
    plain = root.rename(home / "plain")
    plant_phantom(plain, root)
    shutil.rmtree(plain)


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


@pytest.mark.slow
def test_nothing_is_told_or_left_of_its_patients(told: tuple[Project, str]) -> None:
    project, said = told
    phantom = project.folder / "home" / "phantom"
    assert all(traces_in_file(path) for kind in ("dcm", "jpeg") for path in phantom.rglob(f"*.{kind}"))
    shutil.rmtree(phantom)
    assert planted_traces(project, said) == []
