"""A whole search by the command that a user types: tried, tracked, gone on with, and handed to the registry."""

import html
import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run
from planted.search import traces_in_file
from planted.sources import plant_phantom
from planted.words import CYRILLIC, word

from integration.conftest import NewProject
from integration.privacy import planted_traces
from integration.project import Project

TRIALS = 3


@dataclass(frozen=True)
class Searched:
    """A project in which a search ran, the images that it was given, and what it printed each time."""

    project: Project
    source: Path
    engine: str
    said: list[str]

    @property
    def client(self) -> MlflowClient:
        """A client of its tracking store."""
        return self.project.client

    @property
    def home(self) -> Path:
        """What the search keeps beside MLflow."""
        (parent,) = self.runs("search")
        return self.project.folder / "home" / "searches" / str(parent.data.tags["search_key"])

    def runs(self, step: str) -> list[Run]:
        """Its runs of one kind, the oldest first."""
        return [run for run in reversed(self.project.runs("pneumonia")) if run.data.tags["step"] == step]


def search(project: Project, source: Path, engine: str, *more: str) -> "subprocess.CompletedProcess[str]":
    """Run the command that a user types, for a search of a minute, to its end."""
    typed = [sys.executable, "-m", "tuning", "search", "--task", "pneumonia", "--data", str(source), "--space", "quick"]
    typed += ["--explanation.images", "0", "--name", "first", "--engine", engine]
    return project.run(*typed, *more)


@pytest.fixture(scope="module", params=["optuna", pytest.param("keras_tuner", marks=pytest.mark.slow)])
def searched(
    request: pytest.FixtureRequest,
    new_project: NewProject,
    phantom_source: Callable[[str], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Searched:
    """A search of three trials by two workers, whose best was trained again; then the same with a fourth trial.

    Its images name patients wherever they can.
    """
    project = new_project()
    source = plant_phantom(phantom_source("pneumonia"), tmp_path_factory.mktemp("source") / "hospital")
    said = []
    for trials in (TRIALS, TRIALS + 1):
        result = search(project, source, request.param, "--trials", str(trials), "--workers", "2")
        assert result.returncode == 0, result.stderr
        said.append(result.stdout + result.stderr)
    return Searched(project, source, request.param, said)


def test_every_trial_is_a_child_run_with_its_true_status_and_more_are_added_by_the_same_command(
    searched: Searched,
) -> None:
    (parent,) = searched.runs("search")
    trials = searched.runs("trial")
    assert parent.info.status == "FINISHED"
    assert sorted(int(run.data.tags["trial"]) for run in trials) == list(range(TRIALS + 1))
    assert {run.data.tags["mlflow.parentRunId"] for run in trials} == {parent.info.run_id}
    for run in trials:
        pruned = run.data.tags.get("pruned") == "true"
        assert run.info.status == ("KILLED" if pruned else "FINISHED")
        assert ("objective/auroc" in run.data.metrics) is not pruned
    assert f"goes on: {TRIALS} of {TRIALS + 1} trials have ended" in searched.said[1]


def test_curves_of_a_trial_have_every_epoch_once(searched: Searched) -> None:
    for run in searched.runs("trial"):
        steps = [metric.step for metric in searched.client.get_metric_history(run.info.run_id, "val/loss")]
        assert steps == sorted(set(steps))
        assert steps


def test_the_parent_shows_the_best_trial(searched: Searched) -> None:
    (parent,) = searched.runs("search")
    finished = [run.data.metrics["objective/auroc"] for run in searched.runs("trial") if run.info.status == "FINISHED"]
    assert parent.data.metrics["search/best_auroc"] == max(finished)
    names = {artifact.path for artifact in searched.client.list_artifacts(parent.info.run_id)}
    assert {"report.html", "best.yaml", "trials.parquet", "figures"} <= names


def test_best_yaml_is_what_the_best_was_trained_again_with(searched: Searched) -> None:
    (parent,) = searched.runs("search")
    best = yaml.safe_load((searched.project.artifacts(parent) / "best.yaml").read_text())
    newest = searched.runs("retrain")[-1].data.params
    assert float(newest["train.learning_rate"]) == best["train.learning_rate"]


def test_what_was_trained_again_is_a_candidate_for_the_registry(searched: Searched) -> None:
    retrained = [run for run in searched.runs("retrain") if run.info.status == "FINISHED"]
    assert {run.data.tags["mlflow.parentRunId"] for run in retrained} == {searched.runs("search")[0].info.run_id}
    result = searched.project.registry("register", "--task", "pneumonia")
    assert f"pneumonia version 1 is run {retrained[-1].info.run_id}" in result.stdout


def test_no_trial_measures_a_test_image(searched: Searched) -> None:
    for run in [*searched.runs("search"), *searched.runs("trial")]:
        assert not [name for name in run.data.metrics if name.startswith("test/")]


def test_nothing_but_what_was_typed_names_a_folder(searched: Searched) -> None:
    for run in searched.runs("trial"):
        told = {**run.data.params, **run.data.tags}
        values = "".join(value for key, value in told.items() if key not in ("data.path", "mlflow.source.name"))
        assert not [folder for folder in (searched.project.folder, searched.source.parent) if str(folder) in values]


def test_neither_what_a_search_says_nor_what_it_keeps_names_a_patient(searched: Searched) -> None:
    assert all(traces_in_file(path) for path in searched.source.rglob("*.jpeg"))
    assert planted_traces(searched.project, *searched.said) == []


def test_a_name_in_anything_that_a_search_keeps_would_be_found(searched: Searched, tmp_path: Path) -> None:
    folder, said = tmp_path / "leaking", f"no such file: {word('leaking file')} {CYRILLIC}.jpeg"
    shutil.copytree(searched.project.folder, folder, ignore=shutil.ignore_patterns("models", "stores"))
    parent, home = searched.runs("search")[0], folder / searched.home.relative_to(searched.project.folder)
    Project(folder).client.set_tag(searched.runs("trial")[0].info.run_id, "error", said)
    artifacts = folder / searched.project.artifacts(parent).relative_to(searched.project.folder)
    pd.read_parquet(artifacts / "trials.parquet").assign(reason=said).to_parquet(artifacts / "trials.parquet")
    page = (artifacts / "report.html").read_text()
    (artifacts / "report.html").write_text(page.replace("</body>", f"{html.escape(said)}</body>"))
    (home / "trials" / "0000").mkdir(parents=True)
    (home / "trials" / "0000" / "log.txt").write_text(f"FileNotFoundError: {said}\n")
    study = {"optuna": leak_into_optuna, "keras_tuner": leak_into_keras_tuner}[searched.engine](home, said)
    leaks = [folder / "mlflow.db", artifacts / "trials.parquet", artifacts / "report.html", study]
    leaks.append(home / "trials" / "0000" / "log.txt")
    found = planted_traces(Project(folder), said)
    assert {line.partition(": ")[0] for line in found} == {"log 0", *(str(leak.relative_to(folder)) for leak in leaks)}


def leak_into_optuna(home: Path, said: str) -> Path:
    """Let a trial of the search have failed for that reason; where it stands."""
    with closing(sqlite3.connect(home / "optuna.db")) as database, database:
        end = json.dumps({"reason": said, "ended": 0.0})
        changed = database.execute("UPDATE trial_user_attributes SET value_json = ? WHERE key = 'end'", (end,))
        assert changed.rowcount > 0
    return home / "optuna.db"


def leak_into_keras_tuner(home: Path, said: str) -> Path:
    """The same of Keras Tuner's search."""
    trial = home / "keras_tuner" / "trial-0.json"
    described = json.loads(trial.read_text())
    trial.write_text(json.dumps(described | {"outcome": described["outcome"] | {"reason": said}}))
    return trial


def test_the_same_name_with_another_space_is_refused(searched: Searched) -> None:
    result = search(searched.project, searched.source, searched.engine, "--train.optimizer", "sgd")
    assert result.returncode == 1
    assert "train.optimizer" in result.stderr
    assert "name another search" in result.stderr
    assert searched.runs("search")[0].info.status == "FINISHED"
