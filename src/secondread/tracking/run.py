"""One run of work: what it logs, and `open_run`, the one door for experiment, parent, resume and status."""

import json
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Protocol, TypeVar

from filelock import FileLock, Timeout
from matplotlib.figure import Figure
from mlflow import MlflowClient
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.entities import Run as MlflowRun

from secondread.config import RunConfig
from secondread.errors import TrackingError
from secondread.storage import sha256_of
from secondread.tracking.database import connect
from secondread.tracking.git import git_state
from secondread.tracking.home import home
from secondread.tracking.launcher import Launcher, circumstances, held, link, lock_of, sweep, take_launcher

_BATCH = 500  # MLflow takes at most 1,000 metrics, 100 parameters and 100 tags in one call


class Described(Protocol):
    """What a run is about; it names the run together with the configuration."""

    @property
    def name(self) -> str:
        """Short name of the data, such as the layout."""

    @property
    def manifest_digest(self) -> str:
        """Digest of source bytes, labels, patients and split."""

    @property
    def store_digest(self) -> str:
        """Digest of the manifest and the preprocessing."""


Data = TypeVar("Data", bound=Described)


@dataclass(frozen=True)
class Run:
    """An open run.

    Args:
        resumed: an earlier process began it; its state is in `folder`.
        folder: private to this run and kept until it is FINISHED.
    """

    client: MlflowClient
    id: str
    experiment_id: str
    resumed: bool
    folder: Path

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Log named values in as few calls as MLflow allows; values that are not finite are left out."""
        self.log_points(points(metrics, step))

    def log_points(self, found: Sequence[Metric], tags: Mapping[str, str] | None = None) -> None:
        """Log values of any steps, and tags with the last of them, in as few calls as MLflow allows."""
        told = [RunTag(key, value) for key, value in (tags or {}).items()]
        batches = [found[start : start + _BATCH] for start in range(0, len(found), _BATCH)] or [[]]
        for batch in batches[:-1]:
            self.client.log_batch(self.id, metrics=batch)
        if batches[-1] or told:
            self.client.log_batch(self.id, metrics=batches[-1], tags=told)

    def log_epoch(self, values: Mapping[str, float], epoch: int) -> None:
        """Log an epoch's values, unless the process that was interrupted did so already."""
        if not (self.resumed and self._has_logged(next(iter(values)), epoch)):
            self.log_metrics(values, epoch)

    def _has_logged(self, name: str, step: int) -> bool:
        return any(metric.step == step for metric in self.client.get_metric_history(self.id, name))

    def log_figure(self, figure: Figure, name: str) -> None:
        """Log a figure as `figures/NAME.png`."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.png"
            figure.savefig(path)
            self.client.log_artifact(self.id, str(path), "figures")

    def log_text(self, text: str, name: str) -> None:
        """Log a text file under its name."""
        self.client.log_text(self.id, text, name)

    def log_files(self, path: Path, folder: str | None = None) -> None:
        """Log a file, or every file below a folder, under `folder`."""
        if path.is_dir():
            self.client.log_artifacts(self.id, str(path), folder)
        else:
            self.client.log_artifact(self.id, str(path), folder)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags in one call."""
        self.log_points([], tags)


def points(metrics: Mapping[str, float], step: int) -> list[Metric]:
    """Named values of one step, as of now; values that are not finite are left out."""
    now = int(time.time() * 1000)
    return [Metric(key, value, now, step) for key, value in metrics.items() if abs(value) < float("inf")]


@contextmanager
def open_run(
    step: str,
    config: RunConfig,
    prepare: Callable[[], Data],
    *,
    parent: Run | None = None,
    tags: Mapping[str, str] | None = None,
) -> Iterator[tuple[Run, Data]]:
    """Find or create the run of some work, keep it while the work lasts, and end it with its true status.

    The run is in the experiment named as the task, or as `mlflow run --experiment-name` says. A run of equal step,
    configuration, manifest and tags that was interrupted, and that no process works on, is continued; a FINISHED one
    never, unless it is part of a parent that is itself continued. The launcher run that `mlflow run` opens is linked by
    tags and never adopted. Runs that an earlier process left RUNNING when it was killed become KILLED.

    Args:
        step: what is done: `train`, `evaluate`, `fold`.
        prepare: makes the data ready; when it fails, a FAILED run keeps the configuration.
        parent: the run that this one is part of.
        tags: further tags that belong to the work's identity, such as the fold's number.
    Raises:
        TrackingError: another process is doing exactly this work.
    """
    client = connect()
    launcher = take_launcher(os.environ)
    with lock_of("opening"):
        experiment_id = parent.experiment_id if parent else experiment_of(client, config.task, launcher)
        sweep(client, {experiment_id} | ({launcher.experiment_id} if launcher.experiment_id else set()))
    identity = {"step": step, "task": config.task, "model": config.model.name, "config_digest": digest_of(config)}
    identity |= dict(tags or {}) | ({"mlflow.parentRunId": parent.id} if parent else {})
    with held(client, launcher), interruptible():
        try:
            data = prepare()
        except BaseException as error:
            failed = client.create_run(experiment_id, tags=identity).info.run_id
            log_parameters(client, failed, config.flat())
            link(client, launcher, failed)
            end_with(client, failed, error)
            raise
        identity |= {"manifest_digest": data.manifest_digest, "store_digest": data.store_digest}
        name = f"{config.model.name} on {data.name}"
        with lock_of("opening"):  # of two equal commands typed at once, one opens the run and the other sees it
            run, lock = _find_or_create(client, experiment_id, name, identity)
        try:
            link(client, launcher, run.id)
            log_parameters(client, run.id, config.flat())
            log_git(client, run.id)
            log_data(client, run.id, data)
            yield run, data
        except BaseException as error:
            end_with(client, run.id, error)
            raise
        else:
            client.set_terminated(run.id, "FINISHED")
            shutil.rmtree(run.folder, ignore_errors=True)  # what a later process would have gone on with
        finally:
            lock.release()


class _Terminated(BaseException):
    """SIGTERM arrived; it unwinds like KeyboardInterrupt."""


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM end the work like ctrl-C does, with the run's status set."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise _Terminated(f"signal {number}")

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except _Terminated:
        raise SystemExit(128 + signal.SIGTERM) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def experiment_of(client: MlflowClient, task: str, launcher: Launcher) -> str:
    """The experiment that a task's runs belong to, made at first use.

    Raises:
        TrackingError: it was deleted.
    """
    name = launcher.experiment_name(client) or os.environ.get("MLFLOW_EXPERIMENT_NAME", task)
    # Not `mlflow.set_experiment`: it would put every later run of this process there, whatever its task.
    found = client.get_experiment_by_name(name)
    if found is None:
        return str(client.create_experiment(name))
    if found.lifecycle_stage != "active":
        raise TrackingError(
            f"experiment {name} was deleted; bring it back with `mlflow experiments restore --experiment-id "
            f"{found.experiment_id}`, or name another in MLFLOW_EXPERIMENT_NAME"
        )
    return str(found.experiment_id)


def digest_of(config: RunConfig) -> str:
    """Names the settings that change the result; where the work is done does not."""
    settings = {key: value for key, value in config.flat().items() if not key.startswith("execution.")}
    return sha256_of(json.dumps(settings, sort_keys=True).encode())[:32]


def _find_or_create(
    client: MlflowClient, experiment_id: str, name: str, identity: Mapping[str, str]
) -> tuple[Run, FileLock]:
    """Continue the newest interrupted run of this identity, or create one; either way with its lock held."""
    same = all_of({**identity, **circumstances()})
    continued = {"RUNNING", "KILLED"} | ({"FINISHED"} if "mlflow.parentRunId" in identity else set())
    for found in client.search_runs([experiment_id], same, order_by=["attributes.start_time DESC"]):
        if found.info.status in continued:
            lock = hold(found.info.run_id)
            reopen(client, found)
            return opened(client, found, resumed=True), lock
    created = client.create_run(experiment_id, tags={**identity, **circumstances()}, run_name=name)
    return opened(client, created, resumed=False), hold(created.info.run_id)


def all_of(tags: Mapping[str, str]) -> str:
    """What finds the runs with all of these tags."""
    return " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())


def hold(run_id: str, wait_s: float = 0) -> FileLock:
    """Take the lock of a run that this process works on from now on.

    Raises:
        TrackingError: another process works on it.
    """
    lock = lock_of(run_id)
    try:
        lock.acquire(timeout=wait_s)
    except Timeout:
        raise TrackingError(
            f"run {run_id} is doing exactly this work already; wait for it, or change a setting"
        ) from None
    return lock


def reopen(client: MlflowClient, found: MlflowRun) -> None:
    """Let a run that ended go on; what ended it is forgotten."""
    client.update_run(found.info.run_id, "RUNNING")
    for tag in {"error", "pruned"} & found.data.tags.keys():
        client.delete_tag(found.info.run_id, tag)


def opened(client: MlflowClient, run: MlflowRun, *, resumed: bool) -> Run:
    """A run with its folder."""
    folder = home() / "runs" / run.info.run_id
    folder.mkdir(parents=True, exist_ok=True)
    return Run(client, run.info.run_id, run.info.experiment_id, resumed, folder)


def log_parameters(client: MlflowClient, run_id: str, parameters: Mapping[str, object]) -> None:
    """Log every parameter once: MLflow refuses one that it already holds with another text."""
    held = client.get_run(run_id).data.params
    missing = [Param(key, str(value)) for key, value in parameters.items() if key not in held]
    for start in range(0, len(missing), 100):
        client.log_batch(run_id, params=missing[start : start + 100])


def log_git(client: MlflowClient, run_id: str) -> None:
    """Tell the state of the code."""
    state = git_state()
    tags = {"git.commit": state.commit, "git.dirty": str(state.dirty).lower()}
    client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])
    if state.diff:
        client.log_text(run_id, state.diff, "git.diff")


def log_data(client: MlflowClient, run_id: str, data: Described) -> None:
    """Tell what the run learns from."""
    # The source is named by layout and digest only: a path below the root could identify a patient.
    dataset = MetaDataset(CodeDatasetSource(tags={}), name=data.name, digest=data.manifest_digest[:36])
    client.log_inputs(run_id, [DatasetInput(dataset._to_mlflow_entity(), [InputTag("mlflow.data.context", "train")])])


def end_with(client: MlflowClient, run_id: str, error: BaseException) -> None:
    """End a run whose work an error ended: FAILED, or KILLED when it was interrupted."""
    interrupted = not isinstance(error, Exception)
    client.set_tag(run_id, "error", type(error).__name__)
    client.set_terminated(run_id, "KILLED" if interrupted else "FAILED")
