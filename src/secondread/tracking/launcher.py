"""The run that `mlflow run` itself opens: linked to the work's run, never adopted, swept when its process is gone."""

import platform
from collections.abc import MutableMapping
from dataclasses import dataclass

from filelock import FileLock, Timeout
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from secondread.storage import sha256_of
from secondread.tracking.home import home


@dataclass(frozen=True)
class Launcher:
    """What `mlflow run` handed to this process; both are None when a person typed the command."""

    run_id: str | None
    experiment_id: str | None


def take_launcher(environment: MutableMapping[str, str]) -> Launcher:
    """Remove the launcher's run and experiment from the environment, so that MLflow does not adopt them."""
    return Launcher(environment.pop("MLFLOW_RUN_ID", None), environment.pop("MLFLOW_EXPERIMENT_ID", None))


def lock_of(run_id: str) -> FileLock:
    """The file lock that the process working on a run holds; the kernel frees it when that process dies."""
    path = home() / "locks" / f"{run_id}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path)


def is_orphan(run: Run) -> bool:
    """Whether a RUNNING run of this machine has no process any more."""
    if run.data.tags.get("host") != platform.node() or run.data.tags.get("home") != home_digest():
        return False
    lock = lock_of(run.info.run_id)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    lock.release()
    return True


def home_digest() -> str:
    """Names the folder of locks without telling its path."""
    return sha256_of(str(home()).encode())[:16]


def link(client: MlflowClient, launcher: Launcher, run_id: str) -> None:
    """Point the launcher's run and the work's run at each other by tags."""
    if launcher.run_id is None:
        return
    client.set_tag(run_id, "launcher_run_id", launcher.run_id)
    try:
        client.set_tag(launcher.run_id, "work_run_id", run_id)
    except MlflowException:  # launched from another tracking store: the work goes on in this one
        return


def sweep(client: MlflowClient, launcher: Launcher) -> None:
    """End launcher runs that are RUNNING although the work they started is over or its process is gone."""
    if launcher.experiment_id is None:
        return
    running = "attributes.status = 'RUNNING' and tags.work_run_id != ''"
    for stale in client.search_runs([launcher.experiment_id], running):
        work = client.get_run(stale.data.tags["work_run_id"])
        if stale.info.run_id != launcher.run_id and (work.info.status != "RUNNING" or is_orphan(work)):
            client.set_terminated(stale.info.run_id, "KILLED")
