"""A schedule as a user starts it: a firing searches, trains the best again and lets the registry judge it."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from integration.conftest import NewProject

SCHEDULE = """
jobs:
  weekly:
    task: pneumonia
    cron: "0 2 * * sat"
    tune: {{data: {source}, space: quick, trials: 2}}
    promote: {{gates: demo}}
"""


@pytest.mark.slow
def test_a_firing_searches_and_has_its_candidate_judged(
    new_project: NewProject, phantom_source: Callable[[str], Path]
) -> None:
    project = new_project()
    path = project.folder / "schedule.yaml"
    path.write_text(SCHEDULE.format(source=phantom_source("pneumonia")))
    once = [sys.executable, "-m", "tuning", "schedule", "--schedule", str(path), "--once", "--job", "weekly"]
    result = project.run(*once)
    assert result.returncode == 0, result.stdout + result.stderr
    runs = {run.data.tags["step"]: run for run in project.runs("pneumonia") if run.data.tags.get("step") != "trial"}
    made = ("scheduled", "search", "retrain", "promote")
    assert {step: runs[step].info.status for step in made} == dict.fromkeys(made, "FINISHED")
    assert runs["scheduled"].data.tags["search_run_id"] == runs["search"].info.run_id
    assert runs["scheduled"].data.tags["decision_run_id"] == runs["promote"].info.run_id
    judged = project.client.search_model_versions("name='pneumonia'")
    assert [version.run_id for version in judged] == [runs["retrain"].info.run_id]
    shown = project.run(*once[:3], "jobs", "--schedule", str(path))
    assert "weekly" in shown.stdout
    assert "FINISHED" in shown.stdout
