"""What a search found best is trained below its run, once, and the registry takes it."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from integration.conftest import NewProject
from registry.register import given_run

pytestmark = pytest.mark.slow  # a training

# A search that was closed, and closed once more after it was resumed; a process each time the search is led.
WORK = """
import json, sys
from secondread.config import load_config
from secondread.data.prepare import prepare
from secondread.steps.retrain import retrain
from secondread.tracking.home import home
from secondread.tracking.search import Search, open_search
settings = {"data": sys.argv[1], "preprocess.size": 32, "train.epochs": 1, "explanation.images": 0}
config = load_config("pneumonia", settings)
runs = []
for _ in range(2):
    with open_search(Search("0123456789abcdef", "first", config), lambda: prepare(config, home())) as (search, _):
        runs.append(retrain(config, search))
print(json.dumps([search.id, *runs]))
"""


def test_the_best_is_trained_once_below_its_search_and_is_a_candidate(
    new_project: NewProject, phantom_source: Callable[[str], Path]
) -> None:
    project = new_project()
    done = project.run(sys.executable, "-c", WORK, str(phantom_source("pneumonia")))
    assert done.returncode == 0, done.stderr
    search, first, second = json.loads(done.stdout.splitlines()[-1])
    assert first == second
    child = given_run(project.client, "pneumonia", first)
    assert (child.data.tags["step"], child.data.tags["mlflow.parentRunId"]) == ("retrain", search)
    assert (project.model(child) / "MLmodel").is_file()
