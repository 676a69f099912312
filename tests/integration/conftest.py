"""What the integration tests share: projects of their own, and one training of each task."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from planted.sources import plant_phantom

from integration.model_server import ModelServer, explaining, make_bare_python, starting
from integration.project import Project, Training, flags, mlflow_run

NewProject = Callable[[], Project]
Trainings = dict[str, Training]

SMALL = {"preprocess.size": 64, "train.epochs": 2, "train.batch_size": 16, "explanation.images": 0}


@pytest.fixture(scope="session")
def new_project(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> NewProject:
    """A function that makes an empty tracking store and a home."""
    return lambda: Project.create(tmp_path_factory.mktemp("project"), empty_database)


@pytest.fixture(scope="session")
def trained(
    new_project: NewProject, phantom_source: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Trainings:
    """Each task trained once on a raw folder: pneumonia by `mlflow run`, hemorrhage by hand; do not change them.

    Their files name patients wherever they can, as those of hospitals do.
    """
    project, planted = new_project(), tmp_path_factory.mktemp("planted")
    source = {task: plant_phantom(phantom_source(task), planted / task) for task in ("pneumonia", "hemorrhage")}
    settings = {task: {"task": task, "data": source[task]} | SMALL for task in source}
    command = {
        "pneumonia": mlflow_run("train", settings["pneumonia"]),
        "hemorrhage": [sys.executable, "-m", "secondread", "train", *flags(settings["hemorrhage"])],
    }
    with ExitStack() as stack:
        started = {task: stack.enter_context(project.started(*words)) for task, words in command.items()}
        for task in started:
            assert started[task].process.wait() == 0, started[task].said
        return {task: Training(project, source[task], started[task].said, project.runs(task)[0]) for task in started}


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with the third-party packages but without this project."""
    return make_bare_python(tmp_path_factory.mktemp("bare") / "python")


@pytest.fixture(scope="session")
def served_tasks(
    trained: Trainings, bare_python: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, ModelServer]]:
    """Both trained models, each served from an empty folder where the project is not installed.

    They are told that Grad-CAM passed its checks, which no training of two dozen patients does.
    """
    with ExitStack() as stack:
        waiting = {
            task: stack.enter_context(
                starting(
                    explaining(
                        training.project.model(training.run), tmp_path_factory.mktemp(f"model_{task}") / "model"
                    ),
                    bare_python,
                    tmp_path_factory.mktemp(f"served_{task}"),
                )
            )
            for task, training in trained.items()
        }
        yield {task: server.ready() for task, server in waiting.items()}
