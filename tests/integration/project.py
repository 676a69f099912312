"""The project as its user meets it: commands in processes of their own, over a tracking store of their own."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Run

from integration.command import Command, started

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Project:
    """A tracking store, its artifacts and a home, all inside one folder; commands run in the checkout.

    Args:
        folder: absolute.
    """

    folder: Path

    @classmethod
    def create(cls, folder: Path, database: Path) -> "Project":
        """Copy an empty store; experiments are made first, so that artifacts stay out of the checkout."""
        project = cls(folder)
        shutil.copy(database, folder / "mlflow.db")
        for task in ("pneumonia", "hemorrhage"):
            project.client.create_experiment(task, str(folder / "artifacts" / task))
        return project

    @property
    def uri(self) -> str:
        """The tracking URI."""
        return f"sqlite:///{self.folder}/mlflow.db"

    @property
    def client(self) -> MlflowClient:
        """A client of the store, whatever the environment says."""
        return MlflowClient(self.uri, self.uri)

    @property
    def environment(self) -> dict[str, str]:
        """As a user's terminal with the environment in front, outside any MLflow run."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
        return kept | {
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_TRACKING_URI": self.uri,
            "SECONDREAD_HOME": str(self.folder / "home"),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        }

    def started(self, *words: str) -> AbstractContextManager[Command]:
        """Start a command in the checkout."""
        handle, log = tempfile.mkstemp(".log", dir=self.folder)
        os.close(handle)
        return started(words, ROOT, self.environment, Path(log))

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """Run a command in the checkout to its end."""
        return subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False)

    def secondread(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run `python -m secondread WORDS`."""
        return self.run(sys.executable, "-m", "secondread", *words)

    def registry(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run `python -m registry WORDS`."""
        return self.run(sys.executable, "-m", "registry", *words)

    def runs(self, experiment: str) -> list[Run]:
        """Every run of an experiment, the newest first."""
        found = self.client.get_experiment_by_name(experiment)
        return list(self.client.search_runs([found.experiment_id], order_by=["attributes.start_time DESC"]))

    def artifacts(self, run: Run) -> Path:
        """The folder of a run's artifacts."""
        return Path(run.info.artifact_uri.removeprefix("file://"))

    def files(self, run: Run) -> set[str]:
        """Paths of a run's artifacts, relative to their folder."""
        folder = self.artifacts(run)
        return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}

    def model(self, run: Run) -> Path:
        """The folder of the model that a run logged."""
        logged = self.client.get_logged_model(run.outputs.model_outputs[-1].model_id)
        return Path(logged.artifact_location.removeprefix("file://"))


@dataclass(frozen=True)
class Training:
    """A finished training of a task.

    Args:
        source: the raw images.
        output: what the command said.
        run: the work's run.
    """

    project: Project
    source: Path
    output: str
    run: Run

    @property
    def predictions(self) -> pd.DataFrame:
        """The run's `predictions.parquet`."""
        return pd.read_parquet(self.project.artifacts(self.run) / "predictions.parquet")


def mlflow_run(entry_point: str, parameters: Mapping[str, object]) -> list[str]:
    """What a user of `mlflow run` types."""
    words = [word for name, value in parameters.items() for word in ("-P", f"{name}={value}")]
    return ["mlflow", "run", ".", "--env-manager", "local", "-e", entry_point, *words]


def flags(settings: Mapping[str, object]) -> list[str]:
    """What a user of `python -m secondread` types behind the verb."""
    return [word for name, value in settings.items() for word in (f"--{name}", str(value))]
