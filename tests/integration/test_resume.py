"""`kill -9`: the same command continues the same run, every epoch is logged once, and nothing else is different."""

import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import psutil
import pytest
from filelock import FileLock
from mlflow.entities import Run

from integration.command import WAIT_S, Command
from integration.conftest import NewProject
from integration.project import Project, flags, mlflow_run

pytestmark = pytest.mark.slow  # minutes of trainings; tests/unit/test_training.py kills and continues one in seconds

EPOCHS = 20


@dataclass(frozen=True)
class Interrupted:
    """A training that was killed twice, and then left alone.

    Args:
        statuses: of the work's run after each of the three commands.
        outputs: what the commands said.
        occupied: what the command said while another process held the run.
    """

    project: Project
    statuses: list[str]
    outputs: list[str]
    occupied: str

    @property
    def run(self) -> Run:
        (run,) = self.project.runs("pneumonia")
        return run


@pytest.fixture(scope="module")
def interrupted(
    new_project: NewProject, tmp_path_factory: pytest.TempPathFactory, phantom_source: Callable[[str], Path]
) -> Interrupted:
    """Kill the work in its first epochs, then `mlflow run` itself a little later, then let it end."""
    project = new_project()
    settings = {"preprocess.size": 64, "train.epochs": EPOCHS, "train.batch_size": 4, "explanation.images": 0}
    command = mlflow_run("train", {"task": "pneumonia", "data": phantom_source("pneumonia")} | settings)
    statuses, outputs = [], []

    with project.started(*command) as launcher:
        work = launcher.wait_until(lambda: work_of(launcher))
        first = launcher.wait_until(lambda: epoch_behind(0, project))
        work.kill()
        assert launcher.process.wait() != 0
    outputs.append(launcher.said)
    statuses.append(status(project))

    with FileLock(project.folder / "home" / "locks" / f"{project.runs('pneumonia')[0].info.run_id}.lock"):
        occupied = project.run(*command).stderr

    with project.started(*command) as launcher:
        work = launcher.wait_until(lambda: work_of(launcher))
        launcher.wait_until(lambda: epoch_behind(first, project))
        launcher.process.kill()
        psutil.wait_procs([work], timeout=WAIT_S)
        assert not work.is_running(), "the work outlives `mlflow run`"
    outputs.append(launcher.said)
    statuses.append(status(project))

    done = project.run(*command)
    assert done.returncode == 0, done.stderr
    return Interrupted(project, [*statuses, status(project)], [*outputs, done.stdout], occupied)


def work_of(launcher: Command) -> psutil.Process | None:
    """The process that `mlflow run` started to train."""
    for process in psutil.Process(launcher.process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "secondread" in process.cmdline():
                return process
    return None


def epoch_behind(after: int, project: Project) -> int | None:
    """An epoch behind `after` whose state is on disk."""
    states = project.folder.glob("home/runs/*/training/epoch-*/progress.json")
    return max((epoch for path in states if (epoch := int(path.parent.name[-4:])) > after), default=None)


def status(project: Project) -> str:
    (run,) = project.runs("pneumonia")
    return str(run.info.status)


def test_killed_work_stays_running_until_it_is_continued(interrupted: Interrupted) -> None:
    # kill -9 leaves no time to say anything; a child that ends with its parent does say it.
    assert interrupted.statuses == ["RUNNING", "KILLED", "FINISHED"]


def test_the_same_command_continues_the_same_run(interrupted: Interrupted) -> None:
    run = interrupted.run
    assert f"opened run {run.info.run_id}" in interrupted.outputs[0]
    assert f"continuing run {run.info.run_id}" in interrupted.outputs[1]
    assert f"continuing run {run.info.run_id}" in interrupted.outputs[2]
    assert "error" not in run.data.tags


def test_each_epoch_is_trained_and_logged_once(interrupted: Interrupted) -> None:
    for name in ("train/loss", "train/learning_rate", "val/loss", "val/auroc"):
        history = interrupted.project.client.get_metric_history(interrupted.run.info.run_id, name)
        assert [metric.step for metric in history] == list(range(1, EPOCHS + 1)), name
    ended = [output.count(f"/{EPOCHS} train/loss") for output in interrupted.outputs]
    assert ended[0] >= 0
    assert ended[2] <= EPOCHS - 2
    assert sum(ended) <= EPOCHS


def test_the_continued_run_is_as_whole_as_any(interrupted: Interrupted) -> None:
    files = interrupted.project.files(interrupted.run)
    assert {"predictions.parquet", "bundle/bundle.json", "figures/roc.png"} <= files
    assert len(interrupted.run.outputs.model_outputs) == 1
    assert 0 <= interrupted.run.data.metrics["test/auroc"] <= 1


def test_a_run_that_another_process_works_on_is_left_alone(interrupted: Interrupted) -> None:
    assert f"error: run {interrupted.run.info.run_id} is doing exactly this work already" in interrupted.occupied


def test_launchers_end_with_their_true_status(interrupted: Interrupted) -> None:
    launchers = sorted(interrupted.project.runs("Default"), key=lambda run: run.info.start_time)
    assert [launcher.info.status for launcher in launchers] == ["FAILED", "FAILED", "KILLED", "FINISHED"]
    for launcher in (launchers[0], *launchers[2:]):
        assert launcher.data.tags["work_run_id"] == interrupted.run.info.run_id


def test_a_finished_run_keeps_no_state_and_is_never_continued(interrupted: Interrupted) -> None:
    assert not list((interrupted.project.folder / "home" / "runs").iterdir())


@pytest.mark.timeout(1800)
def test_a_training_killed_at_any_moment_ends_as_the_undisturbed_one(
    new_project: NewProject, phantom_source: Callable[[str], Path]
) -> None:
    calm, killed = new_project(), new_project()
    settings = {"data": phantom_source("pneumonia"), "preprocess.size": 64, "train.epochs": 6, "train.batch_size": 4}
    settings["explanation.images"] = 0
    command = [sys.executable, "-m", "secondread", "train", *flags(settings)]
    start = time.monotonic()
    assert calm.run(*command).returncode == 0
    whole = time.monotonic() - start
    for share in (0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95):
        with killed.started(*command) as work:
            with suppress(subprocess.TimeoutExpired):
                work.process.wait(share * whole)
            work.process.kill()
    done = killed.run(*command)
    assert done.returncode == 0, done.stderr
    finished = [run for run in killed.runs("pneumonia") if run.info.status == "FINISHED"]
    assert len(killed.runs("pneumonia")) == len(finished)
    for run in finished:  # one, or more where a command came to its end before it was killed
        history = killed.client.get_metric_history(run.info.run_id, "train/loss")
        assert [metric.step for metric in history] == list(range(1, 7))
    assert len(list((killed.folder / "home" / "stores").iterdir())) == 1
    assert not list(killed.folder.rglob("*.part"))
    expected, found = (
        pd.read_parquet(project.artifacts(run) / "predictions.parquet").set_index("image_key")
        for project, run in ((calm, calm.runs("pneumonia")[0]), (killed, finished[-1]))
    )
    assert found["split"].equals(expected["split"])
    assert found["probability_pneumonia"].to_numpy() == pytest.approx(
        expected["probability_pneumonia"].to_numpy(), abs=0.01
    )
