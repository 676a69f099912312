"""The whole way of planted patients, as a user goes it: from folders, or S3 and Dask, to reports and answers."""

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from dask_cluster import DaskCluster
from matplotlib.figure import Figure
from planted.requests import ANSWERED, ODD, REFUSED
from planted.search import texts_of, traces, traces_in_file
from planted.sources import plant_phantom, write_table_source
from s3_server import S3Server

from integration.conftest import SMALL, NewProject
from integration.model_server import starting
from integration.privacy import planted_traces, planted_traces_in_scores, planted_traces_in_store
from integration.project import Project, flags, mlflow_run
from secondread.cli import main
from secondread.tracking.run import Run

pytestmark = pytest.mark.slow

# Of two points one ends with a loss that is no number: a trial that fails leaves its folder and its log.
SPACE = """
about: one that learns and one that cannot
tasks: [hemorrhage]
parameters:
  train.learning_rate: {choices: [0.003, 1.0e+30]}
"""
SCHEDULE = """
jobs:
  nightly:
    task: hemorrhage
    cron: "0 2 * * *"
    tune: %s
    promote: {gates: demo}
"""


class Way(NamedTuple):
    """A project in which every verb has run on planted files.

    Args:
        folder: what the verbs were told to write to.
        said: by verb, what it printed.
    """

    project: Project
    folder: Path
    said: dict[str, str]


@pytest.fixture(scope="module")
def way(
    new_project: NewProject, phantom_source: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Way:
    project, folder = new_project(), tmp_path_factory.mktemp("written")
    sources = tmp_path_factory.mktemp("sources")
    source = plant_phantom(phantom_source("hemorrhage"), sources / "hospital")
    other = plant_phantom(phantom_source("hemorrhage"), sources / "other")
    for path in sorted(other.rglob("ID_*.dcm"))[::7]:
        path.unlink()
    stores = [str(folder / "store"), str(folder / "other_store")]
    said: dict[str, str] = {}

    def typed(verb: str, *words: str, fails: bool = False) -> None:
        done = project.run(*words)
        said[verb] = done.stdout + done.stderr
        assert (done.returncode != 0) == fails, said[verb]

    def launched(verb: str, given: Mapping[str, object]) -> None:
        typed(verb, *mlflow_run(verb.split()[0], {"task": "hemorrhage", **given}))

    for verb, root, store in (("preprocess", source, stores[0]), ("preprocess another", other, stores[1])):
        launched(verb, {"source": root, "out": store, "preprocess.size": 64})
    launched("train", {"data": stores[0], **SMALL})
    model = {"model_uri": f"runs:/{project.runs('hemorrhage')[0].info.run_id}/model"}
    launched("promote", {"gates": "demo"})
    launched("evaluate", {"data": other, **model})
    launched("explain", {"data": source, "images": 2, "out": folder / "explanations", **model})
    launched("score", {"source": source, "out": folder / "scores", "sr": "true", **model})
    file = next(source.rglob("ID_*.dcm"))
    predict = ["predict", str(file), *flags({"task": "hemorrhage", **model})]
    typed("predict", sys.executable, "-m", "secondread", *predict)
    typed("diff", sys.executable, "-m", "secondread", "diff", *stores, "--out", str(folder / "difference"), fails=True)
    typed("history", sys.executable, "-m", "registry", "history", "hemorrhage")
    (folder / "space.yaml").write_text(SPACE)
    searched = {"space": folder / "space.yaml", "trials": 2, **SMALL}
    launched("tune", {"data": source, **searched})
    launched("tune by the other engine", {"data": stores[0], "engine": "keras_tuner", **searched})
    (folder / "schedule.yaml").write_text(SCHEDULE % json.dumps({"data": source, **searched}, default=str))
    typed("schedule", sys.executable, "-m", "tuning", "schedule", "--schedule", str(folder / "schedule.yaml"), "--once")
    typed("a wrong store", sys.executable, "-m", "secondread", "train", "--data", stores[0], fails=True)
    return Way(project, folder, said)


def test_no_verb_says_logs_or_leaves_anything_of_a_patient(way: Way) -> None:
    assert planted_traces(way.project, *way.said.values()) == []
    steps = {run.data.tags["step"] for run in way.project.runs("hemorrhage")}
    assert {"train", "evaluate", "promote", "explain", "score", "search", "trial", "retrain", "scheduled"} <= steps


def test_what_searches_leave_at_home_is_there_to_be_searched(way: Way) -> None:
    searches = way.project.folder / "home" / "searches"
    left = {path.name for path in searches.rglob("*") if path.is_file()}
    assert {"optuna.db", "oracle.json", "trial-0.json", "log.txt"} <= left
    logs = list(searches.glob("*/trials/*/log.txt"))
    assert len(logs) == 3  # of the point that cannot learn, in each search
    assert all("TrainingError" in log.read_text() for log in logs)


def test_what_is_written_for_the_user_names_files_and_studies_where_it_says_so_alone(way: Way) -> None:
    for store in ("store", "other_store"):
        assert planted_traces_in_store(way.folder / store) == []
    for folder in ("difference", "explanations"):
        assert [line for path in (way.folder / folder).rglob("*") for line in traces_in_file(path)] == []
    assert planted_traces_in_scores(way.folder / "scores") == []
    reports = list((way.folder / "scores" / "sr").iterdir())
    assert reports
    assert all(traces_in_file(report) for report in reports)


def test_its_model_is_served_without_a_word_of_a_request(
    way: Way, bare_python: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = next(run for run in way.project.runs("hemorrhage") if run.data.tags["step"] == "train")
    (tmp_path / "served").mkdir()
    with starting(way.project.model(run), bare_python, tmp_path / "served") as waiting:
        server = waiting.ready()
        replies = [server.send(asked)[1] for asked in (*ANSWERED.values(), *ODD.values(), *REFUSED.values())]
    assert [line for reply in replies for line in traces(reply)] == []
    assert traces(server.command.said.encode()) == []
    assert list((tmp_path / "served").iterdir()) == []


# MLflow compares a table's index with a range to save an example.
@pytest.mark.filterwarnings("ignore:Operation with range is deprecated")
def test_no_figure_has_a_word_of_a_patient_drawn_into_it(
    new_project: NewProject,
    phantom_source: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    project, source = new_project(), plant_phantom(phantom_source("pneumonia"), tmp_path / "hospital")
    for name, value in project.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_ID", raising=False)  # MLflow leaves it behind
    monkeypatch.chdir(tmp_path)
    drawn: dict[str, str] = {}
    log_figure = Run.log_figure

    def watched(run: Run, figure: Figure, name: str) -> None:
        drawn[name] = texts_of(figure)
        log_figure(run, figure, name)

    monkeypatch.setattr(Run, "log_figure", watched)
    main(["train", *flags({"data": source, **SMALL})])
    model = f"runs:/{project.runs('pneumonia')[0].info.run_id}/model"
    main(["evaluate", *flags({"data": source, "model_uri": model})])
    main(["score", *flags({"source": source, "model_uri": model, "out": tmp_path / "scores"})])
    assert {"gallery", "way_of_one_image", "right_and_wrong", "training_curves", "probabilities"} <= drawn.keys()
    assert "pneumonia" in drawn["gallery"].lower()
    assert {name: found for name, text in drawn.items() if (found := traces(text.encode()))} == {}
    assert planted_traces(project, *capfd.readouterr()) == []


def test_from_s3_through_dask_nothing_is_told_either(
    new_project: NewProject, s3_server: S3Server, dask_cluster: DaskCluster, tmp_path: Path
) -> None:
    bucket, project = s3_server.bucket(f"planted-{tmp_path.parent.name}"), new_project()
    source = write_table_source(s3_server.folder / bucket.removeprefix("s3://") / "source")
    for path in [path for path in source.rglob("*") if path.is_symlink() or path.is_fifo()]:
        path.unlink()
    given = {"source": f"{bucket}/source", "out": f"{bucket}/store", "preprocess.size": 16}
    environment = project.environment | dict(s3_server.environment)
    said = []
    for address in (dask_cluster.address, "tcp://127.0.0.1:9"):
        words = flags(given | {"execution.dask": address})
        with project.started(
            "env", *_assignments(environment), sys.executable, "-m", "secondread", "preprocess", *words
        ) as command:
            assert (command.process.wait() == 0) == (address == dask_cluster.address), command.said
            said.append(command.said)
    store = s3_server.folder / bucket.removeprefix("s3://") / "store"
    assert planted_traces_in_store(store) == []
    assert planted_traces(project, *said, dask_cluster.log()) == []


def _assignments(environment: dict[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in environment.items() if os.environ.get(name) != value]
