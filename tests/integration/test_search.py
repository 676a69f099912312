"""A whole search by the command that a user types: tried, tracked, gone on with, and handed to the registry."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run

TRIALS = 3


@dataclass(frozen=True)
class Searched:
    """A folder in which a search ran, and what it printed each time."""

    folder: Path
    said: list[str]

    @property
    def client(self) -> MlflowClient:
        """A client of its tracking store."""
        return MlflowClient(f"sqlite:///{self.folder}/mlflow.db")

    def runs(self, step: str) -> list[Run]:
        """Its runs of one kind, the oldest first."""
        experiment = self.client.get_experiment_by_name("pneumonia")
        assert experiment is not None
        wanted = f"tags.step = '{step}'"
        return list(self.client.search_runs([experiment.experiment_id], wanted, order_by=["attributes.start_time ASC"]))


def command(source: Path, *more: str) -> list[str]:
    """The command that a user types, for a search of a minute."""
    typed = [sys.executable, "-m", "tuning", "search", "--task", "pneumonia", "--data", str(source), "--space", "quick"]
    typed += ["--explanation.images", "0"]
    return [*typed, "--name", "first", *more]


def search(folder: Path, source: Path, *more: str) -> "subprocess.CompletedProcess[str]":
    """Run it to its end."""
    return run_in(folder, command(source, *more))


def run_in(folder: Path, words: list[str]) -> "subprocess.CompletedProcess[str]":
    """Run a command with the tracking store of a folder."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    return subprocess.run(
        words,
        cwd=folder,
        env=outside | {"MLFLOW_DISABLE_TELEMETRY": "true"},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module", params=["optuna", pytest.param("keras_tuner", marks=pytest.mark.slow)])
def searched(
    request: pytest.FixtureRequest, phantom_source: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Searched:
    """A search of three trials by two workers, whose best was trained again; then the same with a fourth trial."""
    folder = tmp_path_factory.mktemp("searched")
    said = []
    for trials in (TRIALS, TRIALS + 1):
        more = ("--engine", request.param, "--trials", str(trials), "--workers", "2")
        result = search(folder, phantom_source("pneumonia"), *more)
        assert result.returncode == 0, result.stderr
        said.append(result.stdout)
    return Searched(folder, said)


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
    path = searched.client.download_artifacts(parent.info.run_id, "best.yaml", str(searched.folder))
    best = yaml.safe_load(Path(path).read_text())
    newest = searched.runs("retrain")[-1].data.params
    assert float(newest["train.learning_rate"]) == best["train.learning_rate"]


def test_what_was_trained_again_is_a_candidate_for_the_registry(searched: Searched) -> None:
    retrained = [run for run in searched.runs("retrain") if run.info.status == "FINISHED"]
    assert {run.data.tags["mlflow.parentRunId"] for run in retrained} == {searched.runs("search")[0].info.run_id}
    result = run_in(searched.folder, [sys.executable, "-m", "registry", "register", "--task", "pneumonia"])
    assert f"pneumonia version 1 is run {retrained[-1].info.run_id}" in result.stdout


def test_no_trial_measures_a_test_image(searched: Searched) -> None:
    for run in [*searched.runs("search"), *searched.runs("trial")]:
        assert not [name for name in run.data.metrics if name.startswith("test/")]


def test_nothing_but_what_was_typed_names_a_folder(searched: Searched) -> None:
    for run in searched.runs("trial"):
        told = {**run.data.params, **run.data.tags}
        assert str(searched.folder) not in "".join(
            value for key, value in told.items() if key not in ("data.path", "mlflow.source.name")
        )


def test_the_same_name_with_another_space_is_refused(searched: Searched, phantom_source: Callable[[str], Path]) -> None:
    engine = searched.runs("search")[0].data.params["search.engine"]
    result = search(searched.folder, phantom_source("pneumonia"), "--engine", engine, "--train.optimizer", "sgd")
    assert result.returncode == 1
    assert "train.optimizer" in result.stderr
    assert "name another search" in result.stderr
    assert searched.runs("search")[0].info.status == "FINISHED"
